"""Installed, which version, logged in: programs that behave and programs that do not, and no secret anywhere."""

import json
import time
from dataclasses import replace
from pathlib import Path

import pytest

from tests.execution.providers.test_presence import OLLAMA, VLLM, local, serving
from tests.support.patience import patient_with_programs
from tests.support.waiting import eventually
from wvo_mcp.domain.providers.catalogue import Place, Provider, ProviderKind
from wvo_mcp.execution.providers import presence
from wvo_mcp.execution.providers.presence import check
from wvo_mcp.ports.providers import ProviderCheck

__all__ = ["patient_with_programs"]

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.usefixtures("patient_with_programs"),
    pytest.mark.requirement("PROV-5"),
]

SECRET = "sk-ant-api03-" + "aB3" * 20 + "AA"


class Machine:
    """A home and a folder of programs."""

    def __init__(self, folder: Path) -> None:
        self.home = folder / "home"
        self.bin = folder / "bin"
        self.home.mkdir()
        self.bin.mkdir()
        self.environ = {"HOME": str(self.home), "PATH": f"{self.bin}:/usr/bin:/bin"}

    def program(self, name: str, script: str) -> Path:
        path = self.bin / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
        return path

    def keep(self, name: str, content: object) -> None:
        path = self.home / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content if isinstance(content, str) else json.dumps(content))

    async def check(self, kind: ProviderKind = ProviderKind.CLAUDE, **fields: object) -> ProviderCheck:
        one = Provider("one", kind, Place.CLOUD, {}, command=(kind.value,))
        return await check(replace(one, **fields), self.environ)  # pyright: ignore[reportArgumentType]


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


@pytest.mark.parametrize(
    ("says", "version"),
    [
        ("echo 2.1.329 '(Claude Code)'", "2.1.329"),
        ("echo codex-cli v0.169.0", "0.169.0"),
        ("echo 1.0.0-rc.2", "1.0.0-rc.2"),
        ("echo program; echo 0.61", "0.61"),
        ("echo none of this is one", None),
        ("echo 2.1.329; exit 3", None),
        ("head -c 5000000 /dev/zero | tr '\\0' '7'; echo ' 1.2.3'", None),
        (f"echo {SECRET} >&2; echo 3.4.5", "3.4.5"),
        (f"echo {SECRET}", None),
        (f"echo 1.2.3-{SECRET}", None),
        ("printf '\\377\\376 7.8.9'", "7.8.9"),
    ],
)
async def test_only_a_version_is_taken_from_what_a_program_says(
    machine: Machine, says: str, version: str | None
) -> None:
    path = machine.program("claude", says)

    found = await machine.check()

    assert (found.program, found.version) == (str(path), version)
    assert SECRET not in repr(found)


async def test_a_program_that_hangs_is_killed_with_its_children(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    pids = machine.home / "pids"
    machine.program(
        "claude", f"trap '' TERM; sleep 250 & echo $! $$ > {pids}.new; mv {pids}.new {pids}; wait; sleep 250"
    )
    for seconds in (0.5, 4.0, 16.0, 64.0):  # whatever time it takes here until its child has begun
        monkeypatch.setattr(presence, "_VERSION_SECONDS", seconds)
        begun = time.monotonic()

        found = await machine.check()

        assert (found.version, found.logged_in) == (None, False)
        assert time.monotonic() - begun < 200
        if pids.exists():
            break
    for pid in pids.read_text().split():
        eventually(lambda pid=pid: _gone(int(pid)))


def _gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


async def test_a_program_that_is_not_there_is_named(machine: Machine) -> None:
    found = await machine.check()

    assert (found.program, found.version, found.logged_in) == (None, None, False)
    assert found.how == "claude is not on PATH; there is no ~/.claude/.credentials.json"


async def test_what_cannot_be_run_is_no_error(machine: Machine) -> None:
    machine.program("claude", "").write_text("#!/no/such/interpreter\n")

    assert (await machine.check()).version is None


@pytest.mark.requirement("SAFE-3")
@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (ProviderKind.CLAUDE, "MY_OWN_KEY"),
        (ProviderKind.CLAUDE, "ANTHROPIC_API_KEY"),
        (ProviderKind.CLAUDE, "CLAUDE_CODE_OAUTH_TOKEN"),
        (ProviderKind.CODEX, "OPENAI_API_KEY"),
        (ProviderKind.GEMINI, "GEMINI_API_KEY"),
    ],
)
async def test_a_key_in_the_environment_is_told_by_its_name(machine: Machine, kind: ProviderKind, name: str) -> None:
    machine.environ[name] = SECRET
    found = await machine.check(kind, key_env="MY_OWN_KEY")
    assert found.logged_in is True
    assert f"{name} is set" in found.how
    assert SECRET not in repr(found)

    machine.environ[name] = "  "
    found = await machine.check(kind, key_env="MY_OWN_KEY")
    assert found.logged_in is False
    assert "MY_OWN_KEY is not set; there is no ~/." in found.how


LATER, EARLIER = (time.time() + 9_999) * 1_000, (time.time() - 9_999) * 1_000
CLAUDE, CODEX, GEMINI = ".claude/.credentials.json", ".codex/auth.json", ".gemini/oauth_creds.json"
KINDS = {CLAUDE: ProviderKind.CLAUDE, CODEX: ProviderKind.CODEX, GEMINI: ProviderKind.GEMINI}


def oauth(**fields: object) -> dict[str, object]:
    return {"claudeAiOauth": {"accessToken": SECRET, **fields}}


@pytest.mark.requirement("SAFE-3")
@pytest.mark.parametrize(
    ("file", "content", "here", "how"),
    [
        (CLAUDE, oauth(expiresAt=LATER), True, "until 2"),
        (CLAUDE, oauth(expiresAt=EARLIER, refreshToken=SECRET), True, "renewed when it is used"),
        (CLAUDE, oauth(expiresAt=EARLIER), False, "expired at"),
        (CLAUDE, oauth(expiresAt=SECRET), True, "~/.claude/.credentials.json"),
        (CLAUDE, {"claudeAiOauth": {}}, False, "holds no login"),
        (CLAUDE, SECRET, None, "cannot be understood"),
        (CLAUDE, "[" * 100_000, None, "cannot be understood"),
        (CODEX, {"tokens": {"id_token": SECRET}}, True, "~/.codex/auth.json"),
        (CODEX, [SECRET], False, "holds no login"),
        (GEMINI, {"access_token": SECRET, "expiry_date": LATER}, True, "until 2"),
        (GEMINI, {"access_token": SECRET, "expiry_date": 1e300}, True, "~/.gemini/oauth_creds.json"),
    ],
)
async def test_what_the_programs_keep_is_told_by_its_place_and_its_end(
    machine: Machine, file: str, content: object, here: bool | None, how: str
) -> None:
    kind = KINDS[file]
    machine.keep(file, content)
    machine.program(kind.value, "echo 1.2.3")

    found = await machine.check(kind)

    assert found.logged_in is here
    assert how in found.how
    assert SECRET not in repr(found)


async def test_homes_of_the_programs_may_stand_elsewhere(machine: Machine) -> None:
    machine.environ |= {"CODEX_HOME": str(machine.home / "a"), "CLAUDE_CONFIG_DIR": str(machine.home / "b")}
    machine.keep("a/auth.json", {"OPENAI_API_KEY": SECRET})
    machine.keep("b/.credentials.json", oauth())

    assert (await machine.check(ProviderKind.CODEX)).logged_in
    assert (await machine.check(ProviderKind.CLAUDE)).logged_in


@pytest.mark.requirement("SAFE-3")
@pytest.mark.parametrize(
    ("script", "here", "how"),
    [
        (f"echo {SECRET}", True, "key_command prints a key"),
        (f"echo {SECRET} >&2; exit 4", False, "key_command ended with 4"),
        (f"echo {SECRET}; exit 1", False, "key_command ended with 1"),
        ("echo; echo ' '", False, "key_command prints nothing"),
        ("head -c 5000000 /dev/zero | tr '\\0' k", True, "key_command prints a key"),
        ("read line && echo $line", False, "key_command ended with 1"),
        ("sleep 60", False, "key_command took longer than 0.3 s"),
        (None, False, "key_command cannot be started (No such file or directory)"),
    ],
)
async def test_a_key_command_is_judged_by_whether_it_prints_something(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, script: str | None, here: bool, how: str
) -> None:
    if script == "sleep 60":
        monkeypatch.setattr(presence, "_KEY_SECONDS", 0.3)
    if script is not None:
        machine.program("get-key", script)
    machine.program("claude", "echo 1.2.3")

    found = await machine.check(key_command=(str(machine.bin / "get-key"),))

    assert (found.logged_in, found.how) == (here, how)
    assert SECRET not in repr(found)


async def test_local_servers_are_asked_and_cloud_ones_are_not(machine: Machine) -> None:
    with serving(OLLAMA) as url:
        found = await check(local(url), machine.environ)
        assert found == ProviderCheck(
            "local", url, "0.12.9", True, "it answers, and needs no key", ("mine", "mine:latest", "qwen3:8b")
        )
    gone = await check(local(url), machine.environ)
    assert (gone.program, gone.logged_in, gone.how) == (None, None, f"it is not running: nothing listens at {url}")
    with serving(VLLM) as url:
        keyed = replace(local(url, ProviderKind.OPENAI), key_env="SERVER_KEY")
        assert (await check(keyed, machine.environ)).logged_in is False
        machine.environ["SERVER_KEY"] = SECRET
        assert (await check(keyed, machine.environ)).models == ("gpt-oss-20b",)
    cloud = replace(keyed, place=Place.CLOUD)
    assert (await check(cloud, machine.environ)).how == "SERVER_KEY is set"
