"""Tasks that their provider failed: a rate limit is no failed attempt."""

from datetime import datetime, timedelta
from typing import Any

from wvo_mcp.domain.instant import iso
from wvo_mcp.domain.providers.breaker import TRIPPING, Breaker
from wvo_mcp.domain.providers.catalogue import Catalogue, Place
from wvo_mcp.domain.providers.signals import FailureKind, Signal, from_text
from wvo_mcp.domain.task import Status, Task, retry_delay_seconds
from wvo_mcp.orchestration.routing import breakers
from wvo_mcp.orchestration.routing.attempts import reported
from wvo_mcp.orchestration.routing.router import Router
from wvo_mcp.orchestration.tasks import lifecycle
from wvo_mcp.orchestration.tasks.lifecycle import Moved
from wvo_mcp.ports import Transaction
from wvo_mcp.ports.providers import Providers, TaskRoute

FAILED = "task.provider_failed"
_SOONEST, _LATEST = timedelta(seconds=1), timedelta(hours=1)
_PATIENT = 3
"""So often a day a task comes back without a longer wait each time."""
_LATELY, _LOOKED_AT = timedelta(days=1), 100
_PAID = frozenset({FailureKind.QUOTA, FailureKind.RATE_LIMIT, FailureKind.AUTH})


async def failed_by_provider(tx: Transaction, providers: Providers | None, task: Task, error: str) -> Moved | None:
    """Back to the queue without counting an attempt, when the error is beyond doubt one of the task's provider; None, and
    nothing is changed, for every other error."""
    signal = from_text(error, tx.now)
    if signal is None or signal.kind not in TRIPPING:
        return None
    agent_id = task.assigned_to or tx.caller.agent_id
    router = Router(tx, providers, agent_id)
    route = await tx.routing.route(task.id)
    running = route if route is not None and route.lease_token == task.lease_token else None
    workers = await reported(tx, task.id)
    if running is not None and workers and running.provider not in {provider for provider, _ in workers}:
        blamed: tuple[str, str] | None = workers[0]
    else:
        blamed = _blamed(router.catalogue, running, signal, tx.caller.provider)
    breaker = None
    if blamed is not None:
        breaker = await breakers.failure(tx, router, *blamed, signal, task.id, running)
    waiting = task.model_copy(update={"status": Status.PENDING})
    decision = await Router(tx, providers, agent_id).decide(waiting)
    elsewhere = decision is not None and decision.chosen is not None
    retry_at = tx.now + timedelta(seconds=retry_delay_seconds(1)) if elsewhere else _free(signal, breaker, tx.now)
    times = await _times(tx, task) + 1
    if (
        times > _PATIENT
    ):  # perhaps it quotes what it works on: it must not run in circles, stopping providers as it goes
        retry_at = max(retry_at, tx.now + timedelta(seconds=retry_delay_seconds(times - _PATIENT + 1)))
    data: dict[str, Any] = {"error": error, "failure": signal.kind.value, "retry_at": iso(retry_at), "times": times}
    if blamed is not None:
        data |= {"provider": blamed[0], "tier": blamed[1]}
    return await lifecycle.move(tx, task, Status.PENDING, FAILED, {"last_error": error, "not_before": retry_at}, data)


async def _times(tx: Transaction, task: Task) -> int:
    """How often that was said of the task lately."""
    events = await tx.events.of_task(task.id, _LOOKED_AT)
    return sum(one.kind == FAILED and tx.now - one.at < _LATELY for one in events)


def _free(signal: Signal, breaker: Breaker | None, now: datetime) -> datetime:
    """When its provider may be tried again, within the hour."""
    at = None if breaker is None else breaker.free_at
    if at is None and signal.resets_at is not None:
        at = signal.resets_at
    if at is None:
        at = now + timedelta(seconds=min(3_600.0, max(0.0, signal.retry_after or retry_delay_seconds(1))))
    return min(now + _LATEST, max(now + _SOONEST, at))


def _blamed(
    catalogue: Catalogue | None, route: TaskRoute | None, signal: Signal, own: str | None
) -> tuple[str, str] | None:
    """(provider, tier) that failed: those of the route. But no local model has a quota: that is then the agent's own. Of an
    agent that runs on nobody knows what it cannot be told, unless only one is there."""
    if route is not None and route.worked is None and catalogue is not None:
        there = [one for one in catalogue.providers if one.enabled]
        if len(there) > 1:
            return None
    routed = None if route is None or catalogue is None else catalogue.provider(route.provider)
    local = routed is not None and routed.place is Place.LOCAL
    if route is not None and not (local and signal.kind in _PAID):
        return route.provider, route.tier
    alike = [] if catalogue is None else [one for one in catalogue.providers if own in (one.name, one.kind.value)]
    return (alike[0].name, "") if len(alike) == 1 else None
