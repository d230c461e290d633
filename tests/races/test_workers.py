"""Worker processes on the store itself, killed far more often than any server would be."""

import json
import random
import signal
import time
from pathlib import Path

import pytest

from tests.races.worker import seed_store
from tests.support.dag import random_tasks
from tests.support.history import History, Limits
from tests.support.invariants import Source, looked_at, verify
from tests.support.nursery import Nursery
from tests.support.scale import sized
from tests.support.stores import looked_for

WIP_LIMIT = 5


@pytest.fixture
def url(store_kind: str, request: pytest.FixtureRequest) -> str | None:
    """Of the database to work on; without one it is a file."""
    return request.getfixturevalue("store_url") if store_kind == "postgres" else None


def drained(
    folder: Path, url: str | None, names: list[str], count: int, *, kill_every: float, seconds: float, **more: int
) -> tuple[History, int]:
    """One worker a name, respawned under the same name whenever it is killed, until all tasks are done. The history, and
    how many were killed: one every so often, if something was done since the last time, and on a fast machine one for
    every twentieth of the work; besides, each dies by its own hand within its second to fourth task."""
    folder.mkdir()
    source = looked_for(folder, url)
    seed_store(folder, url, random_tasks(count, seed=count, epics=["A", "B"]))
    chance = random.Random(count)
    killed = 0
    with Nursery("tests.races.worker", folder / "nursery.log") as nursery:

        def spawned(name: str) -> int:
            asked = {"agent_id": name, "wip_limit": WIP_LIMIT, "seed": chance.randrange(1 << 30)}
            return nursery.spawn(folder=str(folder), url=url, **asked, dies_in=chance.randint(2, 4), **more)

        living = [spawned(name) for name in names]
        until = time.monotonic() + seconds
        next_kill = time.monotonic() + kill_every
        done = mark = 0
        while done < count:
            assert time.monotonic() < until, f"{done} of {count} tasks were done in {seconds} s"
            nursery.listen(0.05)
            for place, name in enumerate(names):
                if nursery.code(living[place]) == -signal.SIGKILL:
                    killed += 1
                    living[place] = spawned(name)
            # On a slow machine workers that are killed by the clock would never come to do anything.
            if (done > mark and time.monotonic() >= next_kill) or done >= mark + count // 20:
                next_kill, mark = time.monotonic() + kill_every, done
                victim = chance.randrange(len(names))
                nursery.kill(living[victim])
                killed += 1
                living[victim] = spawned(names[victim])
            with looked_at(source) as database:
                done = database.value("SELECT n FROM counters WHERE name = 'done'")
        for child in living:
            nursery.wait(child)
    assert (folder / "nursery.log").read_text() == ""
    history = verify(source, Limits(store=WIP_LIMIT, agent=1))
    assert set(history.completions.values()) == {1}
    assert history.completions.total() == count
    check_acknowledged(folder, source)
    return history, killed


def check_acknowledged(folder: Path, source: Source) -> None:
    """What a worker was told is stored, is stored."""
    told = [json.loads(line) for line in (folder / "acknowledged").read_text().splitlines()]
    with looked_at(source) as database:
        checkpoints = set(database.column("SELECT id FROM checkpoints"))
        completed = set(database.column("SELECT id FROM tasks WHERE status = 'done'"))
    assert {name for what, name in told if what == "checkpoint"} <= checkpoints
    finished = [name for what, name in told if what == "completed"]
    assert set(finished) <= completed
    assert len(finished) == len(set(finished))


@pytest.mark.timeout(600)
@pytest.mark.requirement("CLAIM-1", "CLAIM-3", "CORE-11")
def test_workers_killed_five_times_a_second_lose_nothing_and_do_nothing_twice(tmp_path: Path, url: str | None) -> None:
    names = [f"w{place}" for place in range(6)]
    count = sized(full=250, short=60) if url is None else sized(full=120, short=36)

    history, killed = drained(tmp_path / "store", url, names, count, kill_every=0.2, seconds=500)

    assert killed > 10
    assert history.takeovers > 0


@pytest.mark.full_on_postgres
@pytest.mark.timeout(600)
@pytest.mark.requirement("CLAIM-2", "SCHED-2")
def test_processes_under_one_name_share_one_task_and_take_over_from_the_dead(tmp_path: Path, url: str | None) -> None:
    names, count = ["twin"] * 4, sized(full=80, short=30) if url is None else 40

    # With a long lease none of them ends before another one has claimed.
    history, _ = drained(tmp_path / "store", url, names, count, kill_every=0.2, seconds=500, lease_seconds=600)

    assert history.most_by_agent["twin"] == 1
    assert history.resumed > 0


@pytest.mark.full
@pytest.mark.drill
@pytest.mark.requirement("CLAIM-1", "CLAIM-3", "CORE-11")
def test_hundreds_of_tasks_survive_workers_killed_five_times_a_second(tmp_path: Path, url: str | None) -> None:
    names = [f"w{place}" for place in range(8)]

    history, killed = drained(tmp_path / "store", url, names, 600, kill_every=0.2, seconds=250)

    assert killed > 20
    assert history.takeovers > 3
