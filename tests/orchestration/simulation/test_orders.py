"""What the orders know of a plan."""

from typing import Any

import pytest

from tests.orchestration.simulation.conftest import READER, Plans, exact, played
from wvo_mcp.domain.task import Origin, Status
from wvo_mcp.orchestration import outlook
from wvo_mcp.orchestration.outlook import Outlook
from wvo_mcp.orchestration.simulation.tally import Order, scores_of
from wvo_mcp.orchestration.tasks import lifecycle
from wvo_mcp.orchestration.tasks.editing import Draft, create
from wvo_mcp.ports import Transaction
from wvo_mcp.store.sqlite.scratch import ScratchStore

pytestmark = pytest.mark.anyio

HOURS = {points: float(points) for points in range(1, 11)}


def a_draft(task_id: str, hours: int, *on: str, parent: str | None = None, **fields: Any) -> Draft:
    return Draft(task_id, {"title": task_id, "complexity": hours, **fields}, on, parent)


async def read_plan(store: ScratchStore) -> Outlook:
    return outlook.analyzed(await outlook.read(store, READER))


@pytest.mark.requirement("SCHED-5")
async def test_the_critical_path_continues_from_a_child_to_its_parent_and_beyond(plans: Plans) -> None:
    store = await plans.of(
        a_draft("long", 9),
        a_draft("child", 2, parent="whole"),
        a_draft("whole", 3),
        a_draft("behind", 5, "whole"),
        agents=1,
    )

    work = (await read_plan(store)).work
    assert scores_of(Order.CRITICAL_PATH, work, HOURS) == {"long": 9, "child": 10, "whole": 8, "behind": 5}
    claimed, _ = await played(store, exact(1), Order.CRITICAL_PATH)
    assert claimed == ["child", "long", "whole", "behind"]


@pytest.mark.requirement("SCHED-5")
async def test_what_is_settled_makes_no_path_longer_and_what_is_blocked_does(plans: Plans) -> None:
    async def put(tx: Transaction) -> None:
        drafts = (a_draft("a", 2), a_draft("gone", 9, "a"), a_draft("blocked", 4))
        await create(tx, drafts, Origin.ROADMAP)
        await lifecycle.move(tx, await tx.tasks.get("gone"), Status.CANCELLED, "task.cancelled")
        await lifecycle.block(tx, await tx.tasks.get("blocked"), "it waits", ["a"])

    plan = await read_plan(await plans.made(put, agents=1))

    assert scores_of(Order.CRITICAL_PATH, plan.work, HOURS) == {"a": 6, "blocked": 4}


@pytest.mark.parametrize("order", Order)
async def test_equals_go_by_the_order_of_creation_and_not_by_the_alphabet(order: Order, plans: Plans) -> None:
    names = ["c", "a", "d", "b"]

    claimed, _ = await played(await plans.of(*(a_draft(name, 3) for name in names), agents=1), exact(1), order)

    assert claimed == names
