"""What one field of a result looks like on a terminal; it follows from its name."""

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, cast

from rich.text import Text

from wvo_mcp.domain.instant import instant

Row = Mapping[str, Any]

STATUS = {
    "pending": "default",
    "in_progress": "cyan",
    "in_review": "blue",
    "awaiting_approval": "magenta",
    "blocked": "yellow",
    "done": "green",
    "failed": "red",
    "cancelled": "dim",
}
_STYLES: Mapping[str, Mapping[str, str]] = {
    "status": STATUS,
    "became": {**STATUS, "landed": "green", "waiting": "yellow"},
    "state": {
        "merged": "green",
        "working": "green",
        "stuck": "red",
        **dict.fromkeys(("limited", "waiting_approval", "paused", "server_gone"), "yellow"),
        "landing": "cyan",
        "parked": "yellow",
        "conflict": "red",
        "red": "red",
        "withdrawn": "dim",
    },
    "severity": {"critical": "bold red", "warning": "yellow", "info": "dim"},
    "priority": {"critical": "bold red", "high": "yellow", "medium": "default", "low": "dim"},
}
NEARLY = 0.8
"""Share of a budget from which it is nearly used up."""

_BOLD = frozenset({"id", "entry_id", "task_id", "provider", "name", "topic"})
_ITEMS = frozenset({"acceptance", "assumptions", "warnings"})
_COMMITS = frozenset({"commit", "landed", "base"})
_PAST = frozenset({"created_at", "raised_at", "since", "started_at", "last_seen_at"})
_AHEAD = frozenset({"expires_at", "lease_expires_at", "until", "retry_at"})
_DISTANT = frozenset({"p50_at", "p90_at", "due_at", "done_at", "earliest_start"})
_TOKENS = frozenset({"hour", "day", "used", "limit", "left"})
_SHARES = frozenset({"utilisation", "wasted", "away", "waiting_share"})
_CURVE = 40
"""Columns of a curve at most, about."""
_LEVELS = "▁▂▃▄▅▆▇█"
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")
_INSTANT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


def cell(row: Row, name: str, now: datetime) -> Text:
    """One field of an object; `a.b` is b of its a."""
    if name in _MADE:
        return _MADE[name](row, now)
    if "." in name:
        above, _, name = name.rpartition(".")
        return cell(at(row, above) or {}, name, now)
    value = row.get(name)
    if value is None:
        return Text("stuck", "red") if name == "p50_at" else Text()
    if name.startswith("tokens") and row.get("reported") is False:
        return text("nothing reported", "dim")
    if name in _STYLES:
        return text(str(value).replace("_", " "), _STYLES[name].get(value, ""))
    if isinstance(value, str) and _INSTANT.fullmatch(value):
        seconds = (instant(value) - now).total_seconds()
        if name in _PAST:
            return Text(f"{span(seconds)} ago", "dim")
        if name not in _AHEAD:
            return text(local(value, seconds=name not in _DISTANT))
        past = Text(f"{span(seconds)} ago", "red")
        return past if seconds < 0 else Text(span(seconds), "yellow" if seconds < 60 else "")
    return text(_plain(name, value, now), "bold" if name in _BOLD else "")


def _plain(name: str, value: Any, now: datetime) -> str:
    match value:
        case bool():
            return "yes" if value else "no"
        case list():
            ids = (
                cast("Row", one).get("id", one) if isinstance(one, dict) else one for one in cast("list[Any]", value)
            )
            items = [_plain("", one, now) for one in ids]
            return "\n".join(f"- {item}" for item in items) if name in _ITEMS else joined(items)
        case {"mean": float(mean), "margin": float(margin)}:
            return f"{mean:,.1f} \u00b1{margin:,.1f}"
        case dict():
            row = cast("dict[str, Any]", value)
            return joined([f"{key}={cell(row, key, now).plain}" for key in row])
        case str() if name in _COMMITS:
            return value[:12]
        case str() | None:
            return value or ""
        case _ if name == "progress":
            return f"{value} %"
        case _ if name.startswith("cost_of"):
            return f"{value:,.0f}"
        case _ if name.startswith("cost"):
            return f"${value:,.2f}"
        case _ if name.startswith("tokens") or name in _TOKENS:
            return amount(value)
        case _ if name == "bytes":
            return f"{value / (1 << 20):,.1f} MB"
        case _ if name.startswith("chance"):
            return f"{value:.0%}"
        case _ if name in _SHARES:
            return f"{value:.1%}"
        case _ if name.endswith("seconds") or name == "retry_after":
            return span(value)
        case _ if name.endswith("_hours"):
            return f"{value:,.1f}"
        case _:
            return f"{value:.2f}" if isinstance(value, float) else str(value)


def clean(value: Any) -> str:
    """Text that cannot steer the terminal: control characters and direction marks become visible dots."""
    return _CONTROL.sub("\u00b7", str(value))


def text(value: Any, style: str = "") -> Text:
    """Verbatim: what agents wrote is not markup."""
    return Text(clean(value), style=style)


def joined(items: Sequence[str]) -> str:
    """`a, b, c +4`."""
    return ", ".join(map(clean, items[:20])) + (f" +{len(items) - 20}" if len(items) > 20 else "")


def at(value: Any, path: str) -> Any:
    """`a.b` is b of a, or the b of all of a list; `a.0` is its first."""
    for name in path.split("."):
        if isinstance(value, list):
            rows = cast("list[Row]", value)
            value = rows[int(name)] if name.isdigit() else [one for row in rows for one in row[name]]
        else:
            value = value and value.get(name)
    return value


def local(at: str, *, seconds: bool = False) -> str:
    """A point in time as the clock on the wall has it: `2027-01-15 09:30`."""
    return f"{instant(at).astimezone():%Y-%m-%d %H:%M{':%S' if seconds else ''}}"


def clock(at: str, now: datetime, *, seconds: bool = False) -> str:
    """The same, without the day when that is today."""
    return local(at, seconds=seconds).removeprefix(f"{now.astimezone():%Y-%m-%d} ")


def span(seconds: float) -> str:
    """`4 s`, `12 min`, `3 h 5 min`, `2 d`; whole units, for people."""
    whole = int(abs(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min"
    if whole < 86_400:
        minutes = whole % 3600 // 60
        return f"{whole // 3600} h" + (f" {minutes} min" if minutes else "")
    return f"{whole // 86_400} d"


def amount(tokens: int) -> str:
    """`950`, `12.5k`, `3.20M`: three digits."""
    for size, unit in ((1_000_000_000, "G"), (1_000_000, "M"), (1_000, "k")):
        if tokens >= size:
            return f"{tokens / size:.{0 if tokens >= 100 * size else 1 if tokens >= 10 * size else 2}f}{unit}"
    return str(tokens)


def sparkline(values: Sequence[int]) -> str:
    """A column per value, its height the share of the greatest one; nothing at all is a line at the bottom."""
    greatest = max(values, default=0)
    return "".join(_LEVELS[max(1, -(-7 * value // greatest))] if value else _LEVELS[0] for value in values)


def bar(window: Row, width: int = 12) -> Text:
    """Used, reserved, free: `█████▒▒░░░`. What is used at all shows at least one cell, and a rest that is left too."""
    limit = max(1, window["limit"])
    used, taken = window["used"] / limit, (window["used"] + window["reserved"]) / limit
    full, kept = (
        width if share >= 1 else min(width - 1, max(1, round(share * width))) if share > 0 else 0
        for share in (used, taken)
    )
    style = "red" if used >= 1 else "yellow" if taken >= NEARLY else "green"
    return Text.assemble(("█" * full, style), ("▒" * (kept - full), style), ("░" * (width - kept), "dim"))


def condition(one: Row, now: datetime) -> Text:
    """What is known of a provider, else until when it does not work and why. Whether it works is only known once a model
    answered."""
    if not one["enabled"]:
        return Text("off", "dim")
    found, logged_in = one.get("found"), one.get("logged_in")
    states = (
        (one["state"] == "open", "stopped", "red"),
        (one["state"] == "half_open", "being tried", "yellow"),
        (found is None, "unknown", "dim"),
        (not found, "not found", "yellow"),
        (logged_in, "logged in", "green"),
        (logged_in is False, "installed, not logged in", "yellow"),
        (one.get("place") == "local", "answers", "green"),
        (True, "installed, login unknown", "dim"),
    )
    shown = Text.assemble(next((words, style) for applies, words, style in states if applies))
    if shown.plain == "not found" and one.get("note") and not one["breakers"]:
        shown.append(f"  {clean(one['note'])}", "dim")
    for breaker in one["breakers"]:
        tier = f"{clean(breaker['tier'])} " if breaker["tier"] else ""
        shown.append(f"  {tier}{clean(breaker['kind'] or 'failing').replace('_', ' ')}", "yellow")
        if breaker["until"] is not None:
            wait = (instant(breaker["until"]) - now).total_seconds()
            shown.append(f", next try in {span(wait)}" if wait > 0 else ", next try now", "dim")
    return shown


def _budget(window: Row, now: datetime) -> Text:
    """`claude`, `agent ann`."""
    scope = "" if window["scope"] in ("provider", "tier") else f"{clean(window['scope'])} "
    return Text.assemble((scope, "dim"), (clean(window["name"]), "bold"))


def _used(window: Row, now: datetime) -> Text:
    """`85.0k of 150k`, with a `+` where the limit was raised."""
    known = (amount(window["used"]), "") if window.get("reported", True) else ("nothing reported", "yellow")
    return Text.assemble(known, f" of {amount(window['limit'])}", ("+" if window["raised"] else "", "cyan"))


def _resets(window: Row, now: datetime) -> Text:
    """`9 min (10:01)`, on the wall."""
    if window["resets_at"] is None:
        return Text()
    end = instant(window["resets_at"]).astimezone()
    return Text.assemble(span(max(0.0, (end - now).total_seconds())), (f" ({end:%H:%M})", "dim"))


def _busy_for(agent: Row, now: datetime) -> Text:
    since = agent["assigned_at"] if agent["status"] == "busy" else None
    return Text() if since is None else text(span((now - instant(since)).total_seconds()))


def _remaining(task: Row, now: datetime) -> Text:
    return text("server gone", "yellow") if task.get("server_gone") else cell(task, "lease_expires_at", now)


def _worth(row: Row, now: datetime) -> Text:
    """`12 for 5`: what the task and all that it brings nearer is worth, for how much work; of that, what is due."""
    why = row["why"]
    worth = why["business_value"] + why["time_criticality"] + why["unlock_value"]
    due = f", due {why['time_criticality']:.1f}" if why["time_criticality"] else ""
    path = f", path +{why['path_value']:.2f}" if why["path_value"] >= 0.005 else ""
    return Text(f"{worth:.3g} for {why['complexity'] + why['unlock_size']:.3g}{due}{path}", "dim")


def _time(row: Row, now: datetime) -> Text:
    return text(clock(row["at"], now, seconds=True))


def _details(row: Row, now: datetime) -> Text:
    """What an event says: what people wrote comes first, for the end may not fit."""
    data: Row = row.get("data") or {}
    prose = ("title", "summary", "reason", "error", "note")
    said = [f"{data[name]}" for name in prose if data.get(name)]
    moved = [f"{data['from']} > {data['to']}"] if data.get("from") and data.get("to") else []
    shown = (*prose, "digest", *(("from", "to") if moved else ()))
    rest = {name: value for name, value in data.items() if name not in shown and value is not None}
    return text("; ".join([*said, *moved, *([_plain("", rest, now)] if rest else [])]))


def _done(milestone: Row, now: datetime) -> Text:
    late = f", {span(milestone['late_hours'] * 3600)} late" if milestone["late_hours"] else ""
    return text(f"{milestone['open']} open" if milestone["open"] else f"{local(milestone['done_at'])}{late}")


def _curve(of: str) -> Callable[[Row, datetime], Text]:
    def drawn(row: Row, now: datetime) -> Text:
        points = row["curve"][:: max(1, len(row["curve"]) // _CURVE)]
        return Text(sparkline([point[of] for point in points]))

    return drawn


_MADE: Mapping[str, Callable[[Row, datetime], Text]] = {
    "budget": _budget,
    "bar": lambda row, now: bar(row),
    "used_of_limit": _used,
    "resets": _resets,
    "condition": condition,
    "assigned_at": _busy_for,
    "remaining": _remaining,
    "worth": _worth,
    "time": _time,
    "details": _details,
    "done_or_open": _done,
    "tasks_left": _curve("remaining"),
    "agents_busy": _curve("busy"),
}
"""Columns that are made of several fields."""
