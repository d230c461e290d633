"""Colours, times and texts on a terminal."""

import re
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from rich.table import Table
from rich.text import Text

from wvo_mcp.domain.instant import instant

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
SEVERITY = {"critical": "bold red", "warning": "yellow", "info": "dim"}
PRIORITY = {"critical": "bold red", "high": "yellow", "medium": "default", "low": "dim"}

_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def clean(value: Any) -> str:
    """Text that cannot steer the terminal: control characters and direction marks become visible dots."""
    return _CONTROL.sub("\u00b7", str(value))


def text(value: Any, style: str = "") -> Text:
    """Verbatim: what agents wrote is not markup."""
    return Text("" if value is None else clean(value), style=style)


def badge(status: str) -> Text:
    return text(status.replace("_", " "), STATUS.get(status, ""))


def label(value: str) -> Text:
    return text(value, "bold")


def joined(values: Iterable[Any] | None, limit: int = 8) -> str:
    """`a, b, c +4`."""
    items = [clean(value) for value in values or ()]
    more = f" +{len(items) - limit}" if len(items) > limit else ""
    return ", ".join(items[:limit]) + more


def local(at: str | None, *, seconds: bool = False) -> str:
    """A point in time as the clock on the wall has it: `2027-01-15 09:30`."""
    return "" if at is None else f"{instant(at).astimezone():%Y-%m-%d %H:%M{':%S' if seconds else ''}}"


def clock(at: str) -> str:
    """`09:30:05`, on the wall."""
    return f"{instant(at).astimezone():%H:%M:%S}"


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


def left(until: str | None, now: datetime | None = None) -> Text:
    """What is left until then: `in 9 min`, or `12 s over`."""
    if until is None:
        return Text("")
    seconds = (instant(until) - (now or datetime.now(UTC))).total_seconds()
    return (
        Text(f"{span(seconds)} over", "red") if seconds < 0 else Text(span(seconds), "yellow" if seconds < 60 else "")
    )


def ago(at: str | None, now: datetime | None = None) -> Text:
    if at is None:
        return Text("")
    return Text(f"{span(((now or datetime.now(UTC)) - instant(at)).total_seconds())} ago", "dim")


def pairs(rows: Iterable[tuple[str, Any]]) -> Table:
    """Names and values; rows without a value are left out. Values wrap."""
    made = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    made.add_column(style="dim", no_wrap=True)
    made.add_column(overflow="fold")
    for name, value in rows:
        if value is None or value == [] or not str(value):
            continue
        made.add_row(name, value if isinstance(value, Text) else text(value))
    return made
