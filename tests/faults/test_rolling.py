"""SIGKILL before and after each git command and each write while files are kept and taken back (MERGE-7, WS-5)."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults import rolling
from tests.faults.placing import yard_of
from tests.support.nursery import Nursery
from tests.support.yard import Yard

pytestmark = [pytest.mark.anyio, pytest.mark.sqlite, pytest.mark.requirement("MERGE-7", "WS-5")]


@pytest.fixture
def nursery(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Nursery]:
    monkeypatch.setenv("HOME", str(tmp_path))
    with Nursery("tests.faults.rolling", tmp_path / "nursery.log") as started:
        yield started


def files(yard: Yard) -> dict[str, str]:
    place = yard.folder / "T1"
    found = (one.relative_to(place) for one in place.rglob("*") if one.is_file() and one.name != ".git")
    return {one.as_posix(): (place / one).read_text() for one in found}


async def check(folder: Path, crash_at: int) -> None:
    """The files are the good ones, the bad ones are in a checkpoint, and each row has its commit."""
    await rolling.lived(folder)
    yard, store = await yard_of(folder)
    try:
        own = {".gitignore": yard.show("main", ".gitignore") + "\n", "kept.log": "ignored\n"}
        assert files(yard) == own | rolling.GOOD, crash_at
        rows = await yard.bench.sql("SELECT number, commit_sha FROM workspace_checkpoints ORDER BY number")
        kept = {row["number"]: row["commit_sha"] for row in rows}
        for number, commit in kept.items():
            assert yard.git("rev-parse", f"refs/wvo/checkpoint/T1/{number}") == commit, crash_at
        bad = [number for number, commit in kept.items() if yard.names(commit) >= rolling.BAD.keys()]
        assert len(bad) == 1, f"kept once, at {crash_at}"
        assert {name: yard.show(kept[bad[0]], name) + "\n" for name in rolling.BAD} == rolling.BAD, crash_at
        assert yard.refs("refs/wvo/rollback") == [], crash_at
        assert list((yard.root / ".git").rglob("*.lock")) == [], crash_at
        await rolling.rolled_back(yard, bad[0])
        assert files(yard) == own | rolling.BAD, f"undone, at {crash_at}"
    finally:
        await store.close()
    yard.git("fsck", "--no-dangling")


async def every(nursery: Nursery, tmp_path: Path, step: int) -> int:
    folder, kept, record = tmp_path / "work", tmp_path / "kept", tmp_path / "record"
    folder.mkdir()
    await rolling.begun(folder)
    shutil.copytree(folder, kept, symlinks=True)  # worktrees know where they are: each try is in the same folder
    assert nursery.wait(nursery.spawn(folder=str(folder), crash_at=0, record=str(record))) == 0
    await check(folder, 0)
    calls = int(record.read_text())
    for crash_at in range(1, calls + 1, step):
        shutil.rmtree(folder)
        shutil.copytree(kept, folder, symlinks=True)
        code = nursery.wait(nursery.spawn(folder=str(folder), crash_at=crash_at))
        # An index that is old enough is written anew, which takes a few calls.
        assert code == -9 or crash_at > calls * 0.9, "it ended before its time"
        await check(folder, crash_at)
    return calls


async def test_a_kill_at_any_step_of_a_rollback_loses_and_repeats_nothing(nursery: Nursery, tmp_path: Path) -> None:
    assert await every(nursery, tmp_path, 17) > 60


@pytest.mark.full
async def test_a_kill_at_each_step_of_a_rollback_loses_and_repeats_nothing(nursery: Nursery, tmp_path: Path) -> None:
    await every(nursery, tmp_path, 1)
