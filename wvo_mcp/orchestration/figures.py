"""The state of work in numbers, for the status screen and for collectors of metrics."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

from wvo_mcp.domain.instant import instant
from wvo_mcp.domain.providers.state import RoutingState
from wvo_mcp.ports import Row, Transaction

_CREATED_CAP = 5_000
_SLOT = timedelta(minutes=5)
SLOTS = 24


@dataclass(frozen=True, slots=True)
class Flow:
    """What came and went. `series` are completions in the 24 stretches of 5 minutes up to now, oldest first; `created`
    counts up to 5,000."""

    created: int
    completed: int
    series: Sequence[int]


@dataclass(frozen=True, slots=True)
class Figures:
    """`counts` by status, and `ready`; `agents` by status; `alerts`: {kind, severity, n} of open ones; `stale` as the last
    health cycle saw it (None: there was none yet). `routing`: what each provider and tier used, and their breakers."""

    counts: Mapping[str, int]
    claimable: int
    agents: Mapping[str, int]
    alerts: Sequence[Row]
    flow: Flow
    stale: int | None
    expiries: int
    routing: RoutingState


async def flow(tx: Transaction) -> Flow:
    begin = tx.now - SLOTS * _SLOT
    series = [0] * SLOTS
    for minute, completed in (await tx.health.completions(begin)).items():
        slot = int((instant(minute + ":00Z") - begin) / _SLOT)
        series[min(SLOTS - 1, max(0, slot))] += completed
    hour = tx.now - timedelta(hours=1)
    completed = sum((await tx.health.completions(hour)).values())
    return Flow(await tx.events.since("task.created", hour, _CREATED_CAP), completed, series)


async def measure(tx: Transaction) -> Figures:
    samples = await tx.health.samples(1)
    return Figures(
        counts=await tx.tasks.counts(),
        claimable=await tx.health.claimable(),
        agents=await tx.health.agents(),
        alerts=await tx.alerts.open_counts(),
        flow=await flow(tx),
        stale=samples[-1].get("staleTaskCount") if samples else None,
        expiries=await tx.events.count("lease.expired"),
        routing=await tx.routing.state(""),
    )
