"""What happened, and what the roadmap changed, on a terminal."""

import json
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from wvo_mcp.faces.cli.views.paint import Listing, clean, joined, local, text


def events(result: dict[str, Any]) -> RenderableType:
    if not result["events"]:
        return Text("No events.", "dim")
    trail = Listing("seq>", "at", "event", "task", "by~", "data~")
    for event in result["events"]:
        trail.add(
            str(event["seq"]),
            text(local(event["at"], seconds=True), "dim"),
            text(event["kind"]),
            text(event["task_id"], "bold"),
            text(event["agent_id"], "dim"),
            text(json.dumps(event["data"], ensure_ascii=False) if event["data"] else "", "dim"),
        )
    first = result["events"][0]["seq"]
    if result["more"]:
        return Group(trail.table, Text(f"More: --after {result['next_after']}", "dim"))
    earlier = [Text(f"Earlier ones: --after 0, or --limit {2 * len(result['events'])}", "dim")] if first > 1 else []
    return Group(trail.table, *earlier)


def synced(result: dict[str, Any]) -> RenderableType:
    if result["guard"] is not None and result["unchanged"]:
        return text(result["guard"], "bold yellow")
    if result["unchanged"]:
        return Text(f"The roadmap is unchanged: {result['tasks']} tasks.", "dim")
    parts: list[RenderableType] = [Text(f"The roadmap has {result['tasks']} tasks.", "bold")]
    for name, style in (("created", "green"), ("updated", "cyan"), ("cancelled", "yellow"), ("restored", "green")):
        if result[name]:
            count = result["created_count"] if name == "created" else len(result[name])
            parts.append(Text.assemble((f"{count} {name}: ", style), joined(result[name], 12)))
    parts += [text(warning, "yellow") for warning in result["warnings"]]
    if result["guard"] is not None:
        parts.append(text(result["guard"], "bold yellow"))
    return Group(*parts)


def switch(result: dict[str, Any]) -> RenderableType:
    if not result["paused"]:
        return Text("Work is given out.", "green")
    reason = f": {clean(result['reason'])}" if result["reason"] else ""
    return Text(f"Paused{reason}. What is in progress may be finished; wvo-mcp resume goes on.", "yellow")
