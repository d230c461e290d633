"""Weighted shortest job first, by bundles (contract, section 4): a task is worth what it and the work it opens are worth for
each point of work, and more where the longest path begins.

Source: Smith's ratio of the best initial set (J. Sidney, 1975), by W. Horn's rule for trees (1972), made local; a task that
others have to be done for as well is divided among them. Cost of delay over size: D. Reinertsen, The Principles of Product
Development Flow (2009).
"""

import math
from collections.abc import Iterable
from datetime import datetime
from typing import NamedTuple

from pydantic import BaseModel

from wvo_mcp.domain.task import Priority, Task

MOST_AWAITED = 64
"""A task that waits for more open ones belongs to no bundle."""

BUNDLE_SIZE = 60
"""Points that a bundle holds at most."""

TAIL_CAP = 1000
PATH_VALUE_CAP = 10.0

NO_PATH = -1000
"""The step of q where the longest path decides nothing: there is one agent, or no work."""

PRIORITY_VALUE = {Priority.CRITICAL: 15.0, Priority.HIGH: 10.0, Priority.MEDIUM: 5.0, Priority.LOW: 1.0}


class Dependent(NamedTuple):
    """An open task that waits for the one in question: the bundle that it heads, and for how many open tasks it waits."""

    value: float
    size: float
    awaits: int
    seq: int


class Why(BaseModel, frozen=True, defer_build=True):
    """The parts of a score;
    score = (business_value + time_criticality + unlock_value) / (complexity + unlock_size) + path_value."""

    business_value: float
    time_criticality: float
    unlock_value: float
    complexity: int
    unlock_size: float
    path_value: float

    @property
    def score(self) -> float:
        value = self.business_value + self.time_criticality + self.unlock_value
        return round(value / (self.complexity + self.unlock_size) + self.path_value, 4)

    def rounded(self) -> "Why":
        """The same with every part at 4 places, for showing."""
        return Why.model_validate({name: round(part, 4) for name, part in self.model_dump().items()})


def time_criticality(due_at: datetime | None, now: datetime) -> float:
    """10 / (1 + days_left / 7), days fractional and never below 0; 0 without a due date."""
    if due_at is None:
        return 0.0
    days_left = max(0.0, (due_at - now).total_seconds() / 86_400)
    return 10 / (1 + days_left / 7)


def weight(priority: Priority, business_value: float | None, due_at: datetime | None, now: datetime) -> float:
    """What the task itself is worth at `now`."""
    own = PRIORITY_VALUE[priority] if business_value is None else business_value
    return own + time_criticality(due_at, now)


def share(awaits: int) -> float:
    """The part of a dependent that counts in a bundle: it waits for so many open tasks, the one in question among them."""
    return 0.0 if awaits > MOST_AWAITED else 1 / (1 << max(0, awaits - 1).bit_length())


def bundle(value: float, size: float, dependents: Iterable[Dependent]) -> tuple[float, float]:
    """Value and size, at 4 places, of a task of this value and size with the best of what waits for it."""
    for other in sorted(dependents, key=lambda one: (-one.value / one.size, one.seq)):
        part = share(other.awaits)
        if not part:
            continue
        if other.value * size <= value * other.size or size + other.size * part > BUNDLE_SIZE:
            break
        value += other.value * part
        size += other.size * part
    return round(value, 4), round(size, 4)


def path_step(agents: int, open_size: int) -> int:
    """The step of q = 2 ** (step / 2), how scarce hands are not: `agents` may work at once, `open_size` is the sum of
    complexity over open tasks."""
    if agents < 2 or open_size < 1:
        return NO_PATH
    return round(2 * math.log2((agents - 1) / open_size))


def path_value(tail: int, step: int) -> float:
    """What the longest path that begins with a task adds: near nothing while hands are the bottleneck. `tail` is in points,
    the task's own among them."""
    return min(PATH_VALUE_CAP, 4 * (tail * 2 ** (step / 2)) ** 2)


def score(value: float, size: float, tail: int, step: int) -> float:
    """By a task's bundle and path, at 4 places."""
    return round(value / size + path_value(tail, step), 4)


def explain(task: Task, step: int, due_at: datetime | None, now: datetime) -> Why:
    """The parts of the score of a task at `now`, by its attributes and kept columns."""
    urgency = time_criticality(due_at, now)
    own = weight(task.priority, task.business_value, None, now)
    size = task.bundle_size - task.complexity
    return Why(
        business_value=own,
        time_criticality=urgency,
        unlock_value=max(0.0, task.bundle_value - own - urgency) if size > 0 else 0.0,
        complexity=task.complexity,
        unlock_size=size,
        path_value=path_value(task.tail, step),
    )
