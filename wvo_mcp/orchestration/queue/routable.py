"""The best task for which there are means, when there are none for the best of all."""

from collections.abc import Awaitable, Callable, Collection

from wvo_mcp.domain.providers.routing import RouteDecision
from wvo_mcp.domain.task import Task
from wvo_mcp.orchestration.routing.router import Router
from wvo_mcp.ports import Row, Transaction

LOOK_AT, _STEP = 2_500, 500
"""So many of the best tasks are looked at: a claim stays short in a queue of any length."""


async def best_routable(
    tx: Transaction,
    router: Router,
    admit: Callable[[Row], Awaitable[bool]],
    epics: Collection[str] | None,
) -> tuple[Task, RouteDecision | None] | None:
    """With its route. `admit` tells of a lane whether its tasks may be claimed."""
    lanes: dict[int, bool] = {}
    cursor = None
    for _ in range(0, LOOK_AT, _STEP):
        step = await tx.queue.outlines(epics, _STEP, cursor)
        for one in step:
            if one.gates or not await router.may(one):
                continue
            lane = one.lane["id"]
            if lane not in lanes:
                lanes[lane] = await admit(one.lane)
            if not lanes[lane]:
                continue
            task = await tx.tasks.get(one.id)
            decision = await router.decide(task)
            if decision is None or not decision.withheld:
                return task, decision
        if len(step) < _STEP:
            return None
        cursor = step[-1].cursor
    return None
