"""What a simulation measures while it runs, what comes out of it, and how orders of the queue compare.

They are compared over many seeds, which are the same for every order, so that differences are taken by seed.
"""

from bisect import bisect_right
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from math import sqrt
from statistics import fmean, stdev
from typing import Any

from wvo_mcp.domain.instant import instant, iso
from wvo_mcp.domain.task import SETTLED, Status, Task
from wvo_mcp.domain.workload import Workload, critical_path
from wvo_mcp.domain.wsjf import PRIORITY_VALUE

BUSY = "busy"
AWAY = "away"
_POINTS = 240
"""Even stretches of a curve."""
_HOUR = 3_600_000


@dataclass(frozen=True, slots=True)
class MilestoneOutcome:
    """`late_hours` counts from the end of the day that it is due; None without a due date, or while something is open."""

    id: str
    due_at: str | None
    done_at: str | None
    open: int
    late_hours: float | None


@dataclass(frozen=True, slots=True)
class Point:
    """Hours from the start, tasks not done, and agents at work at that time."""

    hours: float
    remaining: int
    busy: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """Hours are of virtual time. Shares are of the pool's time from the start to the end of the last work."""

    order: str
    seed: int
    agents: int
    tasks: int
    done: int
    failed: int
    blocked: int
    left: dict[str, int]
    """Tasks that could not be worked on, by reason."""
    makespan_hours: float
    throughput_per_hour: float
    utilisation: float
    wasted: float
    """Share of the pool's time that went into attempts which failed or were lost."""
    away: float
    waiting_hours: dict[str, float]
    """Agents' time without work, by the reason that they were given."""
    waiting_share: float
    cost_of_delay: float
    """Value-days: business value of each task times the days until it was done (an open one: until the end)."""
    milestones: list[MilestoneOutcome]
    claims: int
    attempts_failed: int
    agents_lost: int
    leases_expired: int
    curve: list[Point]


class Tally:
    """Times in whole milliseconds from the start."""

    def __init__(self, tasks: Sequence[Task], agents: Sequence[str], start: datetime) -> None:
        self.start = start
        self.tasks = tasks
        self.done_at: dict[str, int] = {}
        self.claims = self.failures = self.lost = 0
        self._states: dict[str, str | None] = dict.fromkeys(agents)
        self._counts = Counter[str]()
        self._areas = Counter[str]()
        self._last = 0
        self._wasted = 0
        self._open = sum(task.status not in SETTLED for task in tasks)
        self._steps: list[tuple[int, int, int]] = [(0, self._open, 0)]
        self._settled = (0, Counter[str]())

    def turn(self, at: int, agent_id: str, state: str) -> None:
        """The agent is busy, away, or waits for the reason named."""
        old = self._states[agent_id]
        if old == state:
            return
        self._flow(at)
        if old is not None:
            self._counts[old] -= 1
        self._counts[state] += 1
        self._states[agent_id] = state
        if BUSY in (old, state):
            self._steps.append((at, self._open, self._counts[BUSY]))

    def _flow(self, at: int) -> None:
        for state, count in self._counts.items():
            self._areas[state] += count * (at - self._last)
        self._last = at

    def ended(self, at: int, task_id: str, seconds: float, *, done: bool) -> None:
        """An attempt is over: everything measured up to here counts."""
        self._flow(at)
        if done:
            self.done_at[task_id] = at
            self._open -= 1
        else:
            self._wasted += round(seconds * 1000)
        self._steps.append((at, self._open, self._counts[BUSY]))
        self._settled = (at, self._areas.copy())

    def outcome(
        self,
        order: str,
        seed: int,
        after: Sequence[Task],
        left: Mapping[str, int],
        milestones: Sequence[Mapping[str, Any]],
    ) -> Outcome:
        end, areas = self._settled
        whole = max(1, end * len(self._states))
        waiting = {state: areas[state] / _HOUR for state in sorted(areas) if areas[state] and state not in (BUSY, AWAY)}
        was_open = [task for task in self.tasks if task.status not in SETTLED]
        flow = sum(_value(task) * self.done_at.get(task.id, end) for task in was_open)
        count = Counter(task.status for task in after)
        return Outcome(
            order=order,
            seed=seed,
            agents=len(self._states),
            tasks=len(was_open),
            done=len(self.done_at),
            failed=count[Status.FAILED],
            blocked=count[Status.BLOCKED],
            left=dict(left),
            makespan_hours=round(end / _HOUR, 3),
            throughput_per_hour=round(len(self.done_at) * _HOUR / end, 3) if end else 0.0,
            utilisation=round(areas[BUSY] / whole, 4),
            wasted=round(self._wasted / whole, 4),
            away=round(areas[AWAY] / whole, 4),
            waiting_hours={reason: round(hours, 3) for reason, hours in waiting.items()},
            waiting_share=round(sum(waiting.values()) * _HOUR / whole, 4),
            cost_of_delay=round(flow / (24 * _HOUR), 2),
            milestones=[self._milestone(row, after) for row in milestones],
            claims=self.claims,
            attempts_failed=self.failures,
            agents_lost=self.lost,
            leases_expired=sum(task.expiries for task in after) - sum(task.expiries for task in self.tasks),
            curve=self._curve(end),
        )

    def _milestone(self, row: Mapping[str, Any], after: Sequence[Task]) -> MilestoneOutcome:
        mine = [task for task in after if task.milestone_id == row["id"]]
        open_ = sum(task.status not in SETTLED for task in mine)
        ends = [self.done_at[task.id] for task in mine if task.id in self.done_at]
        done = self.start + timedelta(milliseconds=max(ends)) if ends and not open_ else None
        due = None if row["due_at"] is None else instant(row["due_at"])
        late = None if done is None or due is None else max(0.0, round((done - due).total_seconds() / 3600, 2))
        return MilestoneOutcome(row["id"], row["due_at"], None if done is None else iso(done), open_, late)

    def _curve(self, end: int) -> list[Point]:
        steps = [step for step in self._steps if step[0] <= end]
        times = [step[0] for step in steps]
        even = dict.fromkeys(end * number // _POINTS for number in range(_POINTS + 1))
        taken = [(at, steps[bisect_right(times, at) - 1]) for at in even]
        return [Point(round(at / _HOUR, 4), left, busy if at < end else 0) for at, (_, left, busy) in taken]


def _value(task: Task) -> float:
    return PRIORITY_VALUE[task.priority] if task.business_value is None else task.business_value


class Order(StrEnum):
    WSJF = "wsjf"
    """The product's: by score (contract, section 4)."""
    FIFO = "fifo"
    CRITICAL_PATH = "critical-path"


def scores_of(order: Order, work: Workload, medians: Mapping[int, float]) -> dict[str, float] | None:
    """By task, the highest first and equals by age; None where the product keeps them. `medians`: seconds by complexity.
    Raises DependencyCycle."""
    if order is not Order.CRITICAL_PATH:
        return None if order is Order.WSJF else {}
    # Seconds from the beginning of a task to the end of the longest chain behind it.
    chain = critical_path(work, [medians[task.complexity] for task in work.tasks])
    return {work.tasks[index].id: chain.total - latest for index, latest in chain.latest.items()}


MEASURES = ("cost_of_delay", "makespan_hours")
"""Of an outcome; less is better."""

_T = (
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110,
    2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042,
)  # fmt: skip
"""Student's t for a two-sided 95 %, by degrees of freedom from 1."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean over seeds; the 95 % interval reaches `margin` to both sides."""

    mean: float
    margin: float


@dataclass(frozen=True, slots=True)
class Measured:
    """One measure of one order."""

    value: Estimate
    difference_percent: Estimate | None
    """Against the first order, seed by seed; below 0 is better. None for the first order itself."""
    better: int
    """Seeds in which it was better than the first order."""
    best: int
    """Seeds in which no other order was better."""


def compared(runs: Mapping[str, Sequence[Outcome]]) -> dict[str, dict[str, Measured]]:
    """By order and measure. `runs`: by order, one outcome for each seed (two at least), the same seeds in the same sequence;
    the others are compared with the first order."""
    out: dict[str, dict[str, Measured]] = {order: {} for order in runs}
    for name in MEASURES:
        found = {order: [float(getattr(one, name)) for one in ones] for order, ones in runs.items()}
        first = next(iter(found.values()))
        least = [min(each) for each in zip(*found.values(), strict=True)]
        for order, own in found.items():
            apart = [(a / b - 1) * 100 if b else 0.0 for a, b in zip(own, first, strict=True)]
            out[order][name] = Measured(
                value=estimate(own),
                difference_percent=None if own is first else estimate(apart),
                better=sum(a < b for a, b in zip(own, first, strict=True)),
                best=sum(a <= b for a, b in zip(own, least, strict=True)),
            )
    return out


def estimate(values: Sequence[float]) -> Estimate:
    """Of two values at least. Source: Student's t, as for any mean of independent draws."""
    freedom = len(values) - 1
    t = _T[freedom - 1] if freedom <= len(_T) else 1.96 + 2.5 / freedom
    return Estimate(round(fmean(values), 3), round(t * stdev(values) / sqrt(len(values)), 3))
