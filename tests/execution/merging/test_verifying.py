"""The project's commands on a candidate, in a worktree of ours: nothing of earlier runs is there, and nothing is left."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import anyio
import psutil
import pytest

from tests.execution.merging.conftest import Field
from tests.support.waiting import eventually
from wvo_mcp.execution.merging.verifying import Verifier
from wvo_mcp.execution.workspaces.repository import Common
from wvo_mcp.ports.merging import Candidate, NotNow, Verdict

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("REV-4")]


class Stand:
    def __init__(self, field: Field) -> None:
        self.field = field
        self.folder = field.root / "state" / "worktrees"
        self.path = self.folder / ".verify"
        self.verifier = Verifier(field.root, self.folder, field.root / "state" / "workers")

    def candidate(self, files: dict[str, str | bytes | None] | None = None) -> Candidate:
        commit = self.field.work(files or {"new.py": "1\n"}, base="main")
        return Candidate(commit=commit, tree=self.field.git("rev-parse", f"{commit}^{{tree}}"), tip=self.field.first)

    async def run(self, *commands: str, candidate: Candidate | None = None, **more: Any) -> Verdict:
        given: dict[str, Any] = {"seconds": 60.0, "setup": None, "names": ()} | more
        return await self.verifier.verify(
            await self.common(), candidate or self.candidate(), list[str](commands), **given
        )

    async def common(self) -> Common:
        return await anyio.to_thread.run_sync(lambda: self.field.common)

    def logs(self) -> Sequence[Path]:
        return sorted((self.field.root / "state" / "workers" / "verify").glob("*.log"))


def text_of(verdict: Verdict) -> str:
    """Its log."""
    assert verdict.log is not None
    return Path(verdict.log).read_text()


def written(path: Path) -> bool:
    return path.exists() and bool(path.read_text().strip())


@pytest.fixture
def stand(field: Field) -> Stand:
    field.saved({".gitignore": "state/\nbuild/\n"})
    return Stand(field)


async def test_commands_run_on_the_files_of_the_candidate_alone(stand: Stand) -> None:
    candidate = stand.candidate({"new.py": "1\n", "code.py": None})
    (stand.field.root / "mine.py").write_text("a person's own\n")
    verdict = await stand.run("test -f new.py", "test ! -e code.py", "test ! -e mine.py", candidate=candidate)
    assert verdict.passed
    assert stand.field.git("status", "--porcelain") == "?? mine.py"
    assert [line for line in stand.field.git("branch", "--list").split() if line != "*"] == ["main"]


async def test_the_first_that_fails_ends_it_and_is_told(stand: Stand) -> None:
    verdict = await stand.run("echo fine", "echo 'E   assert 1 == 2' >&2; exit 3", "touch ../../../ran")
    assert (verdict.passed, verdict.exit_code) == (False, 3)
    assert verdict.command == "echo 'E   assert 1 == 2' >&2; exit 3"
    assert "assert 1 == 2" in verdict.tail
    assert "fine" in text_of(verdict)
    assert not (stand.field.root / "ran").exists()


async def test_nothing_of_an_earlier_run_is_there(stand: Stand) -> None:
    first = await stand.run(
        "mkdir -p build deep/er && echo 1 > build/out && echo 1 > deep/er/left && echo changed > new.py && git init -q own"
        " && chmod 000 deep/er/left && ln -s / root"
    )
    assert first.passed
    assert (await stand.run("test ! -e build -a ! -e deep -a ! -e own -a ! -e root", "grep -q '^1$' new.py")).passed


async def test_a_command_hides_and_changes_no_file_for_later_runs(stand: Stand) -> None:
    first = await stand.run(
        "git update-index --skip-worktree code.py && rm code.py",
        "git update-index --assume-unchanged new.py && echo evil > new.py",
    )
    assert first.passed
    assert (await stand.run("test -f code.py", "grep -q '^1$' new.py")).passed


async def test_read_only_folders_are_removed(stand: Stand) -> None:
    assert (await stand.run("mkdir -p build/deep && touch build/deep/file && chmod 555 build/deep build")).passed
    assert (await stand.run("test ! -e build")).passed


@pytest.mark.parametrize("how", ["gone", "file", "git", "lock", "link", "unknown"])
async def test_a_worktree_that_was_spoiled_is_made_anew(stand: Stand, how: str) -> None:
    assert (await stand.run("true")).passed
    [git_dir] = (stand.field.root / ".git" / "worktrees").iterdir()
    spoil = {
        "gone": f"rm -rf {stand.path}",
        "file": f"rm -rf {stand.path} && touch {stand.path}",
        "git": f"rm {stand.path}/.git && mkdir {stand.path}/.git && echo evil > {stand.path}/.git/config",
        "lock": f"touch {git_dir}/index.lock {git_dir}/HEAD.lock",
        "link": f"mv {stand.path} {stand.path}2 && ln -s {stand.field.root} {stand.path}",
        "unknown": f"rm -rf {git_dir}",
    }[how]
    await anyio.run_process(["sh", "-c", spoil])
    before = (stand.field.root / "code.py").read_text()
    assert (await stand.run("test -f new.py")).passed
    assert (stand.field.root / "code.py").read_text() == before
    assert stand.path.is_dir()
    assert not stand.path.is_symlink()


async def test_setup_comes_first_and_its_failure_is_not_the_works(stand: Stand) -> None:
    assert (await stand.run("test -f made", setup="touch made")).passed
    with pytest.raises(NotNow, match=r"project\.setup ended with 7"):
        await stand.run("true", setup="echo no network; exit 7")
    assert any("no network" in log.read_text() for log in stand.logs())


async def test_what_runs_too_long_is_ended_with_all_that_it_started(stand: Stand) -> None:
    pids = stand.field.root.parent / "pids"
    command = f"(setsid sh -c 'trap \"\" TERM; echo $$ >> {pids}; sleep 600' &) ; echo $$ >> {pids}; sleep 600"
    verdict = await stand.run(command, seconds=1.0)
    assert (verdict.passed, verdict.exit_code) == (False, None)
    assert await anyio.to_thread.run_sync(lambda: eventually(lambda: not _living(pids), seconds=30))


async def test_a_server_that_a_command_leaves_behind_is_ended(stand: Stand) -> None:
    pids = stand.field.root.parent / "pids"
    assert (
        await stand.run(
            f"(setsid sh -c 'echo $$ > {pids}; exec sleep 600' >/dev/null 2>&1 &); while ! test -s {pids}; do :; done"
        )
    ).passed
    assert await anyio.to_thread.run_sync(lambda: eventually(lambda: not _living(pids), seconds=30))


async def test_cancelled_it_ends_what_runs(stand: Stand) -> None:
    pids = stand.field.root.parent / "pids"
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(stand.run, f"echo $$ > {pids}; sleep 600")
        assert await anyio.to_thread.run_sync(lambda: eventually(lambda: written(pids), seconds=60))
        tasks.cancel_scope.cancel()
    assert await anyio.to_thread.run_sync(lambda: eventually(lambda: not _living(pids), seconds=30))
    assert (await stand.run("true")).passed


def _living(pids: Path) -> list[int]:
    known = [int(line) for line in pids.read_text().split()]
    return [pid for pid in known if psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE]


async def test_the_environment_is_ours_without_secrets_and_marks(stand: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "WVO_AGENT_ID": "ann", "CLAUDECODE": "1", "API_TOKEN": "sk-ant-api03-" + "x" * 80, "PASSES": "yes",
        "PLAIN": "1",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    verdict = await stand.run(
        'test -z "$WVO_AGENT_ID$CLAUDECODE$API_TOKEN"', 'test "$CI$PLAIN" = 11', 'test -n "$WVO_PORT_BASE"',
        'test "$PASSES" = yes', names=("PASSES",),
    )  # fmt: skip
    assert verdict.passed, verdict
    assert (await stand.run('test -n "$API_TOKEN"', names=("API_TOKEN",))).passed


@pytest.mark.parametrize(
    "command",
    [
        "head -c 30000000 /dev/zero | tr '\\0' x; exit 1",
        "head -c 9000000 /dev/urandom; exit 1",
        "i=0; while [ $i -lt 20000 ]; do echo line $i; i=$((i+1)); done; exit 1",
        "exec 1>&- 2>&-; exit 1",
        "cat; exit 1",
    ],
)
async def test_whatever_it_prints_is_kept_within_bounds(stand: Stand, command: str) -> None:
    verdict = await stand.run(command)
    assert (verdict.passed, verdict.exit_code) == (False, 1)
    assert len(verdict.tail) <= 4_000
    assert len(text_of(verdict)) < 4 << 20


async def test_a_secret_that_is_printed_is_not_kept(stand: Stand) -> None:
    secret = "sk-ant-api03-" + "Ab1" * 30
    verdict = await stand.run(f"echo token {secret}; exit 1")
    assert secret not in verdict.tail + text_of(verdict)


async def test_old_logs_are_forgotten(stand: Stand) -> None:
    folder = stand.field.root / "state" / "workers" / "verify"
    folder.mkdir(parents=True)
    for number in range(80):
        (folder / f"20200101-{number:06}-x.log").write_text("old")
    await stand.run("true")
    assert len(stand.logs()) == 50


async def test_two_at_once_do_not_share_the_worktree(stand: Stand) -> None:
    other = Verifier(stand.field.root, stand.folder, stand.field.root / "state" / "workers")
    candidate, common = stand.candidate(), await stand.common()
    flag = stand.field.root.parent / "flag"
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(stand.run, f"touch {flag}; while test -e {flag}; do sleep 0.05; done")
        assert await anyio.to_thread.run_sync(lambda: eventually(flag.exists, seconds=60))
        with pytest.raises(NotNow, match="another process verifies"):
            await other.verify(common, candidate, ["true"], seconds=9, setup=None, names=())
        flag.unlink()


async def test_a_project_in_a_folder_of_the_repository_runs_there(field: Field) -> None:
    field.saved({"app/code.py": "1\n", ".gitignore": "state/\n"})
    root = field.root / "app"
    verifier = Verifier(root, root / "state" / "worktrees", root / "state" / "workers")
    tree = field.git("rev-parse", "HEAD^{tree}")
    candidate = Candidate(commit=field.git("rev-parse", "HEAD"), tree=tree, tip=field.first)
    common = await anyio.to_thread.run_sync(lambda: field.common)
    done = await verifier.verify(common, candidate, ["test -f code.py"], seconds=60, setup=None, names=())
    assert done.passed


async def test_what_runs_there_can_decide_nothing_that_only_people_may(stand: Stand) -> None:
    verdict = await stand.run("wvo-mcp approve A-1 2>&1; test $? -ne 0", names=("PATH",))
    assert verdict.passed, os.environ["PATH"]


async def test_what_a_verification_left_in_gits_configuration_runs_nothing(stand: Stand, tmp_path: Path) -> None:
    """Outside of the warden, and with the rights of a person."""
    stand.field.git("config", "extensions.worktreeConfig", "true")
    ran = tmp_path / "ran"
    plant = (
        f"git config --worktree filter.x.smudge 'echo ran >> {ran}; cat' && git config --worktree filter.x.clean cat"
    )
    candidate = stand.candidate({"new.py": "1\n", ".gitattributes": "* filter=x\n"})

    assert (await stand.run(plant, candidate=candidate)).passed
    assert (await stand.run("test -f new.py", candidate=candidate)).passed

    assert not ran.exists()


async def test_all_files_are_verified_beside_a_sparse_checkout(stand: Stand) -> None:
    stand.field.saved({"kept/a.py": "1\n", "away/b.py": "1\n"})
    stand.field.git("sparse-checkout", "set", "kept")

    assert (await stand.run("test -f away/b.py", candidate=stand.candidate({"kept/c.py": "1\n"}))).passed
    assert not (stand.field.root / "away").exists()
