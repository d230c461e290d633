"""Two hosts with clones of one remote, and one store: what either submits lands there (mode push)."""

from pathlib import Path
from typing import Any

import anyio
import pytest

from tests.orchestration.merging.conftest import RUNNER, Lane
from tests.support.bench import Bench
from tests.support.yard import Yard, git
from wvo_mcp.domain.lease import Caller
from wvo_mcp.domain.rules import MergeMode, Rules
from wvo_mcp.ports.merging import NotNow

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("MERGE-6")]

CALLERS = (RUNNER, Caller("auto-there", "runner/2", client="tests", worker=True))


class Hosts:
    """`lanes` are the hosts; `bare` is the remote."""

    def __init__(self, bench: Bench, folder: Path, origin: Path) -> None:
        self.bench = bench
        self.bare = folder / "bare.git"
        git(folder, "clone", "-q", "--bare", str(origin), str(self.bare))
        self.lanes = [self._lane(folder / name, name, caller) for name, caller in zip("ab", CALLERS, strict=True)]

    def _lane(self, folder: Path, name: str, caller: Caller) -> Lane:
        git(self.bare.parent, "clone", "-q", str(self.bare), str(folder / "shop"))
        yard = Yard(folder / "shop", self.bench)
        for part in (vars(yard.places)["_rows"], yard.submissions):
            field = "host" if hasattr(part, "host") else "_host"
            setattr(part, field, name)
        yard.rules.rules = Rules()
        lane = Lane(yard, folder / "checks")
        lane.rule(mode=MergeMode.PUSH)
        lane.queue = lane.runner(caller, host=name)
        return lane

    async def land(self) -> None:
        """Both queues at once, until nothing waits; what was parked for a moment is tried again."""
        for _ in range(20):
            async with anyio.create_task_group() as tasks:
                for lane in self.lanes:
                    tasks.start_soon(lane.land)
            if {"queued", "landing", "parked"}.isdisjoint((await self.lanes[0].states()).values()):
                return
            self.bench.clock.advance(seconds=61)
        raise AssertionError(await self.bench.sql("SELECT task_id, state, reason FROM merge_entries"))

    def names(self) -> set[str]:
        return set(git(self.bare, "ls-tree", "-r", "--name-only", "main").split())


@pytest.fixture
def hosts(bench: Bench, tmp_path: Path, home: Path, origin: Path) -> Hosts:
    return Hosts(bench, tmp_path, origin)


@pytest.mark.parametrize("count", [4, pytest.param(20, marks=pytest.mark.full)])
async def test_what_two_hosts_submit_lands_once_each(hosts: Hosts, count: int) -> None:
    before = [lane.yard.git("rev-parse", "main") for lane in hosts.lanes]
    submitted: list[dict[str, Any]] = []
    for number in range(count):
        lane = hosts.lanes[number % 2]
        submitted.append(await lane.submit(f"T{number}", {f"new{number}.py": f"{number}\n"}))

    await hosts.land()

    assert await hosts.lanes[0].states() == {f"T{number}": "merged" for number in range(count)}
    assert hosts.names() >= {f"new{number}.py" for number in range(count)}
    assert int(git(hosts.bare, "rev-list", "--count", "main")) == count + 1, "each landed once"
    pins = git(hosts.bare, "for-each-ref", "--format=%(objectname)", "refs/wvo/submit").split()
    entries = [await hosts.lanes[0].entry(one["entry_id"]) for one in submitted]
    assert sorted(pins) == sorted(entry["commit_sha"] for entry in entries)
    assert [lane.yard.git("rev-parse", "main") for lane in hosts.lanes] == before, "no local branch moves"


async def test_one_host_lands_what_another_has_built(hosts: Hosts) -> None:
    here, there = hosts.lanes
    await there.submit("T1", {"new.py": "n\n"})
    assert not await here.queue.turn(), "the remote does not have it yet"
    repository: Any = there.queue.repository

    async def away(*_: Any) -> None:
        raise NotNow("it is away")

    repository.land = away
    await there.land()
    assert await here.states() == {"T1": "parked"}

    hosts.bench.clock.advance(seconds=61)
    await here.land()
    assert await here.states() == {"T1": "merged"}
    assert "new.py" in hosts.names()


async def test_work_begins_with_what_landed_at_the_remote(hosts: Hosts) -> None:
    here, _ = hosts.lanes
    await here.submit("T1", {"code.py": "a = 2\n"})
    await here.land()
    assert here.main("code.py") == "a = 1"

    _, place = await here.yard.opened("T2")
    assert (place.path / "code.py").read_text() == "a = 2\n"
    here.yard.git("pull", "-q", "--ff-only", "origin", "main")
    here.yard.write(here.yard.root, {"mine.py": "m\n"})
    newer = here.yard.save("a person's own, not yet pushed")
    _, place = await here.yard.opened("T3")
    assert here.yard.git("rev-parse", "HEAD", at=place.path) == newer


async def test_a_landing_whose_runner_died_after_the_push_is_found(hosts: Hosts) -> None:
    here, there = hosts.lanes
    entry = await here.submit("T1", {"new.py": "n\n"})
    repository: Any = here.queue.repository
    land = repository.land

    class Died(BaseException):
        pass

    async def dying(*arguments: Any) -> None:
        await land(*arguments)
        raise Died

    repository.land = dying
    with pytest.raises(BaseException) as error:
        await here.land()
    assert error.group_contains(Died) if isinstance(error.value, BaseExceptionGroup) else isinstance(error.value, Died)
    assert (await here.entry(entry["entry_id"]))["state"] == "landing"

    hosts.bench.clock.advance(seconds=61)
    await there.land()
    assert await here.states() == {"T1": "merged"}
    assert int(git(hosts.bare, "rev-list", "--count", "main")) == 2
