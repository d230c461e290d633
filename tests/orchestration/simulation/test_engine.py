"""Simulations whose outcome can be told beforehand, and what holds for all of them."""

import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from tests.support.clock import START
from tests.support.dag import random_tasks
from tests.support.plans import Plan
from wvo_mcp.domain.durations import Durations
from wvo_mcp.domain.lease import Caller, Policy
from wvo_mcp.domain.task import Origin, Task
from wvo_mcp.orchestration.simulation.engine import Decision, Simulation
from wvo_mcp.orchestration.simulation.orders import Order, place_of
from wvo_mcp.orchestration.simulation.plan import PlanRows, rows
from wvo_mcp.orchestration.simulation.scenario import PoolAgent, Scenario, VirtualClock, VirtualServers
from wvo_mcp.orchestration.simulation.tally import Outcome
from wvo_mcp.orchestration.tasks.creation import Draft, create
from wvo_mcp.store.virtual.store import VirtualStore

pytestmark = pytest.mark.anyio

LOADER = Caller("loader", "loader/1", durable=True)
AN_HOUR_A_POINT = Durations(values={points: [points * 3_600.0] for points in range(1, 11)})


def a_draft(task_id: str, hours: int, *on: str, **fields: Any) -> Draft:
    return Draft(task_id, {"title": task_id, "complexity": hours, **fields}, on)


def crew(count: int) -> tuple[PoolAgent, ...]:
    return tuple(PoolAgent(f"a{number}") for number in range(count))


def exact(agents: int, **fields: Any) -> Scenario:
    """Everything takes as long as it says, and nothing goes wrong."""
    sure: dict[str, Any] = {"durations": AN_HOUR_A_POINT, "failure": 0.0, "death": 0.0}
    return Scenario(crew(agents), Policy(wip_limit=agents), **{**sure, **fields})


async def put(*drafts: Draft) -> PlanRows:
    store = VirtualStore(VirtualClock(START), VirtualServers())
    await store.write(LOADER, lambda tx: create(tx, drafts, Origin.ROADMAP))
    return await store.read(LOADER, rows)


async def played(
    plan: PlanRows, scenario: Scenario, order: Order = Order.WSJF, *, patient: bool = False, spared: bool = False
) -> tuple[list[Decision], Outcome]:
    clock, servers = VirtualClock(START), VirtualServers()
    medians = {points: scenario.durations.expected(points) for points in range(1, 11)}
    place = place_of(order, plan, medians, START)
    store = VirtualStore(clock, servers, place, kept=True, agents=scenario.policy.wip_limit)
    store.load(plan.tasks, plan.edges, plan.epics, plan.milestones, plan.waits)
    told: list[Decision] = []
    simulation = Simulation(store, clock, servers, scenario, order=order.value, told=None if spared else told.append)
    if patient:
        simulation._refused = Forgetful()
    return told, await simulation.run()


class Forgetful(dict[tuple[str, ...], Any]):
    """Knows no refusal from before, but for the moment in which it was given."""

    def get(self, key: Any, default: Any = None) -> Any:
        return default


def claimed(told: Sequence[Decision]) -> list[str]:
    return [decision.task_id for decision in told if decision.task_id is not None]


@pytest.mark.requirement("SCHED-5")
async def test_each_policy_is_nothing_but_another_order_of_the_queue() -> None:
    plan = await put(
        a_draft("LONG1", 4, priority="low"),
        a_draft("LONG2", 4, "LONG1", priority="low"),
        a_draft("A", 2, priority="low"),
        a_draft("B", 2, priority="critical"),
        a_draft("C", 2, priority="high"),
    )

    told = {order: await played(plan, exact(2), order) for order in Order}

    assert claimed(told[Order.WSJF][0])[:2] == ["B", "C"]
    assert claimed(told[Order.FIFO][0]) == ["LONG1", "A", "B", "LONG2", "C"]
    assert claimed(told[Order.CRITICAL_PATH][0])[0] == "LONG1"
    assert told[Order.CRITICAL_PATH][1].makespan_hours == 8
    assert told[Order.WSJF][1].makespan_hours == 10
    assert told[Order.WSJF][1].cost_of_delay < told[Order.FIFO][1].cost_of_delay


@pytest.mark.requirement("SCHED-5")
async def test_the_figures_are_those_that_one_counts_by_hand() -> None:
    plan = await put(a_draft("A", 4, priority="critical"), a_draft("B", 2, priority="low"), a_draft("C", 2, "A"))

    _, outcome = await played(plan, exact(2))

    assert outcome.makespan_hours == 6
    assert outcome.utilisation == round(8 / 12, 4)
    assert outcome.waiting_hours == {"no_ready_tasks": 4.0}
    assert outcome.throughput_per_hour == 0.5
    assert outcome.cost_of_delay == round((15 * 4 + 1 * 2 + 5 * 6) / 24, 2)
    assert [(point.hours, point.remaining) for point in outcome.curve if point.remaining == 0] == [(6.0, 0)]
    at_three = min(outcome.curve, key=lambda point: abs(point.hours - 3))
    assert (at_three.remaining, at_three.busy) == (2, 1.0)


@pytest.mark.requirement("SCHED-5")
async def test_a_seed_gives_the_same_outcome_again_and_another_seed_another() -> None:
    store = VirtualStore(VirtualClock(START), VirtualServers())
    await store.write(LOADER, Plan(80, 3, START).put)
    plan = await store.read(LOADER, rows)
    scenario = Scenario(crew(5), Policy(wip_limit=4), failure=0.2, death=0.1)

    first, again, other = [await played(plan, replace(scenario, seed=seed)) for seed in (1, 1, 2)]

    assert first == again
    assert first[1].makespan_hours != other[1].makespan_hours
    assert first[1].milestones == again[1].milestones and len(first[1].milestones) == 3


async def test_the_shares_of_an_agents_time_make_a_whole() -> None:
    drafts = [Draft(t.pop("id"), t, t.pop("depends_on")) for t in random_tasks(120, seed=2, epics=["E"])]
    _, outcome = await played(await put(*drafts), Scenario(crew(7), Policy(wip_limit=5), failure=0.1, death=0.2))

    assert outcome.utilisation + outcome.waiting_share + outcome.away == pytest.approx(1, abs=0.001)
    assert set(outcome.waiting_hours) <= {"no_ready_tasks", "wip_limit"}
    assert outcome.leases_expired == outcome.agents_lost > 20
    assert outcome.curve[-1].remaining == outcome.tasks - outcome.done


async def test_who_asks_again_while_nothing_happened_is_told_the_same() -> None:
    """The engine spares itself such askings; with every one of them made, all decisions are the same."""
    store = VirtualStore(VirtualClock(START), VirtualServers())
    await store.write(LOADER, Plan(50, 5, START).put)
    plan = await store.read(LOADER, rows)
    scenario = Scenario(
        (*crew(3), PoolAgent("g", ("gpu",)), PoolAgent("d", ("db", "gpu"))), Policy(wip_limit=4), failure=0.2, death=0.1
    )

    assert await played(plan, scenario, patient=True) == await played(plan, scenario)


@pytest.mark.parametrize("seed", range(12))
async def test_askings_that_are_reckoned_come_to_the_same_as_askings_that_happen(seed: int) -> None:
    store = VirtualStore(VirtualClock(START), VirtualServers())
    await store.write(LOADER, Plan(60, seed, START).put)
    plan = await store.read(LOADER, rows)
    agents = (*crew(6), PoolAgent("g", ("gpu",)), PoolAgent("d", ("db", "gpu")))
    scenario = Scenario(agents, Policy(wip_limit=4), seed=seed, failure=0.2, death=0.1)

    told, each = await played(plan, scenario)
    _, reckoned = await played(plan, scenario, spared=True)

    # When it is plain that nothing comes any more, nobody asks once more.
    assert 0 <= each.refusals - reckoned.refusals <= len(agents)
    assert replace(reckoned, refusals=each.refusals) == each
    assert each.refusals == sum(decision.task_id is None for decision in told) > 50


async def test_a_thousand_agents_that_wait_for_one_cost_no_more_than_one() -> None:
    drafts = [a_draft(f"T{n}", 10, *([f"T{n - 1}"] if n else [])) for n in range(100)]
    plan = await put(*drafts)

    began = time.thread_time()
    _, alone = await played(plan, exact(1), spared=True)
    floor = time.thread_time() - began
    _, many = await played(plan, exact(1_000), spared=True)

    assert many.makespan_hours == pytest.approx(alone.makespan_hours, abs=2)
    assert many.refusals > 50_000_000
    assert time.thread_time() - began - floor < 50 * floor + 20  # one by one, fifty million would take minutes


async def test_it_ends_when_nothing_can_be_done_any_more_and_says_what_is_left() -> None:
    plan = await put(
        a_draft("FAILS", 1, max_attempts=1),
        a_draft("BEHIND", 1, "FAILS"),
        a_draft("GPU", 1, capabilities=["gpu"]),
        a_draft("PERSON", 1, requires_approval=True),
        a_draft("LATER", 1, not_before=START + timedelta(days=3)),
    )

    _, outcome = await played(plan, exact(2, failure=1.0))

    assert outcome.left == {"dependencies": 1, "capabilities": 1, "approval": 1}
    assert outcome.failed == 2  # the one of a single attempt, and the later one after three
    assert outcome.makespan_hours > 72


@pytest.mark.requirement("SCHED-4")
async def test_a_circle_made_by_hand_is_left_whatever_the_order() -> None:
    plan = await put(a_draft("a", 1), a_draft("b", 1, "a"), a_draft("free", 1))
    plan = replace(plan, tasks=[held_up(task) for task in plan.tasks], edges=[*plan.edges, ("a", "b")])

    for order in Order:
        _, outcome = await played(plan, exact(1), order)
        assert (outcome.done, outcome.left) == (1, {"dependencies": 2})


def held_up(task: Task) -> Task:
    return task.model_copy(update={"unmet_deps": 1}) if task.id == "a" else task
