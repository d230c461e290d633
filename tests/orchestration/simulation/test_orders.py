"""What the orders know of a plan."""

from datetime import timedelta
from typing import Any

import pytest

from tests.orchestration.simulation.conftest import Plans
from tests.support.clock import START
from wvo_mcp.domain.instant import iso
from wvo_mcp.domain.lease import Caller
from wvo_mcp.domain.task import Origin, Status
from wvo_mcp.orchestration.simulation.orders import Order, plain_scores, scores_of, tails_of
from wvo_mcp.orchestration.simulation.plan import PlanRows, rows
from wvo_mcp.orchestration.tasks.creation import Draft, create
from wvo_mcp.ports import Transaction

pytestmark = pytest.mark.anyio

LOADER = Caller("loader", "loader/1", durable=True)
HOURS = {points: float(points) for points in range(1, 11)}


async def planned(plans: Plans, *drafts: Draft) -> PlanRows:
    async def put(tx: Transaction) -> None:
        await tx.tasks.put_milestone("SOON", {"due_at": iso(START + timedelta(days=7))})
        await create(tx, drafts, Origin.ROADMAP)

    store = await plans.made(put, agents=1)
    return await store.read(LOADER, rows)


def a_draft(task_id: str, hours: int, *on: str, parent: str | None = None, **fields: Any) -> Draft:
    return Draft(task_id, {"title": task_id, "complexity": hours, **fields}, on, parent)


def ordered(plan: PlanRows, order: Order) -> list[str]:
    """As the queue sorts them."""
    scores = scores_of(order, plan, HOURS, START)
    return [
        t.id for t in sorted(plan.tasks, key=lambda t: (-(t.score if scores is None else scores.get(t.id, 0)), t.seq))
    ]


@pytest.mark.requirement("SCHED-5")
async def test_the_critical_path_goes_on_from_a_child_to_its_parent_and_what_waits_for_that(plans: Plans) -> None:
    plan = await planned(
        plans,
        a_draft("long", 9),
        a_draft("child", 2, parent="whole"),
        a_draft("whole", 3),
        a_draft("behind", 5, "whole"),
    )

    assert tails_of(plan, HOURS) == {"long": 9, "child": 10, "whole": 8, "behind": 5}
    assert ordered(plan, Order.CRITICAL_PATH) == ["child", "long", "whole", "behind"]


@pytest.mark.requirement("SCHED-5")
async def test_what_is_settled_makes_no_path_longer_and_what_is_blocked_does(plans: Plans) -> None:
    plan = await planned(
        plans, a_draft("a", 2), a_draft("gone", 9, "a"), a_draft("done", 9, "a"), a_draft("blocked", 4)
    )
    settled = {"gone": Status.CANCELLED, "done": Status.DONE, "blocked": Status.BLOCKED}
    tasks = [task.model_copy(update={"status": settled.get(task.id, task.status)}) for task in plan.tasks]

    tails = tails_of(PlanRows(tasks, plan.edges, plan.epics, plan.milestones, {"blocked": ["a"]}), HOURS)

    assert tails == {"a": 6, "blocked": 4}


async def test_plain_wsjf_knows_value_urgency_and_how_many_wait(plans: Plans) -> None:
    plan = await planned(
        plans,
        a_draft("a", 2, priority="low"),
        a_draft("b", 4, "a", business_value=8),
        a_draft("c", 5, "b", milestone_id="SOON"),
    )

    assert plain_scores(plan, START) == {
        "a": pytest.approx((1 + 1.58496) / 2, abs=1e-4),
        "b": (8 + 1) / 4,
        "c": (5 + 10 / 2) / 5,
    }


@pytest.mark.parametrize("order", Order)
async def test_equals_go_by_the_order_of_creation_and_not_by_the_alphabet(order: Order, plans: Plans) -> None:
    names = ["c", "a", "d", "b"]

    assert ordered(await planned(plans, *(a_draft(name, 3) for name in names)), order) == names
