"""The prefetch queue: neither short nor stale, and matched to agents as well as it can be."""

import itertools
import random
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.bench import ANN, BOB, AnyStore, Bench, a_task
from tests.support.sessions import an_agent
from wvo_mcp.domain.lease import Caller, Policy
from wvo_mcp.errors import WvoError
from wvo_mcp.orchestration.leader.leading import Candidate
from wvo_mcp.orchestration.queue import claims, prefetch
from wvo_mcp.orchestration.queue.prefetch import HIGH, LOW, Records, look, match, next_for
from wvo_mcp.orchestration.queue.prefetching import Prefetching
from wvo_mcp.ports import Transaction
from wvo_mcp.ports.prefetch import Prefetched

pytestmark = pytest.mark.anyio

T = TypeVar("T")
ALL_OPEN = Policy(wip_limit=1_000, agent_wip_limit=1_000)
GIL = an_agent("gil", None, "gpu")
DEE = an_agent("dee", None, "db")
TEAM = [ANN, BOB, GIL, DEE]


@st.composite
def markets(draw: st.DrawFn) -> tuple[list[list[int]], list[bool]]:
    agents = draw(st.integers(1, 5))
    options = st.lists(st.integers(0, agents - 1), unique=True, max_size=agents)
    return draw(st.lists(options, max_size=6)), draw(st.lists(st.booleans(), min_size=agents, max_size=agents))


def most_pairs(options: list[list[int]]) -> int:
    """By trying everything."""
    ways = itertools.product(*([None, *mine] for mine in options))
    pairs = ([agent for agent in way if agent is not None] for way in ways)
    return max((len(chosen) for chosen in pairs if len(set(chosen)) == len(chosen)), default=0)


@pytest.mark.requirement("SCHED-4")
@given(markets())
def test_a_match_is_as_large_as_any_and_gives_idle_agents_work_first(
    market: tuple[list[list[int]], list[bool]],
) -> None:
    options, idle = market

    chosen = match(options, idle)

    given_to = [agent for agent in chosen if agent is not None]
    assert len(set(given_to)) == len(given_to) == most_pairs(options)
    assert all(agent is None or agent in mine for agent, mine in zip(chosen, options, strict=True))
    idle_only = most_pairs([[agent for agent in mine if idle[agent]] for mine in options])
    assert sum(idle[agent] for agent in given_to) >= idle_only


async def read_entries(bench: Bench) -> list[Prefetched]:
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
@pytest.mark.parametrize("seed", [1, 2])
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
    records, sizes = Records(), set[int]()

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
        await bench.write(lambda tx: look(tx, bench.policy, records))

        entries = [entry.task_id for entry in await read_entries(bench)]
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
        await bench.write(lambda tx: look(tx, bench.policy, Records()))
        depth.append(len(await read_entries(bench)))
        await bench.claim(ANN)

    assert depth == [20, 19, 18, 17, 16, 15, 14, 13, 12, 11, 10, 20]
    await bench.create(a_task("BEST", priority="critical", complexity=1))
    await bench.write(lambda tx: look(tx, bench.policy, Records()))
    entries = await read_entries(bench)
    assert entries[0].task_id == "BEST"
    assert len(entries) == HIGH


@pytest.mark.requirement("SCHED-4")
async def test_what_only_one_agent_can_do_is_kept_for_it(bench: Bench) -> None:
    bench.limits(wip_limit=100)
    await bench.create(a_task("A1"), a_task("A2"), a_task("D", capabilities=["db"]), a_task("N", capabilities=["no"]))
    await bench.create(a_task("C", priority="critical"), a_task("G", priority="low", capabilities=["gpu"]))
    for caller in (ANN, GIL, DEE):
        await bench.write(lambda tx, caller=caller: tx.sessions.touch_agent(caller.agent_id), caller)
    await bench.write(lambda tx: look(tx, bench.policy, Records()))

    kept = {entry.task_id: (entry.agent_id, entry.reason) for entry in await read_entries(bench)}

    assert kept["C"] == ("ann", prefetch.CAPABLE)
    assert kept["G"] == ("gil", prefetch.ONLY)
    assert kept["D"] == ("dee", prefetch.ONLY)
    assert "N" not in kept  # nobody could take it
    assert await bench.read(lambda tx: next_for(tx, "gil")) == "G"
    assert (await bench.claim(GIL))["task"]["id"] == "C"  # who names no task gets the best score: the match is advice


def test_who_fails_at_large_tasks_is_kept_for_small_ones() -> None:
    records = Records()
    for _ in range(3):
        records.note("ann", 9, done=False, seconds=60)
        records.note("ann", 2, done=True, seconds=60)

    assert not records.suits("ann", 10)
    assert records.suits("ann", 1)
    assert records.suits("bob", 10)
    assert (records.pace("ann", 3), records.pace("ann", 9)) == (60, None)


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
async def test_the_chore_writes_only_when_something_changed_and_status_shows_queue_and_use(bench: Bench) -> None:
    bench.limits(wip_limit=4)
    await bench.create(*(a_task(f"T{place}") for place in range(5)), a_task("G", capabilities=["gpu"]))
    await bench.claim(ANN)
    await bench.write(lambda tx: tx.sessions.touch_agent("gil"), GIL)
    store = Counted(bench.store)
    candidate = Candidate(store, lambda: BOB, bench.clock)
    chore = Prefetching(bench.policy).chore()

    async def after(seconds: float) -> int:
        """How often the chore wrote when it was done after so many seconds."""
        bench.clock.advance(seconds)
        post = await candidate.seek()
        assert post is not None
        before = store.writes
        await chore.run(post)
        return store.writes - before

    assert await after(0) == 2
    assert [await after(10), await after(40), await after(40)] == [0, 0, 1]  # how busy they are is told once a minute
    bench.clock.advance(810)
    await bench.complete("T0")
    assert await after(900) > 0
    pool = (await bench.call("status"))["prefetch"]
    assert [entry["task_id"] for entry in pool["queue"]] == ["T1", "T2", "T3", "T4", "G"]
    assert {entry["agent_id"]: entry["task_id"] for entry in pool["queue"]}["gil"] == "G"
    assert pool["utilisation"]["agents"] == {"ann": 0.5}
    assert pool["utilisation"]["pool"] == 0.5
    assert pool["wip_utilisation"] == 0.0
    assert pool["oldest_seconds"] == 1_800.0


async def test_status_shows_nothing_that_was_done_since_the_last_look_and_nobody_who_has_left(bench: Bench) -> None:
    await bench.create(a_task("A"), a_task("B"))
    await bench.write(lambda tx: tx.sessions.touch_agent(ANN.agent_id))
    kept = [Prefetched("A", ANN.agent_id, "free"), Prefetched("B", "gone", "free")]
    await bench.write(lambda tx: tx.prefetch.replace(kept))

    before = (await bench.call("status", BOB))["prefetch"]
    await bench.done("A")
    after = (await bench.call("status", BOB))["prefetch"]

    assert [(one["task_id"], one["agent_id"]) for one in before["queue"]] == [("A", ANN.agent_id), ("B", None)]
    assert [one["task_id"] for one in after["queue"]] == ["B"]
