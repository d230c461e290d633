"""Orders of the ready queue to compare: scores for the whole plan that stay as they are."""

from collections.abc import Mapping
from enum import StrEnum

from wvo_mcp.domain.workload import Workload, critical_path


class Order(StrEnum):
    WSJF = "wsjf"
    """The product's: by score (contract, section 4)."""
    FIFO = "fifo"
    CRITICAL_PATH = "critical-path"


def scores_of(order: Order, work: Workload, medians: Mapping[int, float]) -> dict[str, float] | None:
    """By task, the highest first and equals by age; None where the product keeps them. `medians`: seconds by complexity.
    Raises DependencyCycle."""
    match order:
        case Order.WSJF:
            return None
        case Order.FIFO:
            return {}
        case Order.CRITICAL_PATH:  # seconds from the beginning of a task to the end of the longest chain behind it
            chain = critical_path(work, [medians[task.complexity] for task in work.tasks])
            return {work.tasks[index].id: chain.total - latest for index, latest in chain.latest.items()}
