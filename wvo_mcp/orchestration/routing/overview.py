"""The state of all providers: what people see of it, and what the health cycle judges."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from wvo_mcp.domain.health import BUDGETS
from wvo_mcp.domain.instant import iso
from wvo_mcp.domain.lease import Caller
from wvo_mcp.domain.providers.breaker import Breaker, BreakerState, worst
from wvo_mcp.domain.providers.catalogue import Catalogue, Mode, Place, Provider
from wvo_mcp.domain.providers.state import (
    NOTHING,
    UNKNOWN,
    Presence,
    RoutingState,
    Use,
    Window,
    tightest,
    uses_by_place,
    windows_of_providers,
)
from wvo_mcp.errors import InvalidInput
from wvo_mcp.orchestration.leader import LeaderJob, LeaderTerm
from wvo_mcp.orchestration.routing import budgets
from wvo_mcp.orchestration.routing.breakers import usable
from wvo_mcp.ports import Store, Transaction
from wvo_mcp.ports.providers import Providers


@dataclass(frozen=True, slots=True)
class ProviderState:
    """One provider, as people see it. `share`: of all attempts of the day, in percent; `target` of hybrid mode."""

    provider: Provider
    found: bool | None
    logged_in: bool | None
    note: str
    breakers: tuple[Breaker, ...]
    """Those that are not closed."""
    stopped: Breaker | None
    """What keeps all of it from being used."""
    windows: tuple[Window, ...]
    use: Use
    share: float
    target: float | None


@dataclass(frozen=True, slots=True)
class Overview:
    mode: Mode
    providers: tuple[ProviderState, ...]
    uses: Mapping[Place, Use]
    state: RoutingState


async def overview(tx: Transaction, catalogue: Catalogue, presence: Mapping[str, Presence]) -> Overview:
    state = await tx.routing.state("")
    known = [one for one in await tx.routing.breakers() if one.state is not BreakerState.CLOSED]
    by_key = {(one.provider, one.tier): one for one in known}
    windows = [
        replace(window, resets_at=await budgets.empty_at(tx, window))
        for window in windows_of_providers(catalogue, state)
    ]
    uses = uses_by_place(catalogue, state)
    attempts = sum(use.attempts for use in uses.values())
    found: list[ProviderState] = []
    for provider in catalogue.providers:
        use = state.providers.get(provider.name, NOTHING)
        seen = presence.get(provider.name, UNKNOWN)
        names = {provider.name, *(f"{provider.name}/{tier}" for tier in provider.tiers)}
        found.append(
            ProviderState(
                provider,
                seen.found,
                seen.logged_in,
                seen.note,
                tuple(one for one in known if one.provider == provider.name),
                worst(provider.name, [tier.value for tier in provider.tiers], by_key),
                tuple(window for window in windows if window.name in names),
                use,
                100 * use.attempts / attempts if attempts else 0.0,
                _target(catalogue, provider),
            )
        )
    return Overview(state.mode or catalogue.mode, tuple(found), uses, state)


def _target(catalogue: Catalogue, provider: Provider) -> float | None:
    """Its own share, or its part of that of its place."""
    if not provider.enabled:
        return None
    if provider.share is not None:
        return provider.share
    peers = [one for one in catalogue.providers if one.enabled and one.place is provider.place]
    rest = catalogue.shares.get(provider.place, 0.0) - sum(one.share or 0.0 for one in peers)
    return max(0.0, rest) / max(1, sum(one.share is None for one in peers))


async def refresh(providers: Providers, store: Store, caller: Caller) -> None:
    """Before each health cycle. A broken file leaves everything as it was."""
    await providers.refresh()
    try:
        catalogue, presence = providers.current(), providers.presence()
    except InvalidInput:
        return
    await store.write(caller, lambda tx: publish(tx, catalogue, presence))


async def publish(tx: Transaction, catalogue: Catalogue, presence: Mapping[str, Presence]) -> None:
    """Write `provider_states` and the windows that are nearly used up; resolve the alert of budgets that have room."""
    seen = await overview(tx, catalogue, presence)
    there = {one.name for one in usable(catalogue, presence, seen.mode)}
    await tx.routing.put_states([_row(one) for one in seen.providers if one.provider.name in there])
    full = [window for one in seen.providers for window in one.windows if window.share >= catalogue.warn_at]
    full += [
        window
        for window in await budgets.windows_of_agents(tx, catalogue, seen.state)
        if window.share >= catalogue.warn_at
    ]
    # Without the time at which an hour has emptied, which moves on with every minute.
    names = ("scope", "name", "period", "used", "limit")
    windows = [{name: getattr(window, name) for name in names} for window in full]
    warnings = {"warn_at": catalogue.warn_at, "windows": windows}
    if await tx.state.get(BUDGETS) != warnings:
        await tx.state.put(BUDGETS, warnings)
    await budgets.resolve_when_free(tx, catalogue)


def _row(one: ProviderState) -> dict[str, Any]:
    """`open` while nothing of the provider can be used but by a probe: it has recovered when that has succeeded."""
    window = tightest(one.windows)
    stopped = one.stopped
    reason = None if stopped is None else f"{stopped.state.value.replace('_', '-')}: {stopped.reason or stopped.kind}"
    resets_at = stopped.free_at if stopped is not None else None if window is None else window.resets_at
    return {
        "provider": one.provider.name,
        "state": "closed" if stopped is None else "open",
        "used": 0 if window is None else window.used,
        "capacity": None if window is None else window.limit,
        "resets_at": None if resets_at is None else iso(resets_at),
        "reason": reason,
    }


PROVIDERS_FILE = "providers_file"
TRUST = "trust"


def file_check(providers: Providers) -> LeaderJob:
    return LeaderJob(PROVIDERS_FILE, 0, partial(_check_file, providers))


async def _check_file(providers: Providers, term: LeaderTerm) -> None:
    """Critical while there is no good version at all, for then nothing is given to anybody."""
    await providers.refresh()
    problem, unaccepted = providers.problem(), providers.unaccepted()
    severity = _severity(providers)
    untrusted = unaccepted is not None and problem == f"{unaccepted}."  # nothing else is wrong with the file
    broken = None if problem is None or untrusted else (severity, _message(problem, severity))
    await _show(term, PROVIDERS_FILE, broken)
    await _show(term, TRUST, None if unaccepted is None else (severity if untrusted else "warning", unaccepted))


async def _show(term: LeaderTerm, kind: str, alert: tuple[str, str] | None) -> None:
    """The open alert of the kind says this, or there is none."""

    async def open_one(tx: Transaction) -> tuple[str, str] | None:
        row = await tx.alerts.find(kind, None)
        return None if row is None else (row["severity"], row["message"])

    async def write(tx: Transaction) -> None:
        if alert is None:
            await tx.alerts.resolve_alert(kind, None)
        else:
            await tx.alerts.raise_alert(kind, alert[0], None, alert[1])

    if await term.read(term.caller, open_one) != alert:
        await term.write(term.caller, write)


def _severity(providers: Providers) -> str:
    try:
        providers.current()
    except InvalidInput:
        return "critical"
    return "warning"


def _message(problem: str, severity: str) -> str:
    so = "the last good version is used" if severity == "warning" else "no task can be claimed until it is fixed"
    return f"{problem[:1_800].rstrip('.')} ({so})"
