"""Providers and their token budgets, on a terminal: bars, what is left, and when it comes back."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from rich.console import Console, ConsoleOptions, Group, RenderableType
from rich.padding import Padding
from rich.text import Text

from wvo_mcp.domain.instant import instant
from wvo_mcp.faces.cli.views.paint import Listing, clean, label, left, local, pairs, span, text

BAR = 16
_WIDE = 90
_GAUGES = 4
_STATE = {"closed": "green", "open": "red", "half_open": "yellow"}
_WORDS = {"open": "stopped", "half_open": "being tried"}
_NEARLY, _ALL = 0.8, 1.0


def bar(window: dict[str, Any], width: int = BAR) -> Text:
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


@dataclass(frozen=True, slots=True)
class Windows:
    """A table of budgets that shows less where the terminal is narrow."""

    rows: Sequence[dict[str, Any]]
    now: datetime

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        wide = options.max_width >= _WIDE
        more = ("reserved>", "left>") if wide else ()
        listing = Listing("budget~", "", "", "used of limit>", *more, "resets")
        for one in self.rows:
            name = text(one["name"], "bold")
            if one["scope"] not in ("provider", "tier"):
                name = Text.assemble((f"{clean(one['scope'])} ", "dim"), name)
            taken = Text(f"{amount(one['used'])} of {amount(one['limit'])}")
            if not one.get("reported", True):
                taken = Text.assemble(("nothing reported", "yellow"), f" of {amount(one['limit'])}")
            if one["raised"]:
                taken.append(f" (+{amount(one['raised'])})" if wide else "+", "cyan")
            cells: list[Text | str] = [name, text(one["period"], "dim"), bar(one, BAR if wide else 12), taken]
            if wide:
                cells.append(text(amount(one["reserved"]) if one["reserved"] else "", "dim"))
                cells.append(text(amount(one["left"]), "" if one["left"] else "red"))
            listing.add(*cells, _resets(one, self.now))
        yield listing.table


def windows(rows: Iterable[dict[str, Any]], now: datetime) -> RenderableType:
    return Windows(list(rows), now)


def _resets(window: dict[str, Any], now: datetime) -> Text:
    """`9 min (10:01)`, on the wall."""
    if window["resets_at"] is None:
        return Text("")
    at = instant(window["resets_at"]).astimezone()
    return Text.assemble(span(max(0.0, (at - now).total_seconds())), (f" ({at:%H:%M})", "dim"))


def state(one: dict[str, Any], now: datetime) -> Text:
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


def _there(one: dict[str, Any]) -> Text:
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


@dataclass(frozen=True, slots=True)
class _Providers:
    """One line each, with less of the day where the terminal is narrow."""

    rows: Sequence[dict[str, Any]]
    now: datetime

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        wide = options.max_width >= _WIDE
        more = ("cost>", "attempts>", "share>", "target>") if wide else ()
        listing = Listing("provider", "place", "state~", "hour>", "today>", *more)
        for one in self.rows:
            cells: list[Text | str] = [
                text(one["name"], "bold" if one["enabled"] else "dim"),
                text(one["place"], "dim"),
                state(one, self.now),
                amount(one["tokens_hour"]) if one["reported"] else "",
                amount(one["tokens_day"]) if one["reported"] else text("nothing reported", "dim"),
            ]
            if wide:
                target = "" if one["target"] is None else f"{one['target']:.0f} %"
                cells += [f"${one['cost_day']:.2f}", str(one["attempts_day"]), f"{one['share']:.0f} %", target]
            listing.add(*cells)
        yield listing.table


def status(result: dict[str, Any]) -> RenderableType:
    now = instant(result["at"])
    totals = result["totals"]
    head = Text.assemble(
        "Mode ",
        (clean(result["mode"]), "bold"),
        ". Today: ",
        ", ".join(
            f"{place} {side['attempts_day']} attempts ({side['share']:.0f} % of {side['target']:.0f} %),"
            f" {amount(side['tokens_day'])} tokens, ${side['cost_day']:.2f}"
            for place, side in totals.items()
        ),
    )
    parts: list[RenderableType] = [head, Text(), _Providers(result["providers"], now)]
    rows = [window for one in result["providers"] for window in one["windows"]]
    parts += [Text(), windows(rows, now)] if rows else [Text(), Text("No limits are set in providers.yaml.", "dim")]
    models = [(one["name"], ", ".join(f"{tier} {name}" for tier, name in one["tiers"].items())) for one in _on(result)]
    parts += [Text(), label("Models"), Padding(pairs(models), (0, 0, 0, 2))]
    if result["problem"]:
        parts += [Text(), text(result["problem"], "red")]
    return Group(*parts)


def _on(result: dict[str, Any]) -> list[dict[str, Any]]:
    return [one for one in result["providers"] if one["enabled"]]


def gauges(providers: dict[str, Any], now: datetime) -> list[RenderableType]:
    """For the status screen: budgets as bars, and whatever does not work; nothing when there is nothing to tell."""
    parts: list[RenderableType] = [
        Text.assemble((clean(one["name"]), "bold"), "  ", state({**one, "enabled": True}, now))
        for one in providers["providers"]
        if one["breakers"]
    ]
    rows = [window for one in providers["providers"] for window in one["windows"]]
    # What a claim reserves says nothing yet, until it comes near the limit.
    used = [one for one in rows if one["used"] or one["reserved"] >= _NEARLY * one["limit"]]
    tight = sorted(used, key=lambda one: -(one["used"] + one["reserved"]) / max(1, one["limit"]))[:_GAUGES]
    if tight:
        parts.append(windows([one for one in rows if one in tight], now))
    if len(used) > len(tight):
        parts.append(Text(f"{len(used) - len(tight)} with more room: wvo-mcp budget show", "dim"))
    return parts


def shown(result: dict[str, Any]) -> RenderableType:
    now = instant(result["at"])
    parts: list[RenderableType] = []
    parts.append(
        windows(result["windows"], now)
        if result["windows"]
        else Text("No limits are set in providers.yaml: nothing is stopped by a budget.", "dim")
    )
    if result["raises"]:
        raised = Listing("raised~", "", "tokens>", "for another", "by", "reason~")
        for one in result["raises"]:
            raised.add(
                text(f"{one['scope']} {one['name']}", "bold"),
                text(one["period"], "dim"),
                text(f"+{amount(one['tokens'])}", "cyan"),
                left(one["until"], now),
                text(one["by_agent"]),
                text(one["reason"], "dim"),
            )
        parts += [Text(), raised.table]
    if result["agents"]:
        agents = Listing("most today~", "hour>", "day>", "cost>")
        for one in result["agents"]:
            agents.add(text(one["agent_id"]), amount(one["hour"]), amount(one["day"]), f"${one['cost']:.2f}")
        parts += [Text(), agents.table]
    return Group(*parts)


def raised(result: dict[str, Any]) -> RenderableType:
    parts: list[RenderableType] = [
        Text.assemble(
            ("Raised ", "green"), f"by {amount(one['tokens'])} tokens a {one['period']} until {local(one['until'])}."
        )
        for one in result["raised"]
    ]
    parts.append(windows(result["windows"], datetime.now().astimezone()))
    if result["resolved"]:
        parts.append(Text("The alert that asked for it is over.", "dim"))
    return Group(*parts)


def reported(result: dict[str, Any]) -> RenderableType:
    counted, failure, route = result["counted"], result["classification"], result["route"]
    tier = f" {clean(result['tier'])}" if result["tier"] else ""
    head = Text.assemble(
        ("Counted ", "green"),
        f"{counted['tokens']:,} tokens, ${counted['cost']:.4f}, for {clean(result['provider'])}{tier}",
    )
    budget = result["budget"]
    facts = pairs(
        [
            (
                "failure",
                None if failure is None else f"{failure['kind'].replace('_', ' ')}: {clean(failure['message'])}",
            ),
            ("breaker", None if result["breaker"] is None else result["breaker"]["state"].replace("_", "-")),
            ("goes on with", None if route is None else f"{route['provider']} {route['tier']}  {route['model']}"),
            ("why", result["explanation"] if route is None else route["reason"]),
            ("try again in", None if result["retry_after"] is None else span(result["retry_after"])),
            (
                "left",
                None
                if budget is None
                else f"{amount(budget['left'])} of {amount(budget['limit'])} tokens, {budget['scope']} {budget['name']},"
                f" {budget['period']}",
            ),
        ]
    )
    return Group(head, Padding(facts, (0, 0, 0, 2)))
