"""SIGKILL before, within and after each git command and each write while a copy is put into its folder (WS-6, MERGE-7)."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults import promoting
from tests.faults.placing import yard_of
from tests.support.nursery import Nursery
from tests.support.yard import Yard

pytestmark = [pytest.mark.anyio, pytest.mark.sqlite, pytest.mark.requirement("WS-6", "MERGE-7")]


@pytest.fixture
def nursery(tmp_path: Path, home: Path) -> Iterator[Nursery]:
    with Nursery("tests.faults.promoting", tmp_path / "nursery.log") as started:
        yield started


def files(yard: Yard) -> dict[str, str]:
    """Of the project's folder, but for ours."""
    found = (one.relative_to(yard.root) for one in yard.root.rglob("*") if one.is_file())
    return {one.as_posix(): (yard.root / one).read_text() for one in found if one.parts[0] != "state"}


async def check(folder: Path, crash_at: int) -> bool:
    """After the recovery all of it is there or nothing; then it goes on to its end. Was all of it there?"""
    yard, store = await yard_of(folder)
    try:
        assert await yard.places.recover() == [], crash_at
        recovered = files(yard)
        assert recovered in (promoting.BEFORE, promoting.AFTER), (crash_at, recovered)
        await promoting.completed(yard)
        assert files(yard) == promoting.AFTER, crash_at
        assert await yard.bench.status("T1") == ["done"], crash_at
        assert (await yard.bench.kinds("T1")).count("task.completed") == 1, crash_at
        assert await yard.places.close("T1") is None, crash_at
        assert not (yard.folder / "T1").exists(), crash_at
        assert [*yard.folder.rglob("*.lock")] == [], crash_at
        assert not (yard.root / ".git").exists(), crash_at
        return recovered == promoting.AFTER
    finally:
        await store.close()


async def every(nursery: Nursery, tmp_path: Path, step: int) -> int:
    folder, kept, record = tmp_path / "work", tmp_path / "kept", tmp_path / "record"
    folder.mkdir()
    await promoting.begun(folder)
    shutil.copytree(folder, kept, symlinks=True)
    assert nursery.wait(nursery.spawn(folder=str(folder), crash_at=0, record=str(record))) == 0
    assert await check(folder, 0)
    calls = int(record.read_text())
    ended: list[bool] = []
    for crash_at in (*range(1, calls + 1, step), "torn"):
        shutil.rmtree(folder)  # at the same place: rows know copies by it
        shutil.copytree(kept, folder, symlinks=True)
        how = {"crash_at": 0, "torn": True} if crash_at == "torn" else {"crash_at": crash_at}
        assert nursery.wait(nursery.spawn(folder=str(folder), **how)) == -9, "it ended before its time"
        ended.append(await check(folder, -1 if crash_at == "torn" else int(crash_at)))
    assert ended[-1], "what was half written is finished"
    assert ended[:-1] == sorted(ended[:-1]), "once it has begun it only goes forward"
    return calls


async def test_a_kill_at_any_step_of_a_promotion_leaves_all_or_nothing(nursery: Nursery, tmp_path: Path) -> None:
    assert await every(nursery, tmp_path, 17) > 40


@pytest.mark.full
async def test_a_kill_at_each_step_of_a_promotion_leaves_all_or_nothing(nursery: Nursery, tmp_path: Path) -> None:
    await every(nursery, tmp_path, 1)
