"""What is known of providers and their token budgets: bars, what is left, and when it comes back."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from rich.text import Text

from wvo_mcp.domain.instant import instant
from wvo_mcp.faces.cli.views.paint import clean, span

WINDOWS = "budget~ period bar used_of_limit> resets"
"""The columns of a table of budgets."""

_BAR = 12
_STATE = {"closed": "green", "open": "red", "half_open": "yellow"}
_WORDS = {"open": "stopped", "half_open": "being tried"}
_NEARLY, _ALL = 0.8, 1.0


def name(window: Mapping[str, Any]) -> Text:
    """`claude`, `agent ann`."""
    scope = "" if window["scope"] in ("provider", "tier") else f"{clean(window['scope'])} "
    return Text.assemble((scope, "dim"), (clean(window["name"]), "bold"))


def bar(window: Mapping[str, Any], width: int = _BAR) -> Text:
    """Used, reserved, free: `█████▒▒░░░`. What is used at all shows at least one cell, and a rest that is left too."""
    limit = max(1, window["limit"])
    used, taken = window["used"] / limit, (window["used"] + window["reserved"]) / limit
    full = _cells(used, width)
    kept = max(full, _cells(taken, width))
    style = "red" if used >= _ALL else "yellow" if taken >= _NEARLY else "green"
    return Text.assemble(("█" * full, style), ("▒" * (kept - full), style), ("░" * (width - kept), "dim"))


def _cells(share: float, width: int) -> int:
    if share <= 0:
        return 0
    return width if share >= 1 else min(width - 1, max(1, round(share * width)))


def amount(tokens: int) -> str:
    """`950`, `12.5k`, `3.20M`: three digits."""
    for size, unit in ((1_000_000_000, "G"), (1_000_000, "M"), (1_000, "k")):
        if tokens >= size:
            return f"{tokens / size:.{0 if tokens >= 100 * size else 1 if tokens >= 10 * size else 2}f}{unit}"
    return str(tokens)


def used(window: Mapping[str, Any]) -> Text:
    """`85.0k of 150k`, with a `+` where the limit was raised."""
    taken = Text(f"{amount(window['used'])} of {amount(window['limit'])}")
    if not window.get("reported", True):
        taken = Text.assemble(("nothing reported", "yellow"), f" of {amount(window['limit'])}")
    return taken.append("+" if window["raised"] else "", "cyan")


def resets(window: Mapping[str, Any], now: datetime) -> Text:
    """`9 min (10:01)`, on the wall."""
    if window["resets_at"] is None:
        return Text("")
    at = instant(window["resets_at"]).astimezone()
    return Text.assemble(span(max(0.0, (at - now).total_seconds())), (f" ({at:%H:%M})", "dim"))


def condition(one: Mapping[str, Any], now: datetime) -> Text:
    """What is known of it, else until when it does not work and why."""
    if not one["enabled"]:
        return Text("off", "dim")
    lost = one["state"] == "closed" and one.get("found") is False
    shown = Text.assemble((clean(_WORDS.get(one["state"], one["state"])), _STATE.get(one["state"], "")))
    if one["state"] == "closed":
        shown = _there(one)
    for breaker in one["breakers"]:
        tier = f"{clean(breaker['tier'])} " if breaker["tier"] else ""
        kind = clean(breaker["kind"] or "failing").replace("_", " ")
        shown.append(f"  {tier}{kind}", "yellow")
        if breaker["until"] is not None:
            wait = (instant(breaker["until"]) - now).total_seconds()
            shown.append(f", next try in {span(wait)}" if wait > 0 else ", next try now", "dim")
    if lost and not one["breakers"] and one.get("note"):
        shown.append(f"  {clean(one['note'])}", "dim")
    return shown


def _there(one: Mapping[str, Any]) -> Text:
    """Whether it works is only known once a model has answered."""
    found, logged_in = one.get("found"), one.get("logged_in")
    if found is False:
        return Text("not found", "yellow")
    if found is None:
        return Text("unknown", "dim")
    if one["place"] == "local" and logged_in is None:
        return Text("answers", "green")
    if logged_in is None:
        return Text("installed, login unknown", "dim")
    return Text("logged in", "green") if logged_in else Text("installed, not logged in", "yellow")


def noteworthy(windows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Budgets that are used or nearly reserved, the tightest first. What a claim reserves says nothing until then."""
    some = [one for one in windows if one["used"] or one["reserved"] >= _NEARLY * one["limit"]]
    return sorted(some, key=lambda one: -(one["used"] + one["reserved"]) / max(1, one["limit"]))
