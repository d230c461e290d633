"""The state of all providers: what people see of it, what the health cycle judges, and what is wrong with their file."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial

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
    windows_of_provider,
)
from wvo_mcp.errors import InvalidInput
from wvo_mcp.orchestration.leader import LeaderJob, LeaderTerm, settle_alerts
from wvo_mcp.orchestration.routing import budgets
from wvo_mcp.orchestration.routing.breakers import usable
from wvo_mcp.orchestration.routing.windows import empty_at, windows_of_agents
from wvo_mcp.ports import Store, Transaction
from wvo_mcp.ports.providers import Providers

PROVIDERS_FILE = "providers_file"
TRUST = "trust"


@dataclass(frozen=True, slots=True)
class ProviderState:
    """One provider, as people see it. `share`: of all attempts of the day, in percent; `target` of hybrid mode."""

    provider: Provider
    seen: Presence
    breakers: list[Breaker]
    """Those that are not closed."""
    stopped: Breaker | None
    """What keeps all of it from being used."""
    windows: list[Window]
    use: Use
    share: float
    target: float | None


@dataclass(frozen=True, slots=True)
class Overview:
    mode: Mode
    providers: list[ProviderState]
    uses: Mapping[Place, Use]
    state: RoutingState


async def overview(tx: Transaction, catalogue: Catalogue, presence: Mapping[str, Presence]) -> Overview:
    state = await tx.routing.state("")
    known = {
        (one.provider, one.tier): one for one in await tx.routing.breakers() if one.state is not BreakerState.CLOSED
    }
    uses = uses_by_place(catalogue, state)
    attempts = sum(use.attempts for use in uses.values())
    found: list[ProviderState] = []
    for provider in catalogue.providers:
        use = state.providers.get(provider.name, NOTHING)
        windows = windows_of_provider(state, provider, provider.tiers)
        found.append(
            ProviderState(
                provider,
                presence.get(provider.name, UNKNOWN),
                [one for one in known.values() if one.provider == provider.name],
                worst(provider.name, [tier.value for tier in provider.tiers], known),
                [replace(window, resets_at=await empty_at(tx, window)) for window in windows],
                use,
                100 * use.attempts / max(1, attempts),
                _target(catalogue, provider),
            )
        )
    return Overview(state.mode or catalogue.mode, found, uses, state)


def _target(catalogue: Catalogue, provider: Provider) -> float | None:
    """Its own share, or its part of that of its place."""
    if not provider.enabled or provider.share is not None:
        return provider.share if provider.enabled else None
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
    await store.write(caller, lambda tx: _publish(tx, catalogue, presence))


async def _publish(tx: Transaction, catalogue: Catalogue, presence: Mapping[str, Presence]) -> None:
    """Write `provider_states` and the windows that are nearly used up; resolve the alert of budgets that have room."""
    seen = await overview(tx, catalogue, presence)
    there = {one.name for one in usable(catalogue, presence, seen.mode)}
    rows: list[dict[str, object]] = []
    for one in [one for one in seen.providers if one.provider.name in there]:
        # `open` while nothing of it can be used but by a probe: it has recovered when that has succeeded.
        window, stopped = tightest(one.windows), one.stopped
        resets_at = stopped.free_at if stopped is not None else None if window is None else window.resets_at
        row: dict[str, object] = {
            "provider": one.provider.name,
            "state": "closed" if stopped is None else "open",
            "used": 0 if window is None else window.used,
            "capacity": None if window is None else window.limit,
            "resets_at": None if resets_at is None else iso(resets_at),
            "reason": stopped and f"{stopped.state.replace('_', '-')}: {stopped.reason or stopped.kind}",
        }
        rows.append(row)
    await tx.routing.put_states(rows)
    known = [window for one in seen.providers for window in one.windows]
    known += await windows_of_agents(tx, catalogue, seen.state)
    # Without the time at which an hour has emptied, which moves on with every minute.
    names = ("scope", "name", "period", "used", "limit")
    full = [{name: getattr(window, name) for name in names} for window in known if window.share >= catalogue.warn_at]
    warnings = {"warn_at": catalogue.warn_at, "windows": full}
    if await tx.state.get(BUDGETS) != warnings:
        await tx.state.put(BUDGETS, warnings)
    await budgets.resolve_when_free(tx, catalogue)


def file_check(providers: Providers) -> LeaderJob:
    return LeaderJob(PROVIDERS_FILE, 0, partial(_check_file, providers))


async def _check_file(providers: Providers, term: LeaderTerm) -> None:
    """What is wrong with providers.yaml, or waits for a person, becomes an alert, and its end the end of the alert. Critical
    while there is no good version at all, for then nothing is given to anybody."""
    await providers.refresh()
    problem, unaccepted = providers.problem(), providers.unaccepted()
    try:
        providers.current()
        severity, so = "warning", "the last good version is used"
    except InvalidInput:
        severity, so = "critical", "no task can be claimed until it is fixed"
    untrusted = unaccepted is not None and problem == f"{unaccepted}."  # nothing else is wrong with the file
    wanted: dict[str, tuple[str, str] | None] = {
        PROVIDERS_FILE: None if problem is None or untrusted else (severity, f"{problem[:1_800].rstrip('.')} ({so})"),
        TRUST: None if unaccepted is None else (severity if untrusted else "warning", unaccepted),
    }

    await settle_alerts(term, wanted)
