"""The virtual store is the same scheduler: what it decides, a database decides too."""

from datetime import timedelta
from pathlib import Path

import pytest
from wvo_mcp.store.virtual.store import VirtualStore

from tests.support.clock import START
from tests.support.plans import Plan
from wvo_mcp.domain.lease import Caller, Policy
from wvo_mcp.domain.task import Task
from wvo_mcp.orchestration.simulation.engine import Decision, Simulation
from wvo_mcp.orchestration.simulation.scenario import PoolAgent, Scenario, VirtualClock, VirtualServers
from wvo_mcp.orchestration.simulation.tally import Outcome
from wvo_mcp.ports import Row, Store, Transaction
from wvo_mcp.store.sqlite.store import SqliteStore

pytestmark = pytest.mark.anyio

POOL = (
    PoolAgent("ann"),
    PoolAgent("bob", ("gpu",), speed=1.5),
    PoolAgent("cyd", ("db", "gpu"), "codex"),
    PoolAgent("dan", ("db",), "claude", 0.7),
    PoolAgent("eve"),
)
LOADER = Caller("loader", "loader/1", durable=True)


async def drained(
    store: Store, clock: VirtualClock, servers: VirtualServers, plan: Plan, scenario: Scenario
) -> tuple[list[Decision], Outcome]:
    await store.write(LOADER, plan.put)
    told: list[Decision] = []
    outcome = await Simulation(store, clock, servers, scenario, told=told.append).run()
    return told, outcome


@pytest.mark.sqlite
@pytest.mark.requirement("SCHED-5")
@pytest.mark.parametrize("seed", range(5))
async def test_a_plan_is_drained_by_the_same_decisions_in_memory_and_in_a_database(seed: int, tmp_path: Path) -> None:
    policy = Policy(wip_limit=4 if seed % 2 else 5, lease_seconds=600, grace_seconds=60)
    scenario = Scenario(POOL, policy, seed=seed, failure=0.2, death=0.1, away_seconds=400 * seed, keepers=True)
    plan = Plan(60, seed, START)
    clock, servers = VirtualClock(START), VirtualServers()
    real = SqliteStore(tmp_path / "state.db", clock, servers, synchronous="OFF")
    await real.open()
    try:
        expected, measured = await drained(real, clock, servers, plan, scenario)
    finally:
        await real.close()

    clock, servers = VirtualClock(START), VirtualServers()
    virtual = VirtualStore(clock, servers)
    told, outcome = await drained(virtual, clock, servers, plan, scenario)

    assert told == expected
    assert outcome == measured
    assert measured.done > 20
    assert measured.attempts_failed and measured.agents_lost and measured.leases_expired >= (seed > 0)


@pytest.mark.sqlite
async def test_rows_of_a_database_stand_in_memory_as_they_did_there(tmp_path: Path) -> None:
    clock, servers = VirtualClock(START), VirtualServers()
    real = SqliteStore(tmp_path / "state.db", clock, servers, synchronous="OFF")
    await real.open()
    try:
        await real.write(LOADER, Plan(60, 9, START).put)
        hours = Scenario(POOL, Policy(wip_limit=5), seed=9, failure=0.2, horizon=timedelta(hours=5), keepers=True)
        await Simulation(real, clock, servers, hours).run()

        async def rows(tx: Transaction) -> tuple[list[Task], list[tuple[str, str]], list[Row], list[Row]]:
            return (
                await tx.state.roadmap_tasks(),
                await tx.state.dependency_edges(),
                await tx.tasks.epics(),
                await tx.tasks.milestones(),
            )

        tasks, edges, epics, milestones = await real.read(LOADER, rows)
        counts = await real.read(LOADER, lambda tx: tx.tasks.counts())
        limits = [row["in_progress"] for row in epics]
    finally:
        await real.close()

    virtual = VirtualStore(clock, servers)
    virtual.load(tasks, edges, epics, milestones)
    kept = ("lane_id", "event_head")  # these are numbered and chained anew

    assert counts["done"] > 5 and counts["in_progress"]
    assert await virtual.read(LOADER, lambda tx: tx.tasks.counts()) == counts
    assert [row["in_progress"] for row in await virtual.read(LOADER, lambda tx: tx.tasks.epics())] == limits
    found = await virtual.read(LOADER, lambda tx: tx.state.roadmap_tasks())
    assert [task.model_dump(exclude=set(kept)) for task in found] == [t.model_dump(exclude=set(kept)) for t in tasks]
