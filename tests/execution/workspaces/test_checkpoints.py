"""Checkpoints of the files of a workspace: all that is there, in a chain, one at a time, whatever is cut off."""

import os
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import anyio
import pytest

from tests.support.clock import START
from tests.support.yard import JOURNAL, Yard
from wvo_mcp.domain.checkpoints import Trigger, surplus
from wvo_mcp.domain.known_secrets import forget_secret, register_secret
from wvo_mcp.execution.git import GitFailed
from wvo_mcp.execution.workspaces import checkpoints
from wvo_mcp.execution.workspaces.checkpoints import FileCheckpoints
from wvo_mcp.ports.checkpoints import NoCheckpoint, Taken

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("WS-1", "WS-3")]


class Keeping:
    """T1 is being worked on in `path`."""

    def __init__(self, yard: Yard, path: Path) -> None:
        self.yard = yard
        self.path = path
        self.again()

    def again(self) -> None:
        """As another process sees it."""
        store: Any = self.yard.bench.store
        self.files = FileCheckpoints(self.yard.root, self.yard.folder, store, JOURNAL)

    async def take(self, trigger: Trigger = Trigger.CALL, **more: Any) -> Taken:
        taken = await self.files.take("T1", trigger, **more)
        assert taken is not None
        return taken

    async def rows(self) -> list[dict[str, Any]]:
        return await self.yard.bench.read(lambda tx: tx.snapshots.of_task("T1", 100))


@pytest.fixture
async def keeping(yard: Yard) -> Keeping:
    _, place = await yard.opened("T1")
    return Keeping(yard, place.path)


@pytest.mark.both_stores
async def test_all_files_are_in_it_and_the_chain_says_what_changed(keeping: Keeping) -> None:
    yard = keeping.yard
    yard.write(keeping.path, {"code.py": "a = 2\n", "src/new.py": "1\n", "x.log": "ignored\n"})
    first = await keeping.take(task_checkpoint=3)
    (keeping.path / "src/new.py").unlink()
    yard.write(keeping.path, {"more.py": "1\n"})
    second = await keeping.take(Trigger.INTERVAL)

    assert (first.number, first.seq, first.files_changed, second.number, second.files_changed) == (1, 1, 2, 2, 2)
    assert yard.git("rev-parse", "refs/wvo/checkpoint/T1/2") == second.commit
    assert yard.git("rev-parse", f"{second.commit}^") == first.commit
    assert yard.names(first.commit) == {"code.py", "src/new.py", ".gitignore"}
    assert yard.names(second.commit) == {"code.py", "more.py", ".gitignore"}
    rows = await keeping.rows()
    assert [(row["number"], row["trigger"], row["task_checkpoint"]) for row in rows] == [
        (2, "interval", None),
        (1, "call", 3),
    ]
    step = await keeping.files.diff("T1", 2, whole=False, most=10_000)
    whole = await keeping.files.diff("T1", 2, whole=True, most=10_000)
    assert step is not None
    assert whole is not None
    assert sorted(step.files) == ["more.py", "src/new.py"]
    assert sorted(whole.files) == ["code.py", "more.py"]
    assert "+a = 2" in whole.text
    assert "+a = 2" not in step.text


async def test_the_diff_of_what_is_there_now_needs_no_checkpoint(keeping: Keeping) -> None:
    await keeping.take()
    keeping.yard.write(keeping.path, {"new.py": "x\n" * 2_000})
    now = await keeping.files.diff("T1", None, whole=False, most=100)
    assert now is not None
    assert (list(now.files), now.cut, len(now.text)) == (["new.py"], True, 100)
    assert await keeping.files.diff("T1", 9, whole=False, most=100) is None
    assert len(await keeping.rows()) == 1


async def test_nothing_new_makes_no_new_one(keeping: Keeping) -> None:
    keeping.yard.write(keeping.path, {"code.py": "a = 2\n"})
    first = await keeping.take()
    second = await keeping.take()
    assert (second.fresh, second.number, second.commit) == (False, first.number, first.commit)
    assert len(await keeping.rows()) == 1


async def test_a_task_without_a_worktree_has_none(yard: Yard) -> None:
    await yard.claimed("T9")
    store: Any = yard.bench.store
    files = FileCheckpoints(yard.root, yard.folder, store, JOURNAL)
    assert await files.take("T9", Trigger.CALL) is None
    assert await files.diff("T9", None, whole=True, most=10) is None
    assert await files.prune("T9") == 0


async def test_large_new_files_and_secrets_are_left_out_and_named(keeping: Keeping) -> None:
    secret = "opensesame-" + "k" * 30
    register_secret(secret)
    try:
        with (keeping.path / "big.bin").open("wb") as file:
            file.truncate(50 << 20)
        keeping.yard.write(
            keeping.path, {"conf.py": f"key = '{secret}'\n", "code.py": f"a = '{secret}'\n", "ok.py": "1"}
        )
        taken = await keeping.take()
    finally:
        forget_secret(secret)
    assert list(taken.left_out) == ["big.bin", "code.py", "conf.py"]
    assert keeping.yard.names(taken.commit) == {"code.py", "ok.py", ".gitignore"}
    assert keeping.yard.show(taken.commit, "code.py") == "a = 1"


async def test_many_at_once_are_made_one_after_the_other(keeping: Keeping) -> None:
    others = [keeping, *(Keeping(keeping.yard, keeping.path) for _ in range(3))]

    async def work(one: Keeping, number: int) -> None:
        keeping.yard.write(keeping.path, {f"new{number}.py": "1\n"})
        await one.take()

    async with anyio.create_task_group() as tasks:
        for number, one in enumerate(others):
            tasks.start_soon(work, one, number)
    rows = await keeping.rows()
    assert [row["number"] for row in rows] == list(range(len(rows), 0, -1))
    for newer, older in pairwise(rows):
        assert keeping.yard.git("rev-parse", f"{newer['commit_sha']}^") == older["commit_sha"]
    assert {f"new{number}.py" for number in range(4)} <= keeping.yard.names(rows[0]["commit_sha"])


class Killed(BaseException):
    """The process ends here."""


@pytest.mark.parametrize("step", ["before the ref", "before the row"])
async def test_what_a_crash_leaves_is_taken_over(keeping: Keeping, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    keeping.yard.write(keeping.path, {"code.py": "a = 2\n"})
    pinned = checkpoints._pinned

    def killed(*arguments: Any) -> None:
        if step == "before the row":
            pinned(*arguments)
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(checkpoints, "_pinned", killed)
        with pytest.raises(Killed):
            await keeping.take()
    keeping.again()
    keeping.yard.write(keeping.path, {"code.py": "a = 3\n"})
    taken = await keeping.take()
    assert (taken.number, taken.fresh) == (1, True)
    assert keeping.yard.refs("refs/wvo/checkpoint") == ["refs/wvo/checkpoint/T1/1"]
    assert keeping.yard.show("refs/wvo/checkpoint/T1/1", "code.py") == "a = 3"


async def test_a_full_disk_makes_none_and_says_so(keeping: Keeping, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> Any:
        raise GitFailed("error: unable to write file: No space left on device")

    keeping.yard.write(keeping.path, {"code.py": "a = 2\n"})
    with monkeypatch.context() as patch:
        patch.setattr(checkpoints, "_pinned", full)
        with pytest.raises(NoCheckpoint, match="No space left"):
            await keeping.take()
    assert (await keeping.take()).number == 1


async def test_a_tampered_repository_makes_none(keeping: Keeping) -> None:
    with (keeping.yard.root / ".git/config").open("a") as out:
        out.write("[core]\n\tfsmonitor = touch evil\n")
    with pytest.raises(NoCheckpoint, match="own files were changed"):
        await keeping.take()


async def test_files_of_every_kind_are_kept_as_they_are(keeping: Keeping) -> None:
    odd = os.fsdecode(b"odd \xff\n-name")
    (keeping.path / odd).write_bytes(b"\0\r\n")
    (keeping.path / "run.sh").write_text("#!/bin/sh\n")
    (keeping.path / "run.sh").chmod(0o755)
    (keeping.path / "link").symlink_to("/nowhere")
    (keeping.path / "empty").mkdir()
    taken = await keeping.take()
    listed = keeping.yard.git("ls-tree", "-r", taken.commit)
    assert "100755" in listed
    assert "120000" in listed
    assert taken.files_changed == 3


@pytest.mark.requirement("WS-1")
async def test_old_ones_and_too_many_are_pruned_but_never_the_newest(keeping: Keeping) -> None:
    for number in range(5):
        keeping.yard.write(keeping.path, {"code.py": f"a = {number}\n"})
        await keeping.take()
    assert await keeping.files.prune("T1") == 0
    keeping.yard.bench.clock.advance(days=8)
    assert await keeping.files.prune("T1") == 4
    assert keeping.yard.refs("refs/wvo/checkpoint") == ["refs/wvo/checkpoint/T1/5"]
    assert [row["number"] for row in await keeping.rows()] == [5]
    keeping.yard.write(keeping.path, {"code.py": "a = 9\n"})
    assert (await keeping.take()).number == 6


def test_which_of_them_may_go() -> None:
    now = START
    young = [{"number": number, "created_at": now} for number in range(300, 0, -1)]
    assert surplus(young, now) == list(range(100, 0, -1))
    old = [{"number": number, "created_at": now - timedelta(days=30)} for number in (3, 2, 1)]
    assert surplus(old, now) == [2, 1]
    assert surplus([], now) == []


async def test_staged_and_committed_work_is_in_the_checkpoint_and_in_every_diff(keeping: Keeping) -> None:
    """A plain `git diff` shows none of it."""
    yard, at = keeping.yard, keeping.path
    yard.write(at, {"committed.py": "1\n"})
    yard.git("add", "-A", at=at)
    yard.git("-c", "user.name=A", "-c", "user.email=a@example.org", "commit", "-q", "-m", "mine", at=at)
    yard.write(at, {"staged.py": "1\n", "code.py": "staged\n"})
    yard.git("add", "-A", at=at)
    assert yard.git("diff", "--name-only", at=at) == ""

    now = await keeping.files.diff("T1", None, whole=True, most=10_000)
    taken = await keeping.take()
    kept = await keeping.files.diff("T1", taken.number, whole=True, most=10_000)

    assert now is not None and kept is not None
    assert sorted(now.files) == sorted(kept.files) == ["code.py", "committed.py", "staged.py"]
    assert "+staged" in now.text and now.text == kept.text
    assert yard.names(taken.commit) == {"code.py", "committed.py", "staged.py", ".gitignore"}


async def test_each_file_of_a_new_folder_and_both_names_of_a_rename_are_told(keeping: Keeping) -> None:
    """`git status --porcelain` folds the folder into one line, and shows a rename as two names in one."""
    yard, at = keeping.yard, keeping.path
    yard.write(at, {"new/one.py": "1\n", "new/deep/two.py": "2\n", "new/a -> b": "3\n"})
    (at / "code.py").rename(at / "moved.py")
    yard.git("add", "code.py", "moved.py", at=at)
    assert {"?? new/", "R  code.py -> moved.py"} <= set(yard.git("status", "--porcelain", at=at).splitlines())

    taken = await keeping.take()
    kept = await keeping.files.diff("T1", taken.number, whole=True, most=10_000)

    assert kept is not None
    told = ["code.py", "moved.py", "new/a -> b", "new/deep/two.py", "new/one.py"]
    assert (sorted(kept.files), taken.files_changed) == (told, len(told))
