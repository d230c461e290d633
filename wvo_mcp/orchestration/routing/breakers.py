"""Failures and successes of providers, as all servers remember them: breakers, their events, the alert when none is left."""

import hashlib
from collections.abc import Collection, Iterable, Mapping
from datetime import datetime
from typing import Any

from wvo_mcp.domain.health import AnomalyKind
from wvo_mcp.domain.instant import iso
from wvo_mcp.domain.providers.breaker import (
    ANSWERED,
    TRIPPING,
    Breaker,
    BreakerState,
    failed,
    reset,
    scope_of,
    succeeded,
    undecided,
    worst,
)
from wvo_mcp.domain.providers.catalogue import Catalogue, Mode, Place, Provider
from wvo_mcp.domain.providers.signals.reading import Signal
from wvo_mcp.domain.providers.state import UNKNOWN, Presence
from wvo_mcp.orchestration.routing.router import Router
from wvo_mcp.ports import Transaction
from wvo_mcp.ports.providers import Spent, TaskRoute

REPORTED, REROUTED = "provider.reported", "task.rerouted"
_BEGINS = ("task.claimed", REROUTED)
_LOOKED_AT = 50


async def reported(tx: Transaction, task_id: str) -> list[tuple[str, str]]:
    """(provider, tier) of each report since the task was given its present route, the latest first. A route is advice: who
    reports another provider did the work with that one."""
    found: list[tuple[str, str]] = []
    for event in reversed(await tx.events.of_task(task_id, _LOOKED_AT)):
        if event.kind in _BEGINS:
            break
        if event.kind == REPORTED:
            found.append((event.data["provider"], event.data["tier"]))
    return found


async def note(tx: Transaction, spent: Spent, **more: Any) -> None:
    """Append the event of a report."""
    data: dict[str, Any] = {"provider": spent.provider, "tier": spent.tier, "model": spent.model}
    data |= {"tokens_in": spent.tokens_in, "tokens_out": spent.tokens_out, "tokens_cached": spent.tokens_cached}
    data |= {"tokens": spent.counted, "cost": round(spent.cost, 6)}
    await tx.events.append(REPORTED, spent.task_id, data | more)


OPENED, RECOVERED = "provider.opened", "provider.recovered"
_CLOSED = BreakerState.CLOSED


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
    if signal.kind in ANSWERED:
        tried = [one for one in known.values() if one.provider == provider and one.probe_task == task_id is not None]
        await _success(tx, tried, task_id, began)
        return None
    scope = (provider, scope_of(signal, tier))
    for key, one in known.items():
        if one.probe_task == task_id is not None and (key != scope or signal.kind not in TRIPPING):
            known[key] = undecided(one, tx.now)
            await tx.routing.put_breaker(known[key])
    if signal.kind not in TRIPPING:
        return None
    before = known.get(scope, Breaker(*scope))
    after = failed(before, signal, tx.now, _draw(tx, before), task_id=task_id, began=began)
    if after is before:
        return after
    await tx.routing.put_breaker(after)
    known[scope] = after
    if after.state is BreakerState.OPEN and after.opened_at == tx.now:
        opening = {"kind": after.kind, "until": _at(after.until), "reason": after.reason, "openings": after.failures}
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
    await _success(tx, [one for one in mine if speaks_for(one)], task_id, began)


async def reset_by_person(tx: Transaction, provider: str, tier: str) -> None:
    """A person has paid, or logged in: all that stops the provider is over, or what stops the tier."""
    known = await tx.routing.breakers()
    mine = [one for one in known if one.provider == provider and (not tier or one.tier in ("", tier))]
    await _success(tx, mine, None, None, by_person=True)


async def done(tx: Transaction, task_id: str, tried: Collection[Breaker]) -> None:
    """The task was done; `tried` are the breakers that it speaks for, unless all that was reported is of other providers."""
    if not tried:
        return
    workers = {provider for provider, _ in await reported(tx, task_id)}
    spoken = [one for one in tried if not workers or one.provider in workers]
    for one in tried:
        if one not in spoken and one.probe_task == task_id:
            await tx.routing.put_breaker(undecided(one, tx.now))
    await _success(tx, spoken, task_id, None)


async def _success(
    tx: Transaction,
    breakers: Iterable[Breaker],
    task_id: str | None,
    began: datetime | None,
    *,
    by_person: bool = False,
) -> None:
    recovered: set[str] = set()
    for before in breakers:
        after = reset(before, tx.now) if by_person else succeeded(before, tx.now, task_id=task_id, began=began)
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
        await tx.alerts.resolve_alert(AnomalyKind.ALL_PROVIDERS_FAILING.value, None)


async def alert_when_all_fail(tx: Transaction, router: Router, breakers: Mapping[tuple[str, str], Breaker]) -> bool:
    """Raise the critical alert when no provider that may be used is left. One that is open already stays as it is: the
    health cycle keeps it fresh. Is none left?"""
    catalogue = router.catalogue
    if catalogue is None:
        return False
    stopped = all_stopped(catalogue, router.presence, await router.mode(), breakers)
    if not stopped:
        return False
    if await tx.alerts.find(AnomalyKind.ALL_PROVIDERS_FAILING.value, None) is None:
        free = [one.free_at for one in stopped.values() if one.free_at is not None]
        again = f" {min(free):%H:%M} UTC is the next try." if free else ""
        why = "; ".join(f"{name}: {(one.kind or 'failing').replace('_', ' ')}" for name, one in stopped.items())
        evidence = {"providers": list(stopped), "until": _at(min(free, default=None))}
        message = f"No provider answers: {why}.{again}"[:2_000]
        await tx.alerts.raise_alert(AnomalyKind.ALL_PROVIDERS_FAILING.value, "critical", None, message, evidence)
    return True


def all_stopped(
    catalogue: Catalogue,
    presence: Mapping[str, Presence],
    mode: Mode | None,
    breakers: Mapping[tuple[str, str], Breaker],
) -> dict[str, Breaker]:
    """What stops each of the providers that may be used; empty while one of them is not stopped, or there is none."""
    found: dict[str, Breaker] = {}
    for provider in usable(catalogue, presence, mode):
        one = worst(provider.name, [tier.value for tier in provider.tiers], breakers)
        if one is None:
            return {}
        found[provider.name] = one
    return found


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


def _draw(tx: Transaction, breaker: Breaker) -> float:
    """From [0, 1), as if by lot: different for every session, breaker and moment, and the same when a transaction is tried
    again."""
    seed = f"{tx.caller.session_id} {breaker.provider} {breaker.tier} {breaker.failures} {iso(tx.now)}"
    return int.from_bytes(hashlib.sha256(seed.encode()).digest()[:6]) / 2**48


def _at(at: datetime | None) -> str | None:
    return None if at is None else iso(at)
