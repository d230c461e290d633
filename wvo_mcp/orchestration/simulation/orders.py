"""Orders of the ready queue to compare: scores for the whole plan that stay as they are."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from math import log2

from wvo_mcp.domain.dependency import in_order
from wvo_mcp.domain.instant import instant
from wvo_mcp.domain.wsjf import PRIORITY_VALUE, time_criticality
from wvo_mcp.orchestration.simulation.plan import PlanRows


class Order(StrEnum):
    WSJF = "wsjf"
    """The product's: by score (contract, section 4)."""
    FIFO = "fifo"
    CRITICAL_PATH = "critical-path"
    PLAIN_WSJF = "plain-wsjf"
    """Weighted shortest job first as it is usually reckoned: each task for itself, with a value for how many wait for it."""


_MOST_COUNTED = 1023
"""log2(1 + 1023) = 10: counting stops here."""


def scores_of(order: Order, plan: PlanRows, medians: Mapping[int, float], start: datetime) -> dict[str, float] | None:
    """By task, the highest first and equals by age; None where the product keeps them. `medians`: seconds by complexity."""
    match order:
        case Order.WSJF:
            return None
        case Order.FIFO:
            return {}
        case Order.CRITICAL_PATH:
            return tails_of(plan, medians)
        case Order.PLAIN_WSJF:
            return plain_scores(plan, start)


def tails_of(plan: PlanRows, medians: Mapping[int, float]) -> dict[str, float]:
    """Seconds from the beginning of each open task to the end of the longest chain that begins with it. What waits for
    itself, which only a hand in the database can make, counts for nothing."""
    behind = plan.dependents()
    own = {task.id: medians[task.complexity] for task in plan.tasks}
    tails: dict[str, float] = {}
    for task_id in in_order(behind):  # each after those that wait for it
        tails[task_id] = own[task_id] + max((tails.get(other, 0.0) for other in behind[task_id]), default=0.0)
    return tails


def plain_scores(plan: PlanRows, start: datetime) -> dict[str, float]:
    """(business value + time criticality at `start` + log2(1 + tasks that wait for it, directly or not)) / complexity."""
    behind = plan.dependents()
    due = {row["id"]: row["due_at"] and instant(row["due_at"]) for row in plan.milestones}
    return {
        task.id: (
            (PRIORITY_VALUE[task.priority] if task.business_value is None else task.business_value)
            + time_criticality(due.get(task.milestone_id), start)
            + log2(1 + _reached(task.id, behind))
        )
        / task.complexity
        for task in plan.tasks
        if task.id in behind
    }


def _reached(start: str, behind: Mapping[str, Sequence[str]]) -> int:
    seen: set[str] = {start}
    todo = [start]
    while todo and len(seen) <= _MOST_COUNTED:
        fresh = [other for other in behind[todo.pop()] if other not in seen]
        seen.update(fresh)
        todo += fresh
    return min(_MOST_COUNTED, len(seen) - 1)
