"""SIGKILL before and after every single write of a scripted life."""

import json
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.faults.life import STEPS, Life, resulting
from tests.support.invariants import verify
from tests.support.nursery import Nursery
from tests.support.postgres import Cluster
from tests.support.scale import sized
from tests.support.stores import Slate
from wvo_mcp.errors import WvoError

pytestmark = pytest.mark.anyio


@pytest.fixture
def nursery(tmp_path: Path) -> Iterator[Nursery]:
    with Nursery("tests.faults.crashing", tmp_path / "nursery.log") as started:
        yield started


def recorded(nursery: Nursery, folder: Path, **how: Any) -> dict[str, Any]:
    """The same life without a crash."""
    folder.mkdir()
    child = nursery.spawn(folder=str(folder), crash_at=0, record=str(folder / "record"), **how)
    assert nursery.wait(child) == 0
    return json.loads((folder / "record").read_text())


async def check(folder: Path, url: str | None, record: dict[str, Any], crash_at: int) -> None:
    """The store of a process that died at this write: what was acknowledged is there, what was not is there as a whole
    or not at all, and the life can be lived to its end."""
    acknowledged = len((folder / "acknowledged").read_text().splitlines())
    async with Life(folder, generation=2, steps_done=acknowledged, url=url) as life:
        content = await life.content()
        before, after = record["contents"][acknowledged : acknowledged + 2]
        assert content in (before, after), (
            f"write {crash_at}, step {acknowledged}: {difference(content, before, after)}"
        )
        verify(life.source)
        done = content == after
        for place in range(acknowledged, len(STEPS)):
            if place == acknowledged and done and not STEPS[place].safe:
                life.clock.advance(STEPS[place].after)
                continue
            try:
                await life.live(place)
            except WvoError as error:
                pytest.fail(f"write {crash_at}: step {place} cannot be finished: {error.payload()}")
        assert await resulting(life) == record["end"], f"write {crash_at}"
        verify(life.source)


def difference(content: Any, *expected: Any) -> str:
    nearest = min(expected, key=lambda wanted: sum(content[table] != wanted[table] for table in wanted))
    return "\n".join(
        f"{table}: has {set(content[table]) - set(nearest[table])}, lacks {set(nearest[table]) - set(content[table])}"
        for table in nearest
        if content[table] != nearest[table]
    )


async def crash(nursery: Nursery, tmp_path: Path, every: int, slates: Sequence[Slate] = ()) -> int:
    """One process for one write in so many, each of which dies there; how many. In files, or in the `slates` by turns:
    there is one process ahead."""
    whole = slates[0].url if slates else None
    record = recorded(nursery, tmp_path / "whole", url=whole)
    folders = {point: tmp_path / str(point) for point in range(1, record["calls"] + 1, every)}
    children: dict[int, int] = {}
    urls: dict[int, str | None] = {}

    def begin(point: int) -> None:
        if point in folders:
            folders[point].mkdir()
            urls[point] = None
            if slates:
                slate = slates[len(urls) % len(slates)]
                assert slate.wipe()
                urls[point] = slate.url
            children[point] = nursery.spawn(folder=str(folders[point]), crash_at=point, url=urls[point])

    begin(1)
    for point, folder in folders.items():
        begin(point + every)
        assert nursery.wait(children[point]) == -9
        for slate in slates:
            if slate.url == urls[point]:
                slate.wait_alone()
        await check(folder, urls[point], record, point)
        shutil.rmtree(folder)
    return len(folders)


@pytest.fixture
def slates(postgres: Cluster) -> Iterator[list[Slate]]:
    with postgres.database() as one, postgres.database() as two:
        yield [Slate(postgres, one), Slate(postgres, two)]


@pytest.mark.requirement("CLAIM-1", "CORE-11", "CORE-8")
async def test_a_crash_at_some_writes_loses_nothing_and_leaves_nothing_half_written(
    nursery: Nursery, tmp_path: Path
) -> None:
    assert await crash(nursery, tmp_path, every=41) > 10


@pytest.mark.full
@pytest.mark.drill
@pytest.mark.timeout(420)
@pytest.mark.requirement("CLAIM-1", "CORE-11", "CORE-8")
async def test_a_crash_at_any_write_loses_nothing_and_leaves_nothing_half_written(
    nursery: Nursery, tmp_path: Path
) -> None:
    assert await crash(nursery, tmp_path, every=1) > 500


@pytest.mark.requirement("CLAIM-1", "CORE-11", "CORE-8", "SCALE-1")
async def test_a_client_killed_at_some_writes_loses_nothing_acknowledged_on_postgresql(
    nursery: Nursery, tmp_path: Path, slates: list[Slate]
) -> None:
    assert await crash(nursery, tmp_path, every=181, slates=slates) > 1


@pytest.mark.full
@pytest.mark.drill
@pytest.mark.timeout(540)
@pytest.mark.requirement("CLAIM-1", "CORE-11", "CORE-8", "SCALE-1")
async def test_a_client_killed_at_many_writes_loses_nothing_acknowledged_on_postgresql(
    nursery: Nursery, tmp_path: Path, slates: list[Slate]
) -> None:
    assert await crash(nursery, tmp_path, every=5, slates=slates) > 100


@pytest.mark.requirement("DR-4", "CORE-11")
async def test_a_crash_while_the_database_is_made_leaves_one_that_opens(nursery: Nursery, tmp_path: Path) -> None:
    calls = recorded(nursery, tmp_path / "whole", migrating=True)["calls"]
    for point in range(1, calls + 1, sized(full=7, short=41)):
        folder = tmp_path / str(point)
        folder.mkdir()
        child = nursery.spawn(folder=str(folder), crash_at=point, migrating=True)
        assert nursery.wait(child) == -9
        async with Life(folder, generation=2) as life:
            await life.live(0)
            verify(life.source)


@pytest.mark.requirement("DR-4", "CORE-11", "SCALE-1")
async def test_a_client_killed_while_the_tables_are_made_leaves_a_database_that_opens(
    nursery: Nursery, tmp_path: Path, postgres: Cluster
) -> None:
    with postgres.database() as url:
        calls = recorded(nursery, tmp_path / "whole", migrating=True, url=url)["calls"]
    for point in range(1, calls + 1, sized(full=1, short=11)):
        folder = tmp_path / str(point)
        folder.mkdir()
        with postgres.database() as url:
            child = nursery.spawn(folder=str(folder), crash_at=point, migrating=True, url=url)
            assert nursery.wait(child) == -9
            async with Life(folder, generation=2, url=url) as life:
                await life.live(0)
                verify(life.source)
