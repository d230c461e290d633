"""SIGKILL before and after each git command and each write while a place is made, submitted and removed."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults import placing
from tests.support.nursery import Nursery
from tests.support.yard import Yard

pytestmark = [pytest.mark.anyio, pytest.mark.sqlite, pytest.mark.requirement("MERGE-1")]


@pytest.fixture
def nursery(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Nursery]:
    monkeypatch.setenv("HOME", str(tmp_path))
    with Nursery("tests.faults.placing", tmp_path / "nursery.log") as started:
        yield started


async def check(folder: Path, crash_at: int) -> None:
    """The task is done once, with all of its work, and nothing is left over."""
    await placing.lived(folder)
    yard, store = await placing.yard_of(folder)
    try:
        assert await yard.places.recover() == []
        assert await yard.bench.status("T1") == ["done"], crash_at
        (entry,) = await yard.bench.sql("SELECT number, commit_sha, state FROM merge_entries")
        assert entry["state"] == "merged"
        commit = yard.git("rev-parse", f"refs/wvo/submit/T1/{entry['number']}")
        assert commit == entry["commit_sha"], crash_at
        assert yard.show(commit, "new.py") == "b = 2"
        rows = await yard.bench.sql("SELECT state FROM workspaces")
        assert {row["state"] for row in rows} <= {"removed", "failed"}, crash_at
    finally:
        await store.close()
    assert_clean(yard, crash_at)


def assert_clean(yard: Yard, crash_at: int) -> None:
    left = [path for path in yard.folder.rglob("*") if ".locks" not in path.parts and path.name != ".index"]
    assert left == [], crash_at
    assert yard.git("worktree", "list").count("\n") == 0, crash_at
    assert yard.refs("refs/heads") == ["refs/heads/main"], crash_at
    assert yard.git("status", "--porcelain") == ""
    assert list((yard.root / ".git").rglob("*.lock")) == []


async def every(nursery: Nursery, tmp_path: Path, step: int) -> int:
    origin = tmp_path / "origin"
    origin.mkdir()
    await placing.begun(origin)
    record = tmp_path / "record"
    shutil.copytree(origin, tmp_path / "whole", symlinks=True)
    assert nursery.wait(nursery.spawn(folder=str(tmp_path / "whole"), crash_at=0, record=str(record))) == 0
    calls = int(record.read_text())
    for crash_at in range(1, calls + 1, step):
        folder = tmp_path / str(crash_at)
        shutil.copytree(origin, folder, symlinks=True)
        assert nursery.wait(nursery.spawn(folder=str(folder), crash_at=crash_at)) == -9
        await check(folder, crash_at)
    return calls


async def test_a_kill_at_any_step_loses_nothing_and_leaves_nothing(nursery: Nursery, tmp_path: Path) -> None:
    assert await every(nursery, tmp_path, 29) > 60


@pytest.mark.full
async def test_a_kill_at_each_step_loses_nothing_and_leaves_nothing(nursery: Nursery, tmp_path: Path) -> None:
    await every(nursery, tmp_path, 1)


async def check_again(folder: Path, crash_at: int) -> None:
    """The newest submission holds all of the work on top of the target and nothing else; what was there before is kept."""
    await placing.lived_again(folder)
    yard, store = await placing.yard_of(folder)
    try:
        assert await yard.bench.status("T1") == ["done"], crash_at
        (entry,) = await yard.bench.sql("SELECT commit_sha FROM merge_entries WHERE state = 'merged'")
        commit = entry["commit_sha"]
    finally:
        await store.close()
    assert yard.git("rev-parse", f"{commit}^") == yard.git("rev-parse", "main"), crash_at
    assert yard.git("diff", "--name-only", "main", commit).split() == ["code.py", "late.py"], crash_at
    assert f"{yard.show(commit, 'code.py')}\n" == placing.JOINED, crash_at
    kept = [yard.show(ref, "code.py") for ref in yard.refs("refs/wvo/archive")]
    assert placing.MINE.strip() in kept, crash_at
    assert yard.refs("refs/wvo/rollback") == [], crash_at
    assert_clean(yard, crash_at)


async def every_again(nursery: Nursery, tmp_path: Path, step: int) -> int:
    origin, folder, record = tmp_path / "origin", tmp_path / "work", tmp_path / "record"
    folder.mkdir()
    await placing.begun_again(folder)
    shutil.copytree(folder, origin, symlinks=True)  # worktrees know where they are: each try is in the same folder
    assert nursery.wait(nursery.spawn(folder=str(folder), crash_at=0, record=str(record), back=True)) == 0
    calls = int(record.read_text())
    for crash_at in range(1, calls + 1, step):
        shutil.rmtree(folder)
        shutil.copytree(origin, folder, symlinks=True)
        assert nursery.wait(nursery.spawn(folder=str(folder), crash_at=crash_at, back=True)) == -9
        await check_again(folder, crash_at)
    return calls


@pytest.mark.requirement("MERGE-4", "MERGE-7")
async def test_a_kill_while_work_is_brought_onto_the_target_loses_nothing(nursery: Nursery, tmp_path: Path) -> None:
    assert await every_again(nursery, tmp_path, 97) > 97


@pytest.mark.full
@pytest.mark.requirement("MERGE-4", "MERGE-7")
async def test_a_kill_at_each_step_of_bringing_work_onto_the_target_loses_nothing(
    nursery: Nursery, tmp_path: Path
) -> None:
    await every_again(nursery, tmp_path, 1)
