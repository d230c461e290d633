"""Budgets that are used up: when there is room again, the alert that asks a person, and its end."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from wvo_mcp.domain.instant import instant, iso
from wvo_mcp.domain.providers.catalogue import Catalogue
from wvo_mcp.domain.providers.routing import PASSING, RouteDecision, Why
from wvo_mcp.domain.providers.state import DAY, HOUR, Window, free_at, midnight_after
from wvo_mcp.domain.redaction import redact
from wvo_mcp.domain.task import SETTLED
from wvo_mcp.domain.text import is_id, near
from wvo_mcp.errors import InvalidInput, NotFound
from wvo_mcp.orchestration.routing import raising
from wvo_mcp.orchestration.routing.breakers import alert_when_all_fail
from wvo_mcp.orchestration.routing.router import Router
from wvo_mcp.orchestration.routing.windows import empty_at, minutes_of, window_of
from wvo_mcp.ports import Transaction
from wvo_mcp.ports.providers import Providers

EXHAUSTED = "budget_exhausted"
"""The alert that asks a person."""
_AGAIN = timedelta(minutes=1)
"""An alert is repeated once in this time at most, however many agents claim meanwhile."""
_TRIED = timedelta(minutes=1)
"""When to claim again while a probe runs: it may have its answer soon, though it may take a quarter of an hour."""
_SHOWN = 20
_LOOKED_UP = 12
"""Windows whose end is looked up for one refusal: each costs a statement while the claim holds the store."""
_HINT = "Use a name of providers.yaml (wvo-mcp budget show)."
_Full = tuple[Window, int, datetime | None]
"""A window without room, the estimate that it has no room for, and when it will have."""


async def refused(tx: Transaction, router: Router, decision: RouteDecision, *, alert: bool) -> datetime | None:
    """When the first obstacle is over; None when that cannot be said. `alert` raises the
    alerts that a refusal calls for, each at most once a minute."""
    if router.catalogue is None:
        return decision.until
    free = [
        min(one.until, tx.now + _TRIED) if one.tried else one.until
        for one in decision.rejected
        if one.why in PASSING - {Why.BUDGET} and one.until is not None
    ]
    full: dict[tuple[str, str, str], _Full] = {}
    for one in decision.rejected:
        for window in one.full:
            if window.key not in full:
                minutes = await minutes_of(tx, window) if len(full) < _LOOKED_UP else None
                room_at = None if minutes is None else free_at(window, minutes, one.estimate, tx.now)
                full[window.key] = (window, one.estimate, room_at)
        times = [at for window in one.full if (at := full[window.key][2]) is not None]
        if times and len(times) == len(one.full):
            free.append(max(times))
    if alert and full:
        await _alert(tx, list(full.values()), router.asks_within)
    if alert and any(one.why is Why.BREAKER for one in decision.rejected):
        await alert_when_all_fail(tx, router, (await router.state()).breakers)
    return min(free, default=None)


async def alert_for(
    providers: Providers | None, agent_id: str, task_id: str, asks_within: timedelta, tx: Transaction
) -> None:
    """Raise the alerts of a refusal that was an error, whose own transaction was undone."""
    await tx.sessions.ensure()
    router = Router(tx, providers, agent_id)
    router.asks_within = asks_within
    task = await tx.tasks.find(task_id)
    decision = None if task is None else await router.decide(task)
    if decision is not None and decision.withheld:
        await refused(tx, router, decision, alert=True)


async def _alert(tx: Transaction, full: Sequence[_Full], asks_within: timedelta) -> None:
    known = await tx.alerts.find(EXHAUSTED, None)
    found = [_evidence(*one) for one in full]
    anew = False
    for (window, estimate, _), one in zip(full, found, strict=True):
        approval, new = await raising.ask(tx, window, estimate, asks_within) if one["spent"] else (None, False)
        if approval is not None:
            one |= {"approval_id": approval.approval_id, "sentence": f"{one['sentence']}; or: {approval.decide}"}
        anew = anew or new
    recent = known is not None and tx.now - instant(known["last_seen_at"]) < _AGAIN
    shown: list[Mapping[str, Any]] = known["evidence"].get("windows", []) if known is not None and recent else []
    keys = {window.key for window, _, _ in full}
    # Agents with limits of their own are refused in turn: what the alert said of another a moment ago still holds.
    others = [one for one in shown if (one["scope"], one["name"], one["period"]) not in keys]
    if recent and not anew and len(shown) - len(others) == len(keys):
        return
    windows = [*found, *others][:_SHOWN]
    parts = [one.get("sentence", one["command"]) for one in windows[:5]]
    more = f" (and {len(windows) - 5} more)" if len(windows) > 5 else ""
    message = f"Work waits for budget{more}. To let it go on: {' | '.join(parts)}"[:2_000]
    severity = "critical" if any(one.get("spent", True) for one in windows) else "warning"
    if anew and known is not None and known["severity"] == severity:  # people heard of it, but not of what is asked now
        await tx.alerts.resolve_alert(EXHAUSTED, None)
    await tx.alerts.raise_alert(EXHAUSTED, severity, None, message, {"windows": windows})


def _evidence(window: Window, estimate: int, at: datetime | None) -> dict[str, Any]:
    flag = "hourly" if window.period == HOUR else "daily"
    more = raising.more_for(window, estimate)
    command = shlex.join(["wvo-mcp", "budget", "raise", window.scope, window.name, f"--{flag}", str(more)])
    taken = f"{window.used:,} of {window.limit:,} tokens used, {window.reserved:,} reserved"
    when = f"there is room again at {at:%Y-%m-%d %H:%M} UTC" if at is not None else "running work holds the rest"
    shown = ("scope", "name", "period", "used", "reserved", "limit", "raised", "left", "reported")
    return {
        **{name: getattr(window, name) for name in shown},
        "resets_at": None if window.resets_at is None else iso(window.resets_at),
        "estimate": estimate,
        "room_at": None if at is None else iso(at),
        "command": command,
        "sentence": f"{window.scope} {window.name}, {window.period}: {taken}; {when}; {command}",
        # What only reservations fill is free when running work ends: no person need do anything.
        "spent": bool(window.used) and not replace(window, reserved=0).has_room(estimate),
    }


async def resolve_when_free(tx: Transaction, catalogue: Catalogue) -> bool:
    """Take back the alert when every window that it names has room by now, or no limit any more. Was it?"""
    await raising.void_stale(tx, catalogue)
    known = await tx.alerts.find(EXHAUSTED, None)
    if known is None:
        return False
    for one in known["evidence"].get("windows", []):
        if one["scope"] == "task":
            task = await tx.tasks.find(one["name"])
            if task is None or task.status in SETTLED:
                continue
        window = await window_of(tx, catalogue, one["scope"], one["name"], one["period"])
        if window is not None and not window.has_room(int(one["estimate"])):
            return False
    return await tx.alerts.resolve_alert(EXHAUSTED, None)


@dataclass(frozen=True, slots=True)
class Raised:
    """`raised`: {period, tokens, until}; `windows` as they are after it; `resolved`: the alert that asked for it is over."""

    raised: list[dict[str, Any]]
    windows: list[Window]
    resolved: bool


async def allow(
    tx: Transaction,
    catalogue: Catalogue,
    scope: str,
    name: str,
    more: Mapping[str, int],
    lasting: timedelta | None,
    reason: str,
) -> Raised:
    """A person lets work go on beyond limits: `more` tokens by period, for so long or to the end of the window. Raises
    InvalidInput and NotFound."""
    await _check(tx, catalogue, scope, name)
    raises: list[dict[str, Any]] = []
    for period, tokens in more.items():
        if await window_of(tx, catalogue, scope, name, period) is None:
            field = "hourly" if period == HOUR else "daily"
            raise InvalidInput(field, f"{scope} {name} has no {field} limit: nothing stops it")
        ends = tx.now + timedelta(hours=1) if period == HOUR else midnight_after(tx.now)
        until = ends if lasting is None else tx.now + lasting
        await tx.routing.allow(scope, name, period, tokens, until, redact(reason))
        await raising.void_raised(tx, scope, name, period)
        data = {"scope": scope, "name": name, "period": period, "tokens": tokens, "until": iso(until)}
        await tx.events.append("budget.raised", None, data | ({"reason": redact(reason)} if reason else {}))
        raises.append({"period": period, "tokens": tokens, "until": until})
    found = [await window_of(tx, catalogue, scope, name, period) for period in (HOUR, DAY)]
    windows = [replace(one, resets_at=await empty_at(tx, one)) for one in found if one is not None]
    return Raised(raises, windows, await resolve_when_free(tx, catalogue))


async def _check(tx: Transaction, catalogue: Catalogue, scope: str, name: str) -> None:
    names = [one.name for one in catalogue.providers]
    if scope == "tier":
        names = [f"{one.name}/{tier}" for one in catalogue.providers for tier in one.tiers]
    if scope in ("provider", "tier") and name not in names:
        raise NotFound(scope, name, near(name, names, 5), field="name", hint=_HINT)
    if scope in ("agent", "task") and not is_id(name):
        raise InvalidInput("name", f"{name} is not the id of {'an agent' if scope == 'agent' else 'a task'}")
    if scope == "task":
        await tx.tasks.get(name)
