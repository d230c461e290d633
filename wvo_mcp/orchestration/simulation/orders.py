"""Orders of the ready queue to compare. Each gives a task's place by the task and its present score: smaller comes first."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import StrEnum
from typing import Any

from wvo_mcp.domain.dependency import in_order
from wvo_mcp.domain.task import Task


class Order(StrEnum):
    WSJF = "wsjf"
    FIFO = "fifo"
    CRITICAL_PATH = "critical-path"


Place = Callable[[Task, float], tuple[Any, ...]]


def place_of(
    order: Order, tasks: Sequence[Task], edges: Iterable[tuple[str, str]], medians: Mapping[int, float]
) -> Place:
    """`edges` are (task, what it depends on); `medians` seconds by complexity."""
    if order is Order.WSJF:
        return lambda task, score: (-score, task.created_at, task.id)
    if order is Order.FIFO:
        return lambda task, score: (task.created_at, task.seq)
    tails = tails_of(tasks, edges, medians)
    return lambda task, score: (-tails.get(task.id, 0.0), task.created_at, task.id)


def tails_of(tasks: Sequence[Task], edges: Iterable[tuple[str, str]], medians: Mapping[int, float]) -> dict[str, float]:
    """Seconds from the beginning of each task to the end of the longest chain that begins with it. What waits for itself,
    which only a hand in the database can make, counts for nothing."""
    behind: dict[str, list[str]] = {task.id: [] for task in tasks}
    for task_id, other in edges:
        behind[other].append(task_id)
    own = {task.id: medians[task.complexity] for task in tasks}
    tails: dict[str, float] = {}
    for task_id in in_order(behind):  # each after those that wait for it
        tails[task_id] = own[task_id] + max((tails.get(other, 0.0) for other in behind[task_id]), default=0.0)
    return tails
