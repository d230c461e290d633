"""What is remembered, on a terminal."""

from typing import Any

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.text import Text

from wvo_mcp.faces.cli.views.paint import ago, clean, text


def entries(result: dict[str, Any]) -> RenderableType:
    found: list[dict[str, Any]] = result["entries"]
    if not found:
        return Text("Nothing is remembered about it.", "dim")
    return Group(*(entry(one) for one in found))


def entry(one: dict[str, Any]) -> RenderableType:
    """Topic, version, age and tags above, the content below."""
    tags = "  " + " ".join(f"#{clean(tag)}" for tag in one["tags"]) if one["tags"] else ""
    head = Text.assemble(
        (clean(one["topic"]), "bold"), (f"  v{one['version']}  ", "dim"), ago(one["at"]), (tags, "cyan")
    )
    return Group(head, Padding(text(one["content"]), (0, 0, 1, 2)))


def written(result: dict[str, Any]) -> RenderableType:
    return Text.assemble(
        ("Remembered ", "green"), (clean(result["topic"]), "bold"), f" as version {result['version']}."
    )
