"""Commands and the verdict of each, and that no wrapper lets a blocked one pass."""

import re
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.clock import StoppedClock
from wvo_mcp.domain.policy import Judgement, Verdict
from wvo_mcp.execution.safety.judge import PolicyJudge
from wvo_mcp.execution.trust import Trust

pytestmark = pytest.mark.requirement("SAFE-2")

_RECORD = re.compile(r"(allow|watch|ask|deny|held) ([a-z-]+): (.+)")
Says = Callable[..., Judgement]


def records() -> Iterator[tuple[str, str, str]]:
    for line in Path(__file__).with_name("commands.txt").read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            found = _RECORD.fullmatch(line)
            assert found is not None, line
            yield found[1], found[2], found[3].replace("⏎", "\n")


RECORDS = list(records())
DENIED = [command for verdict, _, command in RECORDS if verdict in ("deny", "held") and "\n" not in command]


@pytest.fixture(scope="module")
def says(tmp_path_factory: pytest.TempPathFactory) -> Says:
    folder = tmp_path_factory.mktemp("judged")
    root, home = folder / "root", folder / "home"
    workspace = root / "state" / "worktrees" / "T1"
    for made in (home, workspace / "src", workspace / "build", workspace / "node_modules" / ".bin"):
        made.mkdir(parents=True)
    for made in ("src/x.py", "README.md", "run.sh", "node_modules/.bin/tsc"):
        (workspace / made).write_text("")
    (workspace / ".venv" / "bin").mkdir(parents=True)
    (workspace / ".venv" / "bin" / "python").symlink_to("/usr/bin/python3")
    (workspace / "etc").symlink_to("/etc")
    (workspace / "up").symlink_to(workspace.parent / "T2")
    environ = {"HOME": str(home)}
    judge = PolicyJudge(root / "state" / "policy.yaml", Trust(environ, root), StoppedClock(), root, environ)

    def judged(command: str, *, attended: bool = False) -> Judgement:
        return judge.command(command, workspace, workspace, attended=attended)

    return judged


def test_there_are_at_least_three_hundred_different_commands() -> None:
    assert len({command for _, _, command in RECORDS}) == len(RECORDS) >= 300


def test_each_command_has_its_verdict_and_a_reason_for_the_model(says: Says) -> None:
    wrong: list[str] = []
    for expected, category, command in RECORDS:
        for attended in (False, True):
            found = says(command, attended=attended)
            wanted = {"watch": "watch" if attended else "ask", "held": "ask" if attended else "deny"}.get(
                expected, expected
            )
            unsaid = found.verdict is not Verdict.ALLOW and not (found.rule and found.reason.endswith("."))
            if found.verdict.name.lower() != wanted or found.rule == "unjudged" or unsaid:
                wrong.append(f"{category}: {command!r}: {found.verdict.name} ({found.rule}), wanted {wanted}")
    assert not wrong, "\n".join(wrong)


def _quoted(command: str) -> str:
    """Each word that is plain letters with quotes in its middle."""
    return re.sub(r"(?<![\w$'\"\\./:-])([a-z])([a-z]+)(?= )", r"\1''\2", command, count=1)


def _escaped(text: str) -> str:
    return "$'" + "".join(f"\\x{byte:02x}" for byte in text.encode()) + "'"


WRAPPERS: dict[str, Callable[[str], str]] = {
    "sudo": lambda one: f"sudo -n {one}",
    "env": lambda one: f"env A=1 -u B sh -c {shlex.quote(one)}",
    "nohup": lambda one: f"nohup sh -c {shlex.quote(one)} &",
    "timeout": lambda one: f"timeout -k 1 5 bash -c {shlex.quote(one)}",
    "xargs": lambda one: f"echo a | xargs -n 1 sh -c {shlex.quote(one)}",
    "bash -c": lambda one: f"bash -euo pipefail -c {shlex.quote(one)}",
    "eval": lambda one: f"eval {shlex.quote(one)}",
    "subshell": lambda one: f"( {one}\n)",
    "group": lambda one: f"{{ {one}\n}}",
    "substitution": lambda one: f'echo "$( {one}\n)"',
    "backticks": lambda one: f"echo `sh -c {shlex.quote(one)}`" if "`" not in one and "\\" not in one else one,
    "here-document": lambda one: f"bash <<'WORD'\n{one}\nWORD",
    "here-string": lambda one: f"sh <<< {shlex.quote(one)}",
    "find": lambda one: f"find . -exec sh -c {shlex.quote(one)} \\;",
    "variable": lambda one: f'run={shlex.quote(one)}; eval "$run"',
    "printf": lambda one: f"printf %s {shlex.quote(one)} | sh",
    "base64": lambda one: f"echo {one.encode().hex()} | xxd -r -p | bash",
    "alias of git": lambda one: f"git -c alias.run={shlex.quote('!' + one)} run",
    "function": lambda one: f"run() {{ {one}\n}}; run",
    "branch": lambda one: f"if test -f x; then {one}\nfi",
    "loop": lambda one: f"for each in 1 2; do {one}\ndone",
    "trap": lambda one: f"trap {shlex.quote(one)} EXIT",
    "list": lambda one: f"ls && true; {one}",
    "background": lambda one: f"sleep 1 & {one}",
    "negated": lambda one: f"! {{ {one}\n}}",
    "process substitution": lambda one: f"cat <( {one}\n)",
    "parameter": lambda one: f'echo "${{x:-$( {one}\n)}}"',
    "watch": lambda one: f"watch -n 1 {shlex.quote(one)}",
    "su": lambda one: f"su -c {shlex.quote(one)}",
    "quotes": _quoted,
    "backslash": lambda one: re.sub(r"^([a-z])(?=[a-z]+ )", r"\\\1", one),
    "ansi quotes": lambda one: f"bash -c {_escaped(one)}",
}


@settings(
    derandomize=True, database=None, deadline=None, max_examples=250, suppress_health_check=[HealthCheck.too_slow]
)
@given(command=st.sampled_from(DENIED), wrappers=st.lists(st.sampled_from(sorted(WRAPPERS)), min_size=1, max_size=3))
def test_no_blocked_command_passes_by_wrapping_it(says: Says, command: str, wrappers: list[str]) -> None:
    wrapped = command
    for name in wrappers:
        wrapped = WRAPPERS[name](wrapped)
    assert says(wrapped).verdict >= Verdict.ASK, (wrappers, wrapped)


@pytest.mark.parametrize("wrapper", sorted(set(WRAPPERS) - {"printf", "base64", "variable"}))
def test_every_wrapper_shows_a_blocked_command_to_the_judge(says: Says, wrapper: str) -> None:
    for command in ("rm -rf /", "mkfs.ext4 /dev/sda1", "dd if=x of=/dev/sda", "git stash"):
        assert says(WRAPPERS[wrapper](command)).verdict is Verdict.DENY, (wrapper, command)


@settings(derandomize=True, database=None, deadline=None, max_examples=200)
@given(st.text(alphabet="rm -f/$(){}[]'\"\\;&|<>`*?!#~=abc\n\t0", max_size=40))
def test_no_text_breaks_the_judge(says: Says, text: str) -> None:
    assert says(text).verdict in Verdict


def test_text_that_is_deep_or_long_is_asked(says: Says) -> None:
    assert says("ls " * 50_000).verdict is Verdict.ASK
    assert says("$(" * 200 + "ls" + ")" * 200).verdict is Verdict.ASK
    assert says("(" * 500 + "ls" + ")" * 500).verdict is Verdict.ASK
    assert says("x=" + "a" * 99_000).verdict is Verdict.ALLOW
    nested = "rm -rf /"
    for _ in range(10):
        nested = f"bash -c {shlex.quote(nested)}"
    assert says(nested).verdict >= Verdict.ASK
    assert says("ls\0rm").verdict is Verdict.ASK
    assert says("ls \ud800").verdict in Verdict


@pytest.mark.requirement("SAFE-1")
def test_what_a_link_becomes_between_two_commands_counts(says: Says, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    root = tmp_path / "root"
    workspace = root / "w"
    workspace.mkdir(parents=True)
    environ = {"HOME": str(home), "TMPDIR": str(tmp_path / "none")}
    judge = PolicyJudge(root / "policy.yaml", Trust(environ, root), StoppedClock(), root, environ)
    assert judge.command("echo x > a/b", workspace, workspace, attended=False).verdict is Verdict.ALLOW
    (workspace / "a").symlink_to(root)
    assert judge.command("echo x > a/b", workspace, workspace, attended=False).verdict is Verdict.ASK
    assert judge.command("rm -rf a/*", workspace, workspace, attended=False).verdict is Verdict.DENY


def test_no_worker_enters_a_folder_that_is_protected(says: Says) -> None:
    for command in (
        "cd .github && ls",
        "cd src/../.github/workflows",
        "pushd state",
        "git -C .git status",
        "env -C .claude ls",
    ):
        assert says(command).verdict is Verdict.DENY, "its next command would be judged at the top"
        assert says(command, attended=True).verdict is Verdict.ASK
    assert says("cd src && ls").verdict is Verdict.ALLOW
