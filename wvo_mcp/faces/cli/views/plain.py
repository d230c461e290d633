"""Any result, readable: names and values, lists of objects as tables, as a screen of `screens.toml` has them."""

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, cast

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from wvo_mcp.domain.instant import instant
from wvo_mcp.faces.cli.views.cells import Row, at, cell

_COLUMNS = 8
_FIELD = re.compile(r"\{(#?)([\w.]+)\}")
_HEADINGS = {"expires_at": "expires in", "lease_expires_at": "lease expires in"}


def rendered(result: Row, screen: Mapping[str, Any]) -> RenderableType:
    """The result as a screen of `screens.toml` has it; without one, all of it."""
    then = result.get("at") or result.get("timestamp")
    now = instant(then) if isinstance(then, str) else datetime.now(UTC)
    if not screen:
        return _everything(result, now)
    parts: list[RenderableType] = _sentences(screen.get("head", ()), result, now)
    sections = [(written, columns) for written, columns in screen.items() if written not in ("head", "foot")]
    for written, columns in sections:
        path, heading, _ = _column(written)
        own = path == "result"
        value = result if own else at(result, path)
        if value:
            shown = _section(value, columns, now)
            if len(sections) > 1 and not own:
                title = _name(heading or path.rpartition(".")[2]).capitalize()
                shown = Group(_label(title), Padding(shown, (0, 0, 0, 2)))
            parts += [Text(), shown] if parts and not own else [shown]
    return Group(*parts, *_sentences(screen.get("foot", ()), result, now))


def _sentences(lines: Iterable[str], result: Row, now: datetime) -> list[RenderableType]:
    def value(found: re.Match[str]) -> str:
        path, _, name = found[2].rpartition(".")
        row = at(result, path) if path else result
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
    found = at(result, path)
    return (str(found) == value if value else bool(found)) is not term.startswith("no ")


def _everything(result: Row, now: datetime) -> RenderableType:
    """Scalars first, then what has a structure of its own."""
    simple = [(_name(key), cell(result, key, now)) for key, value in result.items() if not _nested(value)]
    parts: list[RenderableType] = [pairs(simple)] if simple else []
    for key, value in result.items():
        if _nested(value):
            parts += [_label(_name(key)), Padding(_section(value, "", now), (0, 0, 0, 2))]
    return Group(*parts)


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


def _nested(value: Any) -> bool:
    if isinstance(value, dict):
        return bool(cast("dict[str, Any]", value))
    items = cast("list[Any]", value) if isinstance(value, list) else []
    return bool(items) and all(isinstance(item, dict) for item in items)


def _name(key: str) -> str:
    field = key.rpartition(".")[2]
    return _HEADINGS.get(field, field.replace("_", " "))


def _label(name: str) -> Text:
    return Text(name, "bold")


def pairs(rows: Iterable[tuple[str, Text]]) -> Table:
    """Names and values; rows without a value are left out. Values wrap."""
    made = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    made.add_column(style="dim", no_wrap=True)
    made.add_column(overflow="fold")
    for name, value in rows:
        if value:
            made.add_row(name, value)
    return made
