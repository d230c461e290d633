"""The prefetch queue: neither short nor stale."""

import random
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest

from tests.support.bench import ANN, BOB, AnyStore, Bench, a_task
from tests.support.sessions import an_agent
from wvo_mcp.domain.lease import Caller, Policy
from wvo_mcp.errors import WvoError
from wvo_mcp.orchestration.leader import Candidate
from wvo_mcp.orchestration.queue import claims
from wvo_mcp.orchestration.queue.planning import HIGH, LOW, Prefetching, refill
from wvo_mcp.ports import Transaction
from wvo_mcp.store.records.queue import Queue
from wvo_mcp.store.records.tasks import Tasks

pytestmark = pytest.mark.anyio

T = TypeVar("T")
ALL_OPEN = Policy(wip_limit=1_000, agent_wip_limit=1_000)
GIL = an_agent("gil", None, "gpu")
DEE = an_agent("dee", None, "db")
TEAM = [ANN, BOB, GIL, DEE]


async def read_entries(bench: Bench) -> list[str]:
    return await bench.read(lambda tx: tx.prefetch.entries())


async def may_be_claimed(bench: Bench, task_id: str) -> bool:
    """By somebody of the team, as the scheduler judges when it is asked."""
    for caller in TEAM:

        async def attempt(tx: Transaction, caller: Caller = caller) -> bool:
            await claims.claim(tx, ALL_OPEN, caller.agent_id, task_id, None)
            return True

        try:
            if await bench.store.write(caller, attempt, keep=False):
                return True
        except WvoError:
            continue
    return False


@pytest.mark.requirement("SCHED-4")
@pytest.mark.parametrize("seed", [1, pytest.param(2, marks=pytest.mark.full)])
async def test_the_queue_is_never_short_nor_long_nor_stale_after_a_look(bench: Bench, seed: int) -> None:
    chance = random.Random(seed)
    bench.limits(wip_limit=6, agent_wip_limit=2)
    scopes, able = ([], [], [], ["src/**"], ["src/a.py"]), ([], [], [], ["gpu"], ["db"], ["nobody has it"])
    await bench.create(
        *(
            a_task(
                f"T{place}",
                priority=chance.choice(["critical", "high", "medium", "low"]),
                complexity=chance.randint(1, 10),
                depends_on=[
                    f"T{other}" for other in chance.sample(range(place), min(place, chance.choice((0, 0, 0, 1))))
                ],
                files=chance.choice(scopes),
                capabilities=chance.choice(able),
                **({"epic_id": "E1"} if chance.random() < 0.15 else {}),
            )
            for place in range(90)
        )
    )
    await bench.force("UPDATE epics SET wip_limit = 1")
    for caller in TEAM:
        await bench.claim(caller)
    sizes = set[int]()

    for step in range(40 if isinstance(bench.source, Path) else 12):
        caller = chance.choice(TEAM)
        held = await bench.read(lambda tx, caller=caller: tx.queue.held_by_agent(caller.agent_id))
        if held and chance.random() < 0.7:
            kind = chance.choice(["complete_task", "complete_task", "fail_task", "release_task"])
            text = {"complete_task": {"summary": "x"}, "fail_task": {"error": "x"}, "release_task": {}}[kind]
            await bench.call(kind, caller, task_id=held[0].id, **text)
        else:
            await bench.claim(caller)
        bench.clock.advance(chance.randint(0, 40))
        await bench.write(lambda tx: refill(tx, bench.policy))

        entries = await read_entries(bench)
        sizes.add(len(entries))
        assert len(set(entries)) == len(entries) <= HIGH
        if step % 4 == 0:
            pending = await bench.read(lambda tx: tx.tasks.page({"status": "pending"}, 0, 100))
            claimable = {task.id for task in pending if await may_be_claimed(bench, task.id)}
            assert set(entries) <= claimable
            assert len(entries) >= min(LOW, len(claimable))
    assert HIGH in sizes and len(sizes) > (
        4 if isinstance(bench.source, Path) else 2
    )  # it was filled, and ran down in between


@pytest.mark.requirement("SCHED-4")
async def test_the_queue_is_filled_only_when_it_is_low_and_the_best_task_is_always_in_it(bench: Bench) -> None:
    bench.limits(wip_limit=100, agent_wip_limit=100)
    await bench.create(*(a_task(f"T{place:02}", complexity=10) for place in range(40)))
    depth: list[int] = []
    for _ in range(12):
        await bench.write(lambda tx: refill(tx, bench.policy))
        depth.append(len(await read_entries(bench)))
        await bench.claim(ANN)

    assert depth == [20, 19, 18, 17, 16, 15, 14, 13, 12, 11, 10, 20]
    await bench.create(a_task("BEST", priority="critical", complexity=1))
    await bench.write(lambda tx: refill(tx, bench.policy))
    entries = await read_entries(bench)
    assert entries[0] == "BEST"
    assert len(entries) == HIGH


async def test_a_queue_that_nobody_can_do_is_read_in_few_steps(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.limits(wip_limit=100, agent_wip_limit=100)
    nobody = (a_task(f"N{place:02}", priority="critical", capabilities=["nobody has it"]) for place in range(120))
    await bench.create(*nobody, *(a_task(f"T{place}", epic_id="E1") for place in range(30)))
    reads = {"queue": 0, "epic": 0}
    ready, epic = Queue.ready, Tasks.epic

    async def counted_ready(self: Queue, *given: Any) -> Any:
        reads["queue"] += 1
        return await ready(self, *given)

    async def counted_epic(self: Tasks, epic_id: str) -> Any:
        reads["epic"] += 1
        return await epic(self, epic_id)

    monkeypatch.setattr(Queue, "ready", counted_ready)
    monkeypatch.setattr(Tasks, "epic", counted_epic)
    await bench.write(lambda tx: refill(tx, bench.policy))

    assert len(await read_entries(bench)) == HIGH
    assert reads == {"queue": 3, "epic": HIGH}, "120 tasks of nobody and 20 of somebody, 50 at a time"
    await bench.write(lambda tx: refill(tx, bench.policy))
    assert reads == {"queue": 6, "epic": 2 * HIGH + 1}, "those at hand are judged again, and the best of all is sought"


class Counted:
    """A store that counts its writes."""

    def __init__(self, store: AnyStore) -> None:
        self._store = store
        self.writes = 0

    async def read(self, caller: Caller, work: Callable[[Transaction], Awaitable[T]]) -> T:
        return await self._store.read(caller, work)

    async def write(self, caller: Caller, work: Callable[[Transaction], Awaitable[T]], *, keep: bool = True) -> T:
        self.writes += 1
        return await self._store.write(caller, work, keep=keep)


@pytest.mark.requirement("SCHED-4")
async def test_the_leader_writes_the_queue_only_when_it_changed(
    bench: Bench,
) -> None:
    bench.limits(wip_limit=4)
    await bench.create(*(a_task(f"T{place}") for place in range(5)), a_task("G", capabilities=["gpu"]))
    await bench.claim(ANN)
    await bench.write(lambda tx: tx.sessions.touch_agent("gil"), GIL)
    store = Counted(bench.store)
    candidate = Candidate(store, lambda: BOB, bench.clock)
    job = Prefetching(bench.policy).job()

    async def after(seconds: float) -> int:
        """How often the job wrote when it was done after so many seconds."""
        bench.clock.advance(seconds)
        term = await candidate.seek()
        assert term is not None
        before = store.writes
        await job.run(term)
        return store.writes - before

    assert [await after(0), await after(10), await after(40)] == [1, 0, 0]
    await bench.complete("T0")
    await bench.create(a_task("T5"))
    assert await after(50) == 1
    await bench.done("T1")
    pool = (await bench.call("status"))["prefetch"]
    assert [entry["task_id"] for entry in pool["queue"]] == ["T2", "T3", "T4", "G", "T5"]
    assert pool["wip_utilisation"] == 0.0
    assert pool["oldest_seconds"] == 100.0
