"""Anomalies of the work as a whole, how they are measured, and what is usual (contract, section 8)."""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from wvo_mcp.domain.instant import iso


class AnomalyKind(StrEnum):
    """An anomaly, and the kind of its alert."""

    STALE_TASKS = "stale_tasks"
    DEPENDENCY_DESYNC = "dependency_desync"
    THROUGHPUT_DEGRADATION = "throughput_degradation"
    WIP_STARVATION = "wip_starvation"
    QUEUE_EMPTY = "queue_empty"
    QUEUE_STALLED = "queue_stalled"
    QUEUE_GROWING = "queue_growing"
    CYCLE = "cycle"
    STRANDED = "stranded"
    PROVIDER_CAPACITY = "provider_capacity"
    ALL_PROVIDERS_FAILING = "all_providers_failing"
    DATABASE = "database"
    ZOMBIE_AGENTS = "zombie_agents"


class Severity(StrEnum):
    INFO = "info"
    WARNING = "warning"
    CRITICAL = "critical"


STALLED = timedelta(hours=1)
GROWING_CYCLES = 5
DESYNC_WARNING, DESYNC_CRITICAL = 0.8, 0.5
FALL_WARNING, FALL_CRITICAL = 0.75, 0.5
CAPACITY = 0.8
BUDGETS = "budget_windows"
"""The fact with the budgets that are nearly used up, and from which share on they are: {warn_at, windows}."""
FREE_WARNING, FREE_CRITICAL = 1_000_000_000, 100_000_000
"""Bytes left on the disk of the state folder."""
JOURNAL_WARNING = 512 << 20
"""Bytes of a write-ahead log that a reader keeps from being merged; a merged one has at most 64 MiB."""
SAMPLES = 100
SHOWN = 20
"""Ids that an alert's evidence lists at most; it has their number too."""
SPREAD = 1.4826
"""Times the median absolute deviation: the standard deviation, for values that scatter as noise does."""


@dataclass(frozen=True, slots=True)
class Thresholds:
    """What the settings say; durations in seconds."""

    stale_seconds: float = 600.0
    quiet_max_seconds: float = 7_200.0
    grace_seconds: float = 60.0
    interval_seconds: float = 60.0
    wip_limit: int = 3
    auto_remediate: bool = True


@dataclass(frozen=True, slots=True)
class Anomaly:
    """Something wrong, and the numbers that say so."""

    kind: AnomalyKind
    severity: Severity
    message: str
    evidence: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Held:
    """A task in progress and its holder. `ended_at` is that of its session; `alive`: the session's server runs."""

    task_id: str
    agent_id: str | None
    session_id: str | None
    token: int
    lease_expires_at: datetime
    lease_seconds: float
    last_sign: datetime
    """The last call of the session or the last write of the task, whichever came later."""
    ended_at: datetime | None
    durable: bool
    alive: bool

    def gone(self, at: datetime) -> bool:
        """Its session has ended, or its server is gone. A durable session has no process: only its lease counts."""
        if self.durable and self.ended_at is None:
            return self.lease_expires_at <= at
        return self.ended_at is not None or not self.alive

    def silent(self, at: datetime, limits: Thresholds) -> bool:
        """Connected, and not heard for longer than a session may be quiet.

        Calls that only read are not on record. But a server whose client was heard renews its leases at a third of
        their length: one that has let half of it pass has heard nothing.
        """
        unheard = (at - self.last_sign).total_seconds() > limits.quiet_max_seconds
        left = (self.lease_expires_at - at).total_seconds()
        return unheard and not self.durable and left < self.lease_seconds / 2

    def returnable(self, at: datetime, limits: Thresholds) -> bool:
        """May it be given to others? A session that has just ended may come back within the grace."""
        if self.lease_expires_at <= at or (not self.gone(at) and self.silent(at, limits)):
            return True
        return self.ended_at is not None and self.ended_at + timedelta(seconds=limits.grace_seconds) <= at

    def stale_seconds(self, at: datetime, limits: Thresholds) -> float | None:
        """Since its last sign of life; None while its holder is alive."""
        if not self.gone(at) and not self.silent(at, limits):
            return None
        # What others changed of the task after its session had ended is no sign of its life.
        last = self.last_sign if self.ended_at is None else min(self.last_sign, self.ended_at)
        return max(0.0, (at - last).total_seconds())


@dataclass(frozen=True, slots=True)
class Hour:
    """One hour of work: `at` is its beginning; `working` of its `cycles` health cycles saw work."""

    at: datetime
    completed: int
    cycles: int
    working: int


@dataclass(frozen=True, slots=True)
class Baseline:
    """What is usual in an hour, and how far hours are from that by themselves; both in completions."""

    usual: float
    deviation: float
    hours: int
    of: str

    @property
    def lowest(self) -> float:
        """Below this an hour is not one of these any more."""
        return self.usual - 3 * SPREAD * self.deviation


WEEKS_WANTED, HOURS_WANTED = 3, 6


def baseline(hours: Sequence[Hour], at: datetime) -> Baseline | None:
    """What is usual at this hour of the week; of recent hours while too few weeks are known; None when too few hours are.

    Only whole hours in which there was work count.
    """
    now = at.replace(minute=0, second=0, microsecond=0)
    worked = [hour for hour in hours if hour.at < now and hour.working > 0]
    same = [hour.completed for hour in worked if (now - hour.at) % timedelta(weeks=1) == timedelta(0)]
    if len(same) >= WEEKS_WANTED:
        return Baseline(*_scatter(same), len(same), "this hour of the week")
    recent = [hour.completed for hour in worked if now - hour.at <= timedelta(weeks=1)]
    return Baseline(*_scatter(recent), len(recent), "recent hours") if len(recent) >= HOURS_WANTED else None


def _scatter(values: Sequence[float]) -> tuple[float, float]:
    """The median, and the median absolute deviation from it; 0 without values."""
    middle = median(values or [0])
    return middle, median([abs(value - middle) for value in values or [0]])


def median(values: Sequence[float]) -> float:
    """The library's takes longer to import than a server may take to start."""
    ordered = sorted(values)
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2


def rising(depths: Sequence[int]) -> int:
    """In how many cycles running, the last one included, the depth went up by more than it scatters by itself; else 0.

    `depths` by time. A queue that is filled and emptied at random goes up five times running now and then; the rise must
    stand out from the steps before it.
    """
    steps = [after - before for before, after in itertools.pairwise(depths)]
    run = 0
    while run < len(steps) and steps[-1 - run] > 0:
        run += 1
    first = len(steps) - run
    _, noise = _scatter(steps[:first])
    return run if sum(steps[first:]) > 3 * SPREAD * noise * math.sqrt(run) else 0


@dataclass(frozen=True, slots=True)
class Walk:
    """What a walk over the graph found; `changes` is the number of changes of edges that it knew of at its start."""

    changes: int
    digest: str | None
    """Of the roadmap whose entries were compared."""
    written: int
    """Dependencies that the roadmap writes, and of these in the table: `present`."""
    present: int
    cycle: Sequence[str] = ()
    """One closed path, if there is any."""
    in_cycles: int = 0
    """Tasks in a cycle or behind one."""

    @property
    def ratio(self) -> float:
        return self.present / self.written if self.written else 1.0


@dataclass(frozen=True, slots=True)
class Condition:
    """The state of the database; None for what is unknown here."""

    bytes: int | None = None
    journal_bytes: int | None = None
    free_bytes: int | None = None
    damage: str | None = None


@dataclass(frozen=True, slots=True)
class Remediation:
    """What was done, as the report has it."""

    timestamp: str
    anomaly: str
    action: str
    subject: str
    result: str
    """remedied, failed, or skipped: by then there was nothing to remedy."""
    message: str


@dataclass(frozen=True, slots=True)
class Provider:
    name: str
    state: str
    used: float
    capacity: float | None


@dataclass(frozen=True, slots=True)
class Budgets:
    """Windows nearly used up, of providers, tiers and agents: {scope, name, period, used, limit}."""

    warn_at: float = CAPACITY
    windows: tuple[Mapping[str, Any], ...] = ()


def hour_of(at: datetime) -> str:
    return iso(at)[:13]
