"""Any result, readable: names and values, lists of objects as tables. What a field looks like follows from its name."""

import re
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, cast

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from wvo_mcp.domain.instant import instant
from wvo_mcp.faces.cli.views import budgets
from wvo_mcp.faces.cli.views.paint import (
    PRIORITY,
    SEVERITY,
    ago,
    badge,
    joined,
    label,
    left,
    local,
    pairs,
    span,
    text,
)

Row = Mapping[str, Any]

_COLUMNS = 8
_INSTANT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
_FIELD = re.compile(r"\{(#?)([\w.]+)\}")
_BOLD = frozenset({"id", "task_id", "provider", "name", "topic"})
_ITEMS = frozenset({"acceptance", "assumptions", "warnings"})
_PAST = frozenset({"raised_at", "since", "started_at", "last_seen_at"})
_AHEAD = frozenset({"expires_at", "lease_expires_at", "until", "retry_at"})
_DISTANT = frozenset({"p50_at", "p90_at", "due_at", "earliest_start"})
_HEADINGS = {"expires_at": "expires in", "lease_expires_at": "lease expires in"}
_CELLS: dict[str, Callable[[Row, datetime], Text]] = {
    "budget": lambda row, now: budgets.name(row),
    "bar": lambda row, now: budgets.bar(row),
    "used_of_limit": lambda row, now: budgets.used(row),
    "resets": lambda row, now: budgets.resets(row, now),
    "condition": lambda row, now: budgets.condition(row, now),
    "assigned_at": lambda row, now: _busy_for(row, now),
    "remaining": lambda row, now: _remaining(row, now),
    "worth": lambda row, now: _worth(row["why"]),
    "time": lambda row, now: text(_time(row["at"], now)),
    "details": lambda row, now: text(_details(row.get("data") or {}, now)),
}
"""Columns that are made of several fields."""


def rendered(result: Row, screen: Mapping[str, Any]) -> RenderableType:
    """The result as a screen of `screens.toml` has it; without one, all of it."""
    now = _now(result)
    if not screen:
        return _everything(result, now)
    parts: list[RenderableType] = _sentences(screen.get("head", ()), result, now)
    sections = [(written, columns) for written, columns in screen.items() if written not in ("head", "foot")]
    for written, columns in sections:
        path, heading, _ = _column(written)
        own = path == "result"
        value = result if own else _at(result, path)
        if value:
            shown = _section(value, columns, now)
            if len(sections) > 1 and not own:
                title = _name(heading or path.rpartition(".")[2]).capitalize()
                shown = Group(label(title), Padding(shown, (0, 0, 0, 2)))
            parts += [Text(), shown] if parts and not own else [shown]
    return Group(*parts, *_sentences(screen.get("foot", ()), result, now))


def _sentences(lines: Iterable[str], result: Row, now: datetime) -> list[RenderableType]:
    def value(found: re.Match[str]) -> str:
        path, _, name = found[2].rpartition(".")
        row = _at(result, path) if path else result
        return str(len(row[name])) if found[1] else cell(row, name, now).markup

    said: list[RenderableType] = []
    for line in lines:
        condition, _, sentence = line.rpartition(" ? ")
        if all(_holds(term, result) for term in condition.split(", ") if term):
            said.append(Text.from_markup(_FIELD.sub(value, sentence)))
    return said


def _holds(term: str, result: Row) -> bool:
    """`paused`, `no tasks`, `status = done`, `no status = done`."""
    path, _, value = term.removeprefix("no ").partition(" = ")
    found = _at(result, path)
    return (str(found) == value if value else bool(found)) is not term.startswith("no ")


def _everything(result: Row, now: datetime) -> RenderableType:
    """Scalars first, then what has a structure of its own."""
    simple = [(_name(key), cell(result, key, now)) for key, value in result.items() if not _nested(value)]
    parts: list[RenderableType] = [pairs(simple)] if simple else []
    for key, value in result.items():
        if _nested(value):
            parts += [label(_name(key)), Padding(_section(value, "", now), (0, 0, 0, 2))]
    return Group(*parts)


def cell(row: Row, name: str, now: datetime) -> Text:
    """One field of an object; `a.b` is b of its a."""
    if name in _CELLS:
        return _CELLS[name](row, now)
    if "." in name:
        above, _, name = name.rpartition(".")
        return cell(_at(row, above), name, now)
    value = row.get(name)
    if value is None:
        return Text("stuck", "red") if name == "p50_at" else Text()
    if name.startswith("tokens") and row.get("reported") is False:
        return text("nothing reported", "dim")
    if name == "status":
        return badge(str(value))
    if name == "severity":
        return text(value, SEVERITY.get(value, ""))
    if name == "priority":
        return text(value, PRIORITY.get(value, ""))
    if isinstance(value, str) and _INSTANT.fullmatch(value):
        if name in _PAST:
            return ago(value, now)
        return left(value, now) if name in _AHEAD else text(local(value, seconds=name not in _DISTANT))
    return text(_plain(name, value, now), "bold" if name in _BOLD else "")


def _plain(name: str, value: Any, now: datetime) -> str:
    match value:
        case bool():
            return "yes" if value else "no"
        case list():
            items = [_plain("", _id_or_all(item), now) for item in cast("list[Any]", value)]
            return "\n".join(f"- {item}" for item in items) if name in _ITEMS else joined(items, 20)
        case dict():
            row = cast("dict[str, Any]", value)
            return joined(f"{key}={cell(row, key, now).plain}" for key in row)
        case str() | None:
            return value or ""
        case _ if name == "progress":
            return f"{value} %"
        case _ if name.startswith("cost"):
            return f"${value:,.2f}"
        case _ if name.startswith("tokens") or name in ("hour", "day", "used", "limit", "left"):
            return budgets.amount(value)
        case _ if name.startswith("chance"):
            return f"{value:.0%}"
        case _ if name.endswith("seconds") or name == "retry_after":
            return span(value)
        case _:
            return f"{value:.2f}" if isinstance(value, float) else str(value)


def _id_or_all(item: Any) -> Any:
    return cast("Row", item).get("id", item) if isinstance(item, dict) else item


def _section(value: Any, columns: str, now: datetime) -> RenderableType:
    if isinstance(value, dict):
        row = cast("dict[str, Any]", value)
        if "|" in columns:
            return _block(row, columns, now)
        if all(isinstance(one, dict) for one in row.values()):
            return table([{"": key, **one} for key, one in row.items()], columns, now)
        return pairs(_named(row, columns, now)) if columns else _everything(row, now)
    rows = cast("list[dict[str, Any]]", value)
    return Group(*(_block(row, columns, now) for row in rows)) if "|" in columns else table(rows, columns, now)


def _named(row: Row, columns: str, now: datetime) -> list[tuple[str, Text]]:
    return [(_name(heading or name), cell(row, name, now)) for name, heading, _ in map(_column, columns.split())]


def table(rows: Iterable[Row], columns: str, now: datetime) -> RenderableType:
    """The columns that have a value; without any named, the first eight fields."""
    rows = list(rows)
    wanted = [_column(column) for column in columns.split()]
    wanted = wanted or [(name, "", "~") for name in dict.fromkeys(name for row in rows for name in row)][:_COLUMNS]
    made = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    filled: list[list[Text]] = []
    for name, heading, mark in wanted:
        cells = [cell(row, name, now) for row in rows]
        if not any(cells):
            continue
        for one in cells if mark == "~" else ():
            one.no_wrap, one.overflow, one.plain = True, "ellipsis", one.plain.replace("\n", " ")
        filled.append(cells)
        made.add_column(
            _name(heading or name),
            header_style="dim",
            justify="right" if mark == ">" else "left",
            no_wrap=mark not in ("~", "+"),  # rich shrinks the columns that may wrap first
            overflow="fold" if mark == "+" else "ellipsis",
        )
    for cells in zip(*filled, strict=True):
        made.add_row(*cells)
    return made


def _column(written: str) -> tuple[str, str, str]:
    """Field, heading and mark of `field=heading~`."""
    name, _, heading = written.rstrip("~>+").partition("=")
    return name, heading, written[len(written.rstrip("~>+")) :]


def _block(row: Row, columns: str, now: datetime) -> RenderableType:
    """A line, below it the first of the longer texts as it is, and the others with their names."""
    head, _, below = columns.partition("|")
    line = Text("  ").join(shown for _, shown in _named(row, head, now) if shown)
    (_, first), *rest = _named(row, below, now)
    parts = [*([first] if first else []), pairs(rest)]
    return Group(line, Padding(Group(*parts), (0, 0, 0, 3))) if line else Group(*parts)


def _busy_for(agent: Row, now: datetime) -> Text:
    since = agent["assigned_at"] if agent["status"] == "busy" else None
    return Text() if since is None else text(span((now - instant(since)).total_seconds()))


def _remaining(task: Row, now: datetime) -> Text:
    return text("server gone", "yellow") if task["server_gone"] else left(task["lease_expires_at"], now)


def _worth(why: Row) -> Text:
    """`12 for 5`: what the task and all that it brings nearer is worth, for how much work; of that, what is due."""
    worth = why["business_value"] + why["time_criticality"] + why["unlock_value"]
    due = f", due {why['time_criticality']:.1f}" if why["time_criticality"] else ""
    path = f", path +{why['path_value']:.2f}" if why["path_value"] >= 0.005 else ""
    return Text(f"{worth:.3g} for {why['complexity'] + why['unlock_size']:.3g}{due}{path}", "dim")


def _time(at: str, now: datetime) -> str:
    """Without the day when that is today."""
    day, _, time = local(at, seconds=True).partition(" ")
    return time if day == f"{now.astimezone():%Y-%m-%d}" else f"{day} {time}"


def _details(data: Row, now: datetime) -> str:
    """What an event says: what people wrote comes first, for the end may not fit."""
    prose = ("title", "summary", "reason", "error", "note")
    said = [f"{data[name]}" for name in prose if data.get(name)]
    moved = [f"{data['from']} > {data['to']}"] if data.get("from") and data.get("to") else []
    shown = (*prose, "digest", *(("from", "to") if moved else ()))
    rest = {name: value for name, value in data.items() if name not in shown and value is not None}
    return "; ".join([*said, *moved, *([_plain("", rest, now)] if rest else [])])


def _at(result: Row, path: str) -> Any:
    """`a.b` is b of a, or the b of all of a list; `a.0` is its first."""
    value: Any = result
    for name in path.split("."):
        if isinstance(value, list):
            rows = cast("list[Row]", value)
            value = rows[int(name)] if name.isdigit() else [one for row in rows for one in row[name]]
        else:
            value = value and value.get(name)
    return value


def _now(result: Row) -> datetime:
    at = result.get("at") or result.get("timestamp")
    return instant(at) if isinstance(at, str) else datetime.now(UTC)


def _nested(value: Any) -> bool:
    if isinstance(value, dict):
        return bool(cast("dict[str, Any]", value))
    items = cast("list[Any]", value) if isinstance(value, list) else []
    return bool(items) and all(isinstance(item, dict) for item in items)


def _name(key: str) -> str:
    field = key.rpartition(".")[2]
    return _HEADINGS.get(field, field.replace("_", " "))
