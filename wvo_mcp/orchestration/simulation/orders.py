"""Orders of the ready queue to compare: scores for the whole plan that stay as they are."""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from math import log2

from wvo_mcp.domain.instant import instant
from wvo_mcp.domain.workload import Workload, critical_path
from wvo_mcp.domain.wsjf import time_criticality
from wvo_mcp.orchestration.ahead.outlook import Outlook


class Order(StrEnum):
    WSJF = "wsjf"
    """The product's: by score (contract, section 4)."""
    FIFO = "fifo"
    CRITICAL_PATH = "critical-path"
    PLAIN_WSJF = "plain-wsjf"
    """Weighted shortest job first as it is usually reckoned: each task for itself, with a value for how many wait for it."""


_MOST_COUNTED = 1023
"""log2(1 + 1023) = 10: counting stops here."""


def scores_of(order: Order, plan: Outlook, medians: Mapping[int, float]) -> dict[str, float] | None:
    """By task, the highest first and equals by age; None where the product keeps them. `medians`: seconds by complexity."""
    match order:
        case Order.WSJF:
            return None
        case Order.FIFO:
            return {}
        case Order.CRITICAL_PATH:
            return tails_of(plan.work, medians)
        case Order.PLAIN_WSJF:
            return plain_scores(plan)


def tails_of(work: Workload, medians: Mapping[int, float]) -> dict[str, float]:
    """Seconds from the beginning of each open task to the end of the longest chain that begins with it. Raises
    DependencyCycle."""
    chain = critical_path(work, [medians[task.complexity] for task in work.tasks])
    return {work.tasks[place].id: chain.total - latest for place, latest in chain.latest.items()}


def plain_scores(plan: Outlook) -> dict[str, float]:
    """(business value + time criticality now + log2(1 + tasks that wait for it, directly or not)) / complexity."""
    due = {row["id"]: row["due_at"] and instant(row["due_at"]) for row in plan.milestones}
    return {
        task.id: (
            task.value
            + time_criticality(due.get(task.milestone_id), plan.now)
            + log2(1 + _waiting_for(place, plan.work.below))
        )
        / task.complexity
        for place, task in enumerate(plan.work.tasks)
    }


def _waiting_for(start: int, below: Sequence[Sequence[int]]) -> int:
    seen = {start}
    todo = [start]
    while todo and len(seen) <= _MOST_COUNTED:
        fresh = [other for other in below[todo.pop()] if other not in seen]
        seen.update(fresh)
        todo += fresh
    return min(_MOST_COUNTED, len(seen) - 1)
