"""Failures and successes of providers, as all servers remember them: breakers, their events, the alert when none is left."""

import hashlib
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from wvo_mcp.domain.health import AnomalyKind
from wvo_mcp.domain.instant import iso
from wvo_mcp.domain.providers import breaker
from wvo_mcp.domain.providers.breaker import Breaker, BreakerState
from wvo_mcp.domain.providers.catalogue import Catalogue, Mode, Place, Provider
from wvo_mcp.domain.providers.signals.reading import Signal
from wvo_mcp.domain.providers.state import UNKNOWN, Presence
from wvo_mcp.orchestration.routing.router import Router
from wvo_mcp.ports import Transaction
from wvo_mcp.ports.providers import Spent, TaskRoute

REPORTED, REROUTED = "provider.reported", "task.rerouted"
OPENED, RECOVERED = "provider.opened", "provider.recovered"
_CLOSED = BreakerState.CLOSED
_ALL_FAIL = AnomalyKind.ALL_PROVIDERS_FAILING.value
_LOOKED_AT = 50
"""Events of a task that are searched for reports."""


async def note(tx: Transaction, spent: Spent, **more: Any) -> None:
    """Append the event of a report."""
    data: dict[str, Any] = {"provider": spent.provider, "tier": spent.tier, "model": spent.model}
    data |= {"tokens_in": spent.tokens_in, "tokens_out": spent.tokens_out, "tokens_cached": spent.tokens_cached}
    data |= {"tokens": spent.counted, "cost": round(spent.cost, 6)}
    await tx.events.append(REPORTED, spent.task_id, data | more)


async def failure(
    tx: Transaction,
    router: Router,
    provider: str,
    tier: str,
    signal: Signal,
    task_id: str | None = None,
    route: TaskRoute | None = None,
) -> Breaker | None:
    """Feed it to the breaker that it belongs to, which is given as it is now; None when it says nothing of the provider.
    `route` is that of the attempt that failed, if it was routed there."""
    known = {(one.provider, one.tier): one for one in await tx.routing.breakers()}
    began = None if route is None else route.at
    if signal.kind in breaker.ANSWERED:
        tried = [one for one in known.values() if one.provider == provider and one.probe_task == task_id is not None]
        await _close(tx, [(one, breaker.succeeded(one, tx.now, task_id=task_id, began=began)) for one in tried])
        return None
    scope = (provider, breaker.scope_of(signal, tier))
    for key, one in known.items():
        if one.probe_task == task_id is not None and (key != scope or signal.kind not in breaker.TRIPPING):
            known[key] = breaker.undecided(one, tx.now)
            await tx.routing.put_breaker(known[key])
    if signal.kind not in breaker.TRIPPING:
        return None
    before = known.get(scope, Breaker(*scope))
    # As if by lot: different for every session, breaker and moment, and the same when a transaction is tried again.
    seed = f"{tx.caller.session_id} {provider} {before.tier} {before.failures} {iso(tx.now)}"
    draw = int.from_bytes(hashlib.sha256(seed.encode()).digest()[:6]) / 2**48
    after = breaker.failed(before, signal, tx.now, draw, task_id=task_id, began=began)
    if after is before:
        return after
    await tx.routing.put_breaker(after)
    known[scope] = after
    if after.state is BreakerState.OPEN and after.opened_at == tx.now:
        opening = {
            "kind": after.kind,
            "until": after.until and iso(after.until),
            "reason": after.reason,
            "openings": after.failures,
        }
        await tx.events.append(OPENED, None, {"provider": provider, "tier": scope[1], **opening})
        await alert_when_all_fail(tx, router, known)
    return after


async def success(
    tx: Transaction, provider: str, tier: str, task_id: str | None, route: TaskRoute | None, *, ended: bool = True
) -> None:
    """An attempt succeeded: what is counted against its provider and tier is over. It says nothing of another provider,
    though the task may have been sent there to try that.

    Not `ended`: it runs on and got tokens, from the provider that it was routed to. That closes what it tries out, or what
    opened before it began; older attempts may have got theirs before the failure, and outages in a row are not over with
    what came between them.
    """
    began = None if route is None else route.at
    if not ended and (route is None or (route.provider, route.tier) != (provider, tier)):
        return

    def speaks_for(one: Breaker) -> bool:
        newer = one.opened_at is not None and began is not None and one.opened_at < began
        return ended or (one.state is not _CLOSED and (newer or one.probe_task == task_id is not None))

    mine = [one for one in await tx.routing.breakers() if one.provider == provider and one.tier in ("", tier)]
    spoken = [one for one in mine if speaks_for(one)]
    await _close(tx, [(one, breaker.succeeded(one, tx.now, task_id=task_id, began=began)) for one in spoken])


async def reset_by_person(tx: Transaction, provider: str, tier: str) -> None:
    """A person has paid, or logged in: all that stops the provider is over, or what stops the tier."""
    known = await tx.routing.breakers()
    mine = [one for one in known if one.provider == provider and (not tier or one.tier in ("", tier))]
    await _close(tx, [(one, breaker.reset(one, tx.now)) for one in mine])


async def done(tx: Transaction, task_id: str, tried: Collection[Breaker]) -> None:
    """The task was done; `tried` are the breakers that it speaks for, unless all that was reported since the task was given its
    present route is of other providers. A route is advice: who reports another provider did the work with that one."""
    if not tried:
        return
    workers: set[str] = set()
    for event in reversed(await tx.events.of_task(task_id, _LOOKED_AT)):
        if event.kind in ("task.claimed", REROUTED):
            break
        if event.kind == REPORTED:
            workers.add(event.data["provider"])
    spoken = [one for one in tried if not workers or one.provider in workers]
    for one in tried:
        if one not in spoken and one.probe_task == task_id:
            await tx.routing.put_breaker(breaker.undecided(one, tx.now))
    await _close(tx, [(one, breaker.succeeded(one, tx.now, task_id=task_id)) for one in spoken])


async def _close(tx: Transaction, changes: Iterable[tuple[Breaker, Breaker]]) -> None:
    """Store what has changed (before, after); the alert ends when a provider can be used again."""
    recovered: set[str] = set()
    for before, after in changes:
        if after is before:
            continue
        await tx.routing.put_breaker(after)
        if before.state is not _CLOSED:
            recovered.add(before.provider)
            lasted = 0.0 if before.opened_at is None else (tx.now - before.opened_at).total_seconds()
            data = {"provider": before.provider, "tier": before.tier, "kind": before.kind, "seconds": round(lasted, 3)}
            await tx.events.append(RECOVERED, None, data)
    if recovered:  # a tier that works again is of no use while its whole provider is stopped
        now = await tx.routing.breakers()
        recovered -= {one.provider for one in now if not one.tier and one.state is not _CLOSED}
    if recovered:
        await tx.alerts.resolve_alert(_ALL_FAIL, None)


async def alert_when_all_fail(tx: Transaction, router: Router, breakers: Mapping[tuple[str, str], Breaker]) -> None:
    """Raise the critical alert when no provider that may be used is left. One that is open already stays as it is: the
    health cycle keeps it fresh."""
    if router.catalogue is None:
        return
    known = usable(router.catalogue, router.presence, (await router.state()).mode)
    stopped = {one.name: breaker.worst(one.name, [tier.value for tier in one.tiers], breakers) for one in known}
    stops = [one for one in stopped.values() if one is not None]
    if not stops or len(stops) < len(stopped) or await tx.alerts.find(_ALL_FAIL, None) is not None:
        return
    free = min((one.free_at for one in stops if one.free_at is not None), default=None)
    again = f" {free:%H:%M} UTC is the next try." if free else ""
    why = "; ".join(f"{one.provider}: {(one.kind or 'failing').replace('_', ' ')}" for one in stops)
    message = f"No provider answers: {why}.{again}"[:2_000]
    await tx.alerts.raise_alert(
        _ALL_FAIL, "critical", None, message, {"providers": list(stopped), "until": free and iso(free)}
    )


def usable(catalogue: Catalogue, presence: Mapping[str, Presence], mode: Mode | None) -> list[Provider]:
    """Turned on, of the mode's place, and there: a local server that is not running does not count as failing."""
    places = {Mode.CLOUD: (Place.CLOUD,), Mode.LOCAL: (Place.LOCAL,)}.get(mode or catalogue.mode, tuple(Place))
    return [
        one
        for one in catalogue.providers
        if one.enabled
        and one.place in places
        and not (one.place is Place.LOCAL and presence.get(one.name, UNKNOWN).found is False)
    ]
