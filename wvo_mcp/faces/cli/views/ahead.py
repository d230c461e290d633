"""What lies ahead, on a terminal: the critical path, the forecast, imports."""

from typing import Any

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.text import Text

from wvo_mcp.faces.cli.views import plain
from wvo_mcp.faces.cli.views.paint import Listing, joined, label, local, pairs, span, text


def critical_path(result: dict[str, Any]) -> RenderableType:
    if not result["path"]:
        return text("Nothing is open.", "dim")
    head = text(f"{result['length']} of {result['tasks']} open tasks, {span(result['total_seconds'])} in all", "bold")
    parts: list[RenderableType] = [head, _steps(result["path"])]
    if result["length"] > len(result["path"]):
        parts.append(text(f"and {result['length'] - len(result['path'])} more", "dim"))
    if result["near"]:
        parts += [Text(""), label("Little slack beside it"), _steps(result["near"])]
    if result["stuck"]:
        parts.append(text(f"{result['stuck']} of these are failed, or behind a cancelled task", "yellow"))
    return Group(*parts)


def _steps(steps: list[dict[str, Any]]) -> RenderableType:
    made = Listing("task", "title~", "size>", "takes>", "from", "slack>")
    for step in steps:
        slack = step["slack_seconds"]
        made.add(
            text(step["id"], "bold"),
            text(step["title"]),
            str(step["complexity"]),
            span(step["seconds"]),
            local(step["earliest_start"]),
            text(span(slack), "red" if slack < 1 else "yellow"),
        )
    return made.table


def forecast(result: dict[str, Any]) -> RenderableType:
    if "state" in result:
        return plain.anything(result)
    if result["p50_at"] is None:
        return text("Nothing is open that could be worked on.", "dim")
    head = pairs(
        [
            ("open", f"{result['open']} tasks" + (f", {result['stuck']} more stuck" if result["stuck"] else "")),
            ("with", f"{result['agents']} agents, {result['runs']:,} runs, seed {result['seed']}"),
            ("half of them", f"done by {local(result['p50_at'])}"),
            ("nine of ten", f"done by {local(result['p90_at'])}"),
        ]
    )
    parts: list[RenderableType] = [head]
    for name in ("milestones", "epics"):
        if result[name]:
            parts += [Text(""), label(name.capitalize()), _groups(result[name])]
    for cut in result["cut"]:
        what = "would do" if cut["enough"] else "would not be enough"
        line = f"{cut['chance']:.0%} to {cut['chance_after']:.0%}: to cut {cut['count']} tasks {what}"
        parts += [Text(""), label(f"{cut['milestone_id']} is in danger"), text(f"  {line}")]
        parts.append(text("  " + joined((task["id"] for task in cut["tasks"]), 12)))
    parts.append(Text(""))
    parts += [Padding(text(line, "dim"), (0, 0, 0, 2)) for line in result["assumptions"]]
    return Group(*parts)


def _groups(groups: list[dict[str, Any]]) -> RenderableType:
    made = Listing("id", "title~", "open>", "half", "nine of ten", "due", "chance>")
    for group in groups:
        chance = group["chance"]
        style = "" if chance is None else "green" if chance >= 0.8 else "yellow" if chance >= 0.5 else "red"
        made.add(
            text(group["id"], "bold"),
            text(group["title"]),
            str(group["open"]),
            local(group["p50_at"]) or text("stuck", "red"),
            local(group["p90_at"]),
            local(group["due_at"]),
            text("" if chance is None else f"{chance:.0%}", style),
        )
    return made.table


def imported(result: dict[str, Any]) -> RenderableType:
    if "state" in result:
        return plain.anything(result)
    verb = "created" if result["written"] or not result["created_count"] else "to be created"
    counts = [(verb, result["created_count"]), ("there already", result["existing_count"])]
    counts += [("done, left out", result["done_count"]), ("cancelled, left out", result["dropped_count"])]
    head = ", ".join(f"{count} {name}" for name, count in counts if count or name == verb)
    parts: list[RenderableType] = [text(f"{result['format']}: {head}", "bold")]
    if result["created"]:
        made = Listing("line>", "task", "title~", "part of", "waits for")
        for task in result["created"]:
            waits = joined(task["depends_on"], 3)
            made.add(str(task["line"]), text(task["id"], "bold"), text(task["title"]), task["parent_id"] or "", waits)
        parts.append(made.table)
    if result["created_count"] > len(result["created"]):
        parts.append(text(f"and {result['created_count'] - len(result['created'])} more", "dim"))
    parts += [text(warning, "yellow") for warning in result["warnings"]]
    return Group(*parts)


def exported(result: dict[str, Any]) -> RenderableType:
    return text(
        f"{result['tasks']} tasks, {result['epics']} epics and {result['milestones']} milestones in {result['path']}"
    )
