"""Any result, readable: names and values, lists of objects as tables."""

import re
from collections.abc import Mapping
from typing import Any, cast

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.text import Text

from wvo_mcp.faces.cli.views.paint import Listing, clean, joined, label, local, pairs, text

_COLUMNS = 8
_INSTANT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


def anything(result: Mapping[str, Any]) -> RenderableType:
    """Scalars first, then what has a structure of its own."""
    simple = [(_name(key), _plain(value)) for key, value in result.items() if not _nested(value)]
    parts: list[RenderableType] = [pairs(simple)] if simple else []
    for key, value in result.items():
        if _nested(value):
            parts += [label(_name(key)), Padding(_structure(value), (0, 0, 0, 2))]
    return Group(*parts)


def backups(result: Mapping[str, Any]) -> RenderableType:
    if not result["backups"]:
        return text("No backup yet. A running server makes one every hour; wvo-mcp backup-create makes one now.", "dim")
    return anything(result)


def roadmap_export(result: Mapping[str, Any]) -> RenderableType:
    parts = [anything({key: value for key, value in result.items() if key != "left_out"})]
    if result["left_out"]:
        names = ", ".join(clean(name) for name in result["left_out"])
        parts.append(Text(f"Left out, because they have no epic: {names}", "yellow"))
    return Group(*parts)


def _structure(value: Any) -> RenderableType:
    if isinstance(value, dict):
        return anything(cast("dict[str, Any]", value))
    rows = cast("list[dict[str, Any]]", value)
    names = list(dict.fromkeys(name for row in rows for name in row))[:_COLUMNS]
    made = Listing(*(f"{_name(name)}~" for name in names))
    for row in rows:
        made.add(*(text(_plain(row.get(name))) for name in names))
    return made.table


def _nested(value: Any) -> bool:
    if isinstance(value, dict):
        return bool(cast("dict[str, Any]", value))
    items = cast("list[Any]", value) if isinstance(value, list) else []
    return bool(items) and all(isinstance(item, dict) for item in items)


def _plain(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return joined(cast("list[Any]", value), 20)
    if isinstance(value, dict):
        return joined(f"{key}={item}" for key, item in cast("dict[str, Any]", value).items())
    return local(value, seconds=True) if isinstance(value, str) and _INSTANT.fullmatch(value) else str(value)


def _name(key: str) -> str:
    return key.replace("_", " ")
