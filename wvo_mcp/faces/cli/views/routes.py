"""Who should do what, on a terminal."""

from typing import Any

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.text import Text

from wvo_mcp.faces.cli.views.paint import Listing, clean, left, pairs, text

WHY = {"budget": "yellow", "breaker": "red", "absent": "yellow", "mode": "dim", "disabled": "dim"}


def heading(route: dict[str, Any]) -> Text:
    """`claude high  a-model`."""
    return Text.assemble(
        (clean(route["provider"]), "bold"), " ", clean(route["tier"]), "  ", (clean(route["model"]), "cyan")
    )


def route(result: dict[str, Any]) -> RenderableType:
    chosen = result["route"]
    head = Text("Nothing takes it now.", "yellow") if result["waits"] else Text("No provider suits it.", "yellow")
    facts = pairs(
        [
            ("why", result["explanation"]),
            ("mode", result["mode"]),
            ("tier", result["tier"]),
            (
                "until",
                None if result["until"] is None else Text.assemble(left(result["until"]), " from now at the latest"),
            ),
            (
                "expected",
                None if result["estimate"] is None else f"{result['estimate']:,} tokens, ${result['cost']:.4f}",
            ),
        ]
    )
    parts: list[RenderableType] = [heading(chosen) if chosen else head, Padding(facts, (0, 0, 0, 2))]
    if result["rejected"]:
        out = Listing("not", "tier", "because of", "reason~")
        for one in result["rejected"]:
            out.add(
                text(one["provider"]),
                text(one["tier"], "dim"),
                text(one["why"], WHY.get(one["why"], "")),
                one["reason"],
            )
        parts += [Text(), out.table]
    return Group(*parts)


def mode(result: dict[str, Any]) -> RenderableType:
    head = Text.assemble(
        "Mode ",
        (clean(result["mode"]), "bold"),
        ", as providers.yaml has it" if result["since"] is None else f", chosen by {clean(result['since'])}",
    )
    shares = Listing("today", "attempts>", "share>", "target>")
    for place, side in result["shares"].items():
        share = "-" if side["share"] is None else f"{side['share']:.1f} %"
        shares.add(text(place), str(side["attempts"]), share, f"{side['target']:g} %")
    return Group(head, Text(), shares.table)
