"""Simulations whose outcome can be told beforehand, and what holds for all of them."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from tests.orchestration.simulation.conftest import READER, Plans, crew, exact, played
from tests.support.clock import START
from tests.support.dag import random_tasks
from tests.support.plans import Plan
from wvo_mcp.domain.lease import Policy
from wvo_mcp.domain.task import Status
from wvo_mcp.faces.cli.simulate import simulated
from wvo_mcp.orchestration.simulation.scenario import PoolAgent, Scenario, load, rows
from wvo_mcp.orchestration.simulation.tally import Order
from wvo_mcp.orchestration.tasks import lifecycle
from wvo_mcp.orchestration.tasks.editing import Draft
from wvo_mcp.ports import Transaction

pytestmark = pytest.mark.anyio


def a_draft(task_id: str, hours: int, *on: str, **fields: Any) -> Draft:
    return Draft(task_id, {"title": task_id, "complexity": hours, **fields}, on)


def random_drafts(count: int, seed: int) -> list[Draft]:
    return [Draft(t.pop("id"), t, t.pop("depends_on")) for t in random_tasks(count, seed=seed, epics=["E"])]


@pytest.mark.requirement("SCHED-5")
async def test_each_policy_is_nothing_but_another_order_of_the_queue(plans: Plans) -> None:
    store = await plans.of(
        a_draft("LONG1", 4, priority="low"),
        a_draft("LONG2", 4, "LONG1", priority="low"),
        a_draft("A", 2, priority="low"),
        a_draft("B", 2, priority="critical"),
        a_draft("C", 2, priority="high"),
        agents=2,
    )

    found = {order: await played(store, exact(2), order) for order in Order}

    assert found[Order.WSJF][0][:2] == ["B", "C"]
    assert found[Order.FIFO][0] == ["LONG1", "A", "B", "LONG2", "C"]
    assert found[Order.CRITICAL_PATH][0][0] == "LONG1"
    assert found[Order.CRITICAL_PATH][1].makespan_hours == 8
    assert found[Order.WSJF][1].makespan_hours == 10
    assert found[Order.WSJF][1].cost_of_delay < found[Order.FIFO][1].cost_of_delay


@pytest.mark.requirement("SCHED-5")
async def test_the_figures_are_those_that_one_counts_by_hand(plans: Plans) -> None:
    store = await plans.of(
        a_draft("A", 4, priority="critical"), a_draft("B", 2, priority="low"), a_draft("C", 2, "A"), agents=2
    )

    _, outcome = await played(store, exact(2))

    assert outcome.makespan_hours == 6
    assert outcome.utilisation == round(8 / 12, 4)
    assert outcome.waiting_hours == {"no_ready_tasks": 4.0}
    assert outcome.throughput_per_hour == 0.5
    assert outcome.cost_of_delay == round((15 * 4 + 1 * 2 + 5 * 6) / 24, 2)
    assert [(point.hours, point.remaining) for point in outcome.curve if point.remaining == 0] == [(6.0, 0)]
    at_three = min(outcome.curve, key=lambda point: abs(point.hours - 3))
    assert (at_three.remaining, at_three.busy) == (2, 1)


@pytest.mark.requirement("SCHED-5")
async def test_a_seed_gives_the_same_outcome_again_and_another_seed_another(plans: Plans) -> None:
    store = await plans.made(Plan(60, 3, START).put, agents=4)
    before = await store.read(READER, rows)
    scenario = Scenario(crew(5), Policy(wip_limit=4), failure=0.2, death=0.1)

    first, again, other = [await played(store, replace(scenario, seed=seed)) for seed in (1, 1, 2)]

    assert first == again
    assert first[1].makespan_hours != other[1].makespan_hours
    assert first[1].milestones == again[1].milestones and len(first[1].milestones) == 3
    assert await store.read(READER, rows) == before


async def test_the_shares_of_an_agents_time_make_a_whole(plans: Plans) -> None:
    store = await plans.of(*random_drafts(80, 2), agents=5)
    _, outcome = await played(store, Scenario(crew(7), Policy(wip_limit=5), failure=0.1, death=0.2))

    assert outcome.utilisation + outcome.waiting_share + outcome.away == pytest.approx(1, abs=0.001)
    assert set(outcome.waiting_hours) <= {"no_ready_tasks", "wip_limit"}
    assert outcome.leases_expired == outcome.agents_lost > 10
    assert outcome.curve[-1].remaining == outcome.tasks - outcome.done


@pytest.mark.parametrize("seed", range(3))
async def test_with_limits_files_capabilities_and_deaths_no_doable_task_is_left(seed: int, plans: Plans) -> None:
    store = await plans.made(Plan(60, seed, START).put, agents=4)
    agents = (*crew(3), PoolAgent("g", ("gpu",)), PoolAgent("d", ("db", "gpu"), speed=1.5))

    claimed, outcome = await played(
        store, Scenario(agents, Policy(wip_limit=4), seed=seed, failure=0.2, death=0.1, away_seconds=400.0 * seed)
    )

    assert set(outcome.left) <= {"dependencies", "approval", "children"}
    assert outcome.done + outcome.failed + sum(outcome.left.values()) == outcome.tasks == 60
    assert len(claimed) == outcome.claims == outcome.done + outcome.attempts_failed + outcome.agents_lost
    assert outcome.done > 20 and outcome.attempts_failed and outcome.agents_lost


async def test_an_agent_that_comes_back_goes_on_with_its_own_task(plans: Plans) -> None:
    """It is back before the grace is over, and nobody else may have the task until then."""
    store = await plans.of(a_draft("A", 5), agents=2)
    scenario = replace(exact(2, death=0.9, away_seconds=1.0, seed=3), policy=Policy(wip_limit=2, grace_seconds=3_600))

    claimed, outcome = await played(store, scenario)

    assert len(claimed) > 1 and outcome.agents_lost == len(claimed) - 1
    assert outcome.leases_expired == 0 and outcome.done == 1


async def test_it_ends_when_nothing_can_be_done_any_more_and_says_what_is_left(plans: Plans) -> None:
    store = await plans.of(
        a_draft("FAILS", 1, max_attempts=1),
        a_draft("BEHIND", 1, "FAILS"),
        a_draft("GPU", 1, capabilities=["gpu"]),
        a_draft("PERSON", 1, requires_approval=True),
        a_draft("LATER", 1, not_before=START + timedelta(days=3)),
        agents=2,
    )

    _, outcome = await played(store, exact(2, failure=1.0))

    assert outcome.left == {"dependencies": 1, "capabilities": 1, "approval": 1}
    assert outcome.failed == 2  # the one of a single attempt, and the later one after three
    assert outcome.makespan_hours > 72


@pytest.mark.requirement("SCHED-5")
async def test_the_plan_of_a_store_is_taken_over_as_far_as_it_is_open(plans: Plans) -> None:
    async def put(tx: Transaction) -> None:
        await Plan(12, 1, START).put(tx)
        moves: Sequence[tuple[str, Status]] = (
            ("T0", Status.DONE), ("T1", Status.CANCELLED), ("T2", Status.FAILED), ("T3", Status.IN_PROGRESS)
        )  # fmt: skip
        for task_id, to in moves:
            begun = await tx.tasks.change(
                await tx.tasks.get(task_id), "task.claimed", {"status": Status.IN_PROGRESS, "attempts": 2}, {}
            )
            if to is not Status.IN_PROGRESS:
                await lifecycle.move(tx, begun, to, "task.moved")
        await lifecycle.block(tx, await tx.tasks.get("T4"), "it waits", ["T5"])

    plan = await (await plans.made(put, agents=4)).read(READER, rows)
    copy = await (await plans.made(lambda tx: load(tx, plan), agents=4)).read(READER, rows)

    was = {task.id: task for task in plan.tasks}
    assert [task.id for task in copy.tasks] == [task_id for task_id in was if task_id != "T0"]
    for task in copy.tasks:
        old = was[task.id]
        expected = Status.PENDING if task.id == "T3" else old.status
        assert (task.status, task.attempts, task.unmet_deps) == (expected, old.attempts, old.unmet_deps)
        assert (task.gates, task.files, task.not_before) == (old.gates, old.files, old.not_before)
    assert copy.waits == plan.waits == {"T4": ["T5"]}
    assert sorted(copy.edges) == sorted(edge for edge in plan.edges if "T0" not in edge)
    assert [row["wip_limit"] for row in copy.epics] == [row["wip_limit"] for row in plan.epics]
    assert [row["due_at"] for row in copy.milestones] == [row["due_at"] for row in plan.milestones]


async def test_a_simulation_leaves_the_store_as_it_was(plans: Plans) -> None:
    store = await plans.of(*random_drafts(20, 4), agents=3)
    events = await store.read(READER, lambda tx: tx.events.last_seq())

    await simulated(store, Scenario(crew(3), Policy(wip_limit=3)), Order.FIFO, START)

    assert await store.read(READER, lambda tx: tx.events.last_seq()) == events
