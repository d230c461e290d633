"""Providers of models, on a terminal."""

from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from wvo_mcp.faces.cli.views.paint import Listing, joined, text


def auth(result: dict[str, Any]) -> RenderableType:
    listing = Listing("provider", "installed", "version", "logged in", "told by+")
    for one in result["providers"]:
        name = text(one["provider"], "bold" if one["enabled"] else "dim")
        if not one["enabled"]:
            name.append(" (off)", "dim")
        models = f"; has {joined(one['models'], 4)}" if one["models"] else ""
        listing.add(
            name,
            text("yes", "green") if one["installed"] else text("no", "dim" if not one["enabled"] else "yellow"),
            text(one["version"]),
            _logged_in(one["logged_in"]),
            text(one["how"] + models),
        )
    parts: list[RenderableType] = [listing.table]
    if result["problem"]:
        parts += [Text(), text(result["problem"], "red")]
    return Group(*parts)


def _logged_in(here: bool | None) -> Text:
    if here is None:
        return text("?", "dim")
    return text("yes", "green") if here else text("no", "yellow")
