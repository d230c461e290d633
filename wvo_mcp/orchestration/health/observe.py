"""The first step: read the store and measure. Nothing is judged here, and nothing changed but what is counted anew."""

import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import TypeVar

from wvo_mcp.domain.health import (
    BUDGETS,
    SAMPLES,
    SHOWN,
    Budgets,
    Condition,
    Held,
    Hour,
    Kind,
    Provider,
    Thresholds,
    Walk,
)
from wvo_mcp.domain.instant import instant
from wvo_mcp.domain.lease import Caller
from wvo_mcp.errors import WvoError
from wvo_mcp.orchestration.leader.leading import Overtaken
from wvo_mcp.ports import Probe, Store, Transaction

logger = logging.getLogger(__name__)
T = TypeVar("T")

WALKED = "graph_walked"
READY_SINCE = "ready_since"
HELD_LIMIT = 5_000
_MANY = 1_000
_ROLL = 2_000
_ROLLS = 25
"""Batches of completions counted per cycle: a trail that is new to the loop is caught up with by and by."""
_PAST = timedelta(weeks=9)
_UNWATCHED = timedelta(minutes=10)
"""After so long without a cycle, or three times the pause between two, nobody knows what there was to do meanwhile: a
night without servers is no hour in which nothing was completed."""


@dataclass(frozen=True, slots=True)
class Flow:
    """How much there is of what, at one moment."""

    counts: Mapping[str, int]
    claimable: int
    last_hour: int
    last_minutes: int
    """Completions of the last five minutes."""
    counted: bool
    """False while a long trail is still being caught up with."""
    paused: bool
    ready_since: datetime | None
    """Since when there has been claimable work, and no pause, in every cycle, and no long time without a cycle."""
    agents: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Observation:
    """What one cycle saw; None for what could not be looked at, and `failed` says why."""

    at: datetime
    flow: Flow | None = None
    held: tuple[Held, ...] | None = None
    vacant: tuple[str, ...] | None = None
    """Agents shown with a task, or busy, that hold none."""
    departed: tuple[str, ...] | None = None
    """Idle agents whose connection has ended."""
    hours: tuple[Hour, ...] | None = None
    depths: tuple[int, ...] | None = None
    """Queue depths of the last cycles, oldest first."""
    walk: Walk | None = None
    stranded: tuple[tuple[str, str], ...] | None = None
    """(open task, the cancelled or failed one that it waits for)."""
    providers: tuple[Provider, ...] | None = None
    budgets: Budgets = field(default_factory=Budgets)
    database: Condition | None = None
    open: tuple[Kind, ...] = ()
    """Anomalies whose alert is open."""
    failed: Mapping[str, str] = field(default_factory=dict[str, str])
    """Look -> what went wrong with it."""


Prepare = Callable[[Store, Caller], Awaitable[None]]
"""Brings up to date what others keep for the cycle to see."""


async def observe(
    store: Store,
    caller: Caller,
    limits: Thresholds,
    probe: Probe | None,
    *,
    count: bool,
    prepare: Prepare | None = None,
) -> Observation:
    """`count` brings the counts of completions up to date first, and `prepare` the rest, which write. Raises WvoError when
    the store cannot be read at all; a single look that fails is left out."""
    at = await store.read(caller, _now)
    failed: dict[str, str] = {}

    async def look(name: str, work: Callable[[], Awaitable[T]]) -> T | None:
        try:
            return await work()
        except Overtaken:
            raise
        except WvoError as error:
            failed[name] = error.message[:500]
        except Exception as error:  # one defect must not hide what the other looks see
            logger.exception("the look %s failed", name)
            failed[name] = f"{type(error).__name__}: {error}"[:500]
        return None

    async def read(name: str, work: Callable[[Transaction], Awaitable[T]]) -> T | None:
        return await look(name, lambda: store.read(caller, work))

    if count:
        await look("write", lambda: _count(store, caller))
    if count and prepare is not None:
        kept = prepare
        await look("budgets", lambda: kept(store, caller))
    return Observation(
        at=at,
        flow=await read("flow", partial(_flow, limits)),
        held=await read("held", _held),
        vacant=await read("vacant", _vacant),
        departed=await read("departed", partial(_departed, limits)),
        hours=await read("hours", _hours),
        depths=await read("depths", _depths),
        walk=await read("graph", walked),
        stranded=await read("stranded", _stranded),
        providers=await read("providers", _providers),
        budgets=await read("budgets", _budgets) or Budgets(),
        database=await look("database", probe.look) if probe is not None else Condition(),
        open=await read("alerts", _open) or (),
        failed=failed,
    )


async def _now(tx: Transaction) -> datetime:
    return tx.now


async def _count(store: Store, caller: Caller) -> None:
    for _ in range(_ROLLS):
        if await store.write(caller, lambda tx: tx.health.roll_up(_ROLL)):
            return


async def _flow(limits: Thresholds, tx: Transaction) -> Flow:
    since = await tx.state.get(READY_SINCE) if await _watched(limits, tx) else None
    return Flow(
        counts=await tx.tasks.counts(),
        claimable=await tx.health.claimable(),
        last_hour=await tx.health.completed(tx.now - timedelta(hours=1)),
        last_minutes=await tx.health.completed(tx.now - timedelta(minutes=5)),
        counted=await tx.health.rolled_up(),
        paused=bool(await tx.state.get("paused")),
        ready_since=None if since is None else instant(since),
        agents=await tx.health.agents(),
    )


async def _watched(limits: Thresholds, tx: Transaction) -> bool:
    last = await tx.health.samples(1)
    longest = max(_UNWATCHED, timedelta(seconds=3 * limits.interval_seconds))
    return bool(last) and tx.now - instant(last[0]["timestamp"]) <= longest


async def _held(tx: Transaction) -> tuple[Held, ...]:
    return tuple(await tx.health.held(HELD_LIMIT))


async def _vacant(tx: Transaction) -> tuple[str, ...]:
    return tuple(await tx.health.vacant(_MANY))


async def _departed(limits: Thresholds, tx: Transaction) -> tuple[str, ...]:
    return tuple(await tx.health.departed(tx.now - timedelta(seconds=limits.stale_seconds), _MANY))


async def _hours(tx: Transaction) -> tuple[Hour, ...]:
    return tuple(await tx.health.hours(tx.now - _PAST))


async def _depths(tx: Transaction) -> tuple[int, ...]:
    return tuple(int(sample["queueDepth"]) for sample in await tx.health.samples(SAMPLES) if "queueDepth" in sample)


async def walked(tx: Transaction) -> Walk | None:
    """What the last walk over the graph found."""
    kept = await tx.state.get(WALKED)
    if kept is None:
        return None
    numbers = {name: kept[name] for name in ("changes", "written", "present", "in_cycles")}
    return Walk(**numbers, digest=kept["digest"], cycle=tuple(kept["cycle"]))


async def _stranded(tx: Transaction) -> tuple[tuple[str, str], ...]:
    return tuple(await tx.health.stranded(10 * SHOWN))


async def _providers(tx: Transaction) -> tuple[Provider, ...]:
    return tuple(await tx.health.providers())


async def _budgets(tx: Transaction) -> Budgets:
    kept = await tx.state.get(BUDGETS)
    return Budgets() if kept is None else Budgets(float(kept["warn_at"]), tuple(kept["windows"]))


async def _open(tx: Transaction) -> tuple[Kind, ...]:
    """Of the alert `database` only one that a cycle raised: a backup that met damage has an alert of the same kind."""
    found: list[Kind] = []
    for kind in Kind:
        row = await tx.alerts.find(kind.value, None)
        if row is not None and row["evidence"]:
            found.append(kind)
    return tuple(found)
