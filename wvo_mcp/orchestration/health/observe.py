"""The first step: read the store and measure. Nothing is judged here, and nothing changed but counts."""

import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from wvo_mcp.domain import health
from wvo_mcp.domain.health import AnomalyKind, Budgets, Condition, Held, Hour, Provider, Thresholds, Walk
from wvo_mcp.domain.instant import instant
from wvo_mcp.domain.lease import Caller
from wvo_mcp.errors import WvoError
from wvo_mcp.orchestration.leader import Overtaken
from wvo_mcp.ports import Probe, Row, Store, Transaction

logger = logging.getLogger(__name__)

WALKED = "graph_walked"
READY_SINCE = "ready_since"
HELD_LIMIT = 5_000
_MANY = 1_000
_PAST = timedelta(weeks=9)
_UNWATCHED = timedelta(minutes=10)
"""After this time without a cycle, or three times the interval, it is unknown what there was to do meanwhile: a night
without servers is no hour in which nothing was completed."""


@dataclass(frozen=True, slots=True)
class Flow:
    """Work and agents at one moment."""

    counts: Mapping[str, int]
    claimable: int
    last_hour: int
    last_minutes: int
    """Completions of the last five minutes."""
    paused: bool
    ready_since: datetime | None
    """Since when every cycle saw claimable work and no pause, with no long time between two cycles."""
    agents: Mapping[str, int]

    @property
    def working(self) -> bool:
        """Is there anything to do, or being done?"""
        return (self.claimable > 0 or self.counts["in_progress"] > 0) and not self.paused


@dataclass(frozen=True, slots=True)
class Observation:
    """What one cycle saw; None for what could not be read, and `failed` says why."""

    at: datetime
    flow: Flow | None = None
    held: Sequence[Held] | None = None
    vacant: Sequence[str] | None = None
    """Agents shown with a task, or busy, that hold none."""
    departed: Sequence[str] | None = None
    """Idle agents whose connection has ended."""
    hours: Sequence[Hour] | None = None
    depths: Sequence[int] | None = None
    """Queue depths of the last cycles, oldest first."""
    walk: Walk | None = None
    stranded: Sequence[tuple[str, str]] | None = None
    """(open task, the cancelled or failed one that it waits for)."""
    providers: Sequence[Provider] | None = None
    budgets: Budgets = field(default_factory=Budgets)
    database: Condition | None = None
    open: Sequence[AnomalyKind] = ()
    """Anomalies whose alert is open."""
    failed: Mapping[str, str] = field(default_factory=dict[str, str])
    """What could not be read -> what went wrong."""


Prepare = Callable[[Store, Caller], Awaitable[None]]
"""Updates what other parts keep for the cycle to read."""


async def observe(
    store: Store,
    caller: Caller,
    limits: Thresholds,
    probe: Probe | None,
    *,
    count: bool,
    prepare: Prepare | None = None,
) -> Observation:
    """`count` first updates the counts of completions, and `prepare` the rest, which write. Raises WvoError when the store
    cannot be read at all; a single reading that fails is left out."""

    async def now(tx: Transaction) -> datetime:
        return tx.now

    at = await store.read(caller, now)
    found: dict[str, Any] = {}
    failed: dict[str, str] = {}

    async def attempt(name: str, work: Callable[[], Awaitable[Any]]) -> None:
        try:
            value = await work()
            if value is not None:
                found[name] = value
        except Overtaken:
            raise
        except WvoError as error:
            failed[name] = error.message[:500]
        except Exception as error:  # one defect must not hide what the other readings show
            logger.exception("reading %s failed", name)
            failed[name] = f"{type(error).__name__}: {error}"[:500]

    if count:
        await attempt("write", lambda: store.write(caller, lambda tx: tx.health.count_hours()))
        if prepare is not None:
            await attempt("budgets", partial(prepare, store, caller))
    for name, reading in _READINGS.items():
        await attempt(name, partial(store.read, caller, partial(reading, limits)))
    if probe is None:
        found["database"] = Condition()
    else:
        await attempt("database", probe.look)
    return Observation(at, failed=failed, **found)


async def _flow(limits: Thresholds, tx: Transaction) -> Flow:
    last = await tx.health.samples(1)
    longest = max(_UNWATCHED, timedelta(seconds=3 * limits.interval_seconds))
    watched = bool(last) and tx.now - instant(last[0]["timestamp"]) <= longest
    since = await tx.state.get(READY_SINCE) if watched else None
    return Flow(
        counts=await tx.tasks.counts(),
        claimable=await tx.health.claimable(),
        last_hour=sum((await tx.health.completions(tx.now - timedelta(hours=1))).values()),
        last_minutes=sum((await tx.health.completions(tx.now - timedelta(minutes=5))).values()),
        paused=bool(await tx.state.get("paused")),
        ready_since=None if since is None else instant(since),
        agents=await tx.health.agents(),
    )


async def _depths(limits: Thresholds, tx: Transaction) -> list[int]:
    return [int(sample["queueDepth"]) for sample in await tx.health.samples(health.SAMPLES) if "queueDepth" in sample]


async def walked(tx: Transaction) -> Walk | None:
    """What the last walk over the graph found."""
    kept: dict[str, Any] | None = await tx.state.get(WALKED)
    return None if kept is None else Walk(**kept)


async def _budgets(limits: Thresholds, tx: Transaction) -> Budgets | None:
    kept = await tx.state.get(health.BUDGETS)
    return None if kept is None else Budgets(float(kept["warn_at"]), tuple(kept["windows"]))


async def _open(limits: Thresholds, tx: Transaction) -> list[AnomalyKind]:
    """Of the alert `database` only one that a cycle raised: a backup that met damage has an alert of the same kind."""
    rows = await open_alerts(tx, AnomalyKind)
    return [kind for kind in AnomalyKind if kind in rows and rows[kind]["evidence"]]


async def open_alerts(tx: Transaction, kinds: Iterable[str]) -> dict[str, Row]:
    """The open alerts of these kinds about no single task, by kind."""
    rows = {str(kind): await tx.alerts.find(str(kind), None) for kind in kinds}
    return {kind: row for kind, row in rows.items() if row is not None}


_READINGS: dict[str, Callable[[Thresholds, Transaction], Awaitable[Any]]] = {
    "flow": _flow,
    "held": lambda limits, tx: tx.health.held(HELD_LIMIT),
    "vacant": lambda limits, tx: tx.health.vacant(_MANY),
    "departed": lambda limits, tx: tx.health.departed(tx.now - timedelta(seconds=limits.stale_seconds), _MANY),
    "hours": lambda limits, tx: tx.health.hours(tx.now - _PAST),
    "depths": _depths,
    "walk": lambda limits, tx: walked(tx),
    "stranded": lambda limits, tx: tx.health.stranded(10 * health.SHOWN),
    "providers": lambda limits, tx: tx.health.providers(),
    "budgets": _budgets,
    "open": _open,
}
"""By field of Observation; each in a transaction of its own."""
