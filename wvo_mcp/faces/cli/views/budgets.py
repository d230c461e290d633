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
    """What is known of it, else until when it does not work and why. Whether it works is only known once a model answered."""
    match (bool(one["enabled"]), one["state"], one.get("found"), one.get("logged_in")):
        case (False, *_):
            return Text("off", "dim")
        case (_, "open", *_):
            shown = Text.assemble(("stopped", "red"))
        case (_, "half_open", *_):
            shown = Text.assemble(("being tried", "yellow"))
        case (_, _, None, _):
            shown = Text.assemble(("unknown", "dim"))
        case (_, _, False, _):
            note = one.get("note") if not one["breakers"] else None
            shown = Text.assemble(("not found", "yellow"), (f"  {clean(note)}" if note else "", "dim"))
        case (_, _, _, True):
            shown = Text.assemble(("logged in", "green"))
        case (_, _, _, False):
            shown = Text.assemble(("installed, not logged in", "yellow"))
        case _ if one["place"] == "local":
            shown = Text.assemble(("answers", "green"))
        case _:
            shown = Text.assemble(("installed, login unknown", "dim"))
    for breaker in one["breakers"]:
        tier = f"{clean(breaker['tier'])} " if breaker["tier"] else ""
        kind = clean(breaker["kind"] or "failing").replace("_", " ")
        shown.append(f"  {tier}{kind}", "yellow")
        if breaker["until"] is not None:
            wait = (instant(breaker["until"]) - now).total_seconds()
            shown.append(f", next try in {span(wait)}" if wait > 0 else ", next try now", "dim")
    return shown


def noteworthy(windows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Budgets that are used or nearly reserved, the tightest first. What a claim reserves says nothing until then."""
    some = [one for one in windows if one["used"] or one["reserved"] >= _NEARLY * one["limit"]]
    return sorted(some, key=lambda one: -(one["used"] + one["reserved"]) / max(1, one["limit"]))
