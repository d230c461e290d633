"""Tasks and claims, on a terminal."""

from typing import Any

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from wvo_mcp.faces.cli.views.memory import entry
from wvo_mcp.faces.cli.views.paint import PRIORITY, Listing, ago, badge, clean, joined, label, left, local, pairs, text
from wvo_mcp.faces.cli.views.routes import heading

REASONS = {
    "paused": "Work is paused by a person.",
    "agent_wip_limit": "This agent holds as much as it may; finish or release what it has.",
    "wip_limit": "As many tasks are in progress as the store allows.",
    "epic_wip_limit": "The epics that have ready work are full.",
    "budget": "Nothing may do it now: budgets are used up, or providers fail.",
    "no_ready_tasks": "No task is ready.",
}


def plan(result: dict[str, Any]) -> RenderableType:
    head = Text.assemble(
        (str(result["ready"]), "bold"),
        " ready, ",
        (f"{result['in_progress']}/{result['wip_limit']}", "bold"),
        " in progress",
        ("   PAUSED", "bold yellow") if result["paused"] else "",
    )
    parts: list[RenderableType] = [head]
    if result["tasks"]:
        ranked = Listing("#>", "task", "title~", "priority", "epic", "score>", "why~")
        for number, task in enumerate(result["tasks"], 1):
            ranked.add(
                str(number),
                text(task["id"], "bold"),
                text(task["title"]),
                text(task["priority"], PRIORITY.get(task["priority"], "")),
                text(task["epic_id"], "dim"),
                f"{task['score']:.2f}",
                _why(task["why"]),
            )
        parts += [Text(), ranked.table]
    if result["not_ready"]:
        waiting = Listing("task", "not ready because of", "waits for~")
        for task in result["not_ready"]:
            waiting.add(
                text(task["id"]),
                text(task["reason"].replace("_", " "), "yellow"),
                text(joined(task["waiting_for"]), "dim"),
            )
        parts += [Text(), waiting.table]
    return Group(*parts)


def _why(why: dict[str, Any]) -> Text:
    """The score as a sentence."""
    worth = why["business_value"] + why["time_criticality"] + why["unlock_value"]
    size = why["complexity"] + why["unlock_size"]
    due = ", {time_criticality:.1f} of it because it is due".format(**why) if why["time_criticality"] else ""
    with_it = "with what it brings nearer " if why["unlock_size"] else ""
    path = "; +{path_value:.2f} for the path it begins".format(**why) if why["path_value"] >= 0.005 else ""
    return Text(f"{with_it}worth {worth:.3g} for {size:.3g} points of work{due}{path}", "dim")


def claim(result: dict[str, Any]) -> RenderableType:
    if result["task"] is None:
        parts: list[RenderableType] = [Text(REASONS.get(result["reason"], clean(result["reason"])), "yellow")]
        if result["explanation"]:
            parts.append(text(result["explanation"]))
        if result["retry_after"] is not None:
            parts.append(Text(f"Ask again in {result['retry_after']} s.", "dim"))
        holding: list[dict[str, Any]] = result["holding"] or []
        return Group(*parts, *(_holding(held) for held in holding))
    lease = result["lease"]
    head = Text.assemble(
        ("Claimed ", "green"), (clean(result["task"]["id"]), "bold"), "  ", clean(result["task"]["title"])
    )
    route = result["route"]
    facts = pairs(
        [
            ("lease", Text.assemble(f"token {lease['token']}, ", left(lease["expires_at"]), " left")),
            ("for", None if route is None else heading(route)),
            ("because", None if route is None else route["reason"]),
        ]
    )
    parts = [head, Padding(facts, (0, 0, 0, 2)), Padding(_body(result["task"]), (0, 0, 0, 2))]
    if result["resume"]:
        parts += [label("Where it stands"), Padding(_checkpoint(result["resume"]), (0, 0, 1, 2))]
    if result["context"]:
        parts += [label("What is known"), *(Padding(entry(one), (0, 0, 0, 2)) for one in result["context"])]
    return Group(*parts)


def _holding(held: dict[str, Any]) -> Text:
    lease = held["lease"]
    return Text.assemble(
        "holding ", (clean(held["id"]), "bold"), f"  token {lease['token']}, ", left(lease["expires_at"])
    )


def details(result: dict[str, Any]) -> RenderableType:
    task = result["task"]
    parts: list[RenderableType] = [
        Text.assemble((clean(task["id"]), "bold"), "  ", clean(task["title"]), "  ", badge(task["status"])),
        Padding(_facts(task), (0, 0, 0, 2)),
        Padding(_body(task), (0, 0, 0, 2)),
    ]
    for name, title in (("dependencies", "Depends on"), ("dependents", "Needed by")):
        if result[name]:
            related = [Text.assemble(clean(one["id"]), " ", badge(one["status"])) for one in result[name]]
            parts += [label(title), Padding(Text(", ").join(related), (0, 0, 0, 2))]
    if result["checkpoints"]:
        parts += [label("Checkpoints"), *(Padding(_checkpoint(one), (0, 0, 0, 2)) for one in result["checkpoints"])]
    if result["context"]:
        parts += [label("Context"), *(Padding(entry(one), (0, 0, 0, 2)) for one in result["context"])]
    if result["events"]:
        history = Listing("event", "by", "when")
        for event in result["events"]:
            history.add(text(event["kind"]), text(event["agent_id"], "dim"), ago(event["at"]))
        parts += [label("History"), Padding(history.table, (0, 0, 0, 2))]
    return Group(*parts)


def _facts(task: dict[str, Any]) -> Table:
    lease = task["lease_expires_at"] if task["status"] == "in_progress" else None
    held = Text.assemble(clean(task["assigned_to"]), ", ", left(lease), " of the lease left") if lease else None
    return pairs(
        [
            ("score", f"{task['score']:.2f} ({task['priority']}, size {task['complexity']})"),
            ("epic", task["epic_id"]),
            ("milestone", task["milestone_id"]),
            ("part of", task["parent_id"]),
            ("held by", held),
            ("progress", None if task["progress"] is None else f"{task['progress']} %"),
            ("attempts", f"{task['attempts']} of {task['max_attempts']}" if task["attempts"] else None),
            ("blocked", f"{task['blocked_reason']} ({task['block_author']})" if task.get("block_author") else None),
            ("waits for", joined(task["waiting_for"])),
            ("last error", task["last_error"]),
            ("not before", local(task["not_before"])),
            ("approval", _approval(task)),
        ]
    )


def _approval(task: dict[str, Any]) -> str | None:
    if not task["requires_approval"]:
        return None
    return (
        f"given {local(task['approved_at'])}" if task["approved_at"] else "wanted: wvo-mcp approve " + clean(task["id"])
    )


def _body(task: dict[str, Any]) -> RenderableType:
    parts: list[RenderableType] = [text(task["description"])] if task["description"] else []
    parts += [text(f"- {criterion}") for criterion in task["acceptance"] or ()]
    parts.append(pairs([("files", joined(task["files"])), ("labels", joined(task["labels"]))]))
    return Group(*parts)


def _checkpoint(one: dict[str, Any]) -> RenderableType:
    progress = "" if one["progress"] is None else f"{one['progress']} %  "
    head = Text.assemble((f"{one['seq']}. ", "dim"), progress, clean(one["summary"]), "  ", ago(one["created_at"]))
    return Group(head, pairs([("next", one["next_steps"]), ("files", joined(one["files"]))]))


def page(result: dict[str, Any]) -> RenderableType:
    tasks = result["tasks"]
    if not tasks:
        return Text("No task matches.", "dim")
    listed = Listing("task", "status", "title~", "epic", "by~", "score>")
    for task in tasks:
        listed.add(
            text(task["id"], "bold"),
            badge(task["status"]),
            text(task["title"]),
            text(task["epic_id"], "dim"),
            text(task["assigned_to"], "dim"),
            f"{task['score']:.2f}",
        )
    total = f"{result['total']}{'+' if result['total_is_capped'] else ''}"
    more = f"; the next page: --cursor {clean(result['next_cursor'])}" if result["next_cursor"] else ""
    return Group(listed.table, Text(f"{len(tasks)} of {total} tasks{more}", "dim"))


def moved(result: dict[str, Any]) -> RenderableType:
    """The task after a write."""
    return one_line(result["task"])


def one_line(task: dict[str, Any]) -> Text:
    return Text.assemble(
        (clean(task["id"]), "bold"), " is ", badge(task["status"]), "  ", (clean(task["title"]), "dim")
    )


def approved(result: dict[str, Any]) -> RenderableType:
    """What it may do now: the approval itself moves no pending task."""
    task, waits = result["task"], result["not_ready"]
    head = Text.assemble((clean(task["id"]), "bold"), (" is approved", "green"))
    if waits is None:
        return head.append(" and ready.")
    if task["status"] != "pending":
        return head.append_text(Text.assemble("; it is ", badge(task["status"]), "."))
    return head.append(f"; it still waits for {joined(waits['waiting_for'])} ({waits['reason'].replace('_', ' ')}).")


def completed(result: dict[str, Any]) -> RenderableType:
    unlocked = joined(result["unlocked"]) or "nothing new"
    return Group(one_line(result["task"]), Text(f"Ready by it: {unlocked}", "dim"))


def failed(result: dict[str, Any]) -> RenderableType:
    again = (
        Text.assemble("tried again in ", left(result["retry_at"])) if result["retry_at"] else Text("not tried again")
    )
    return Group(one_line(result["task"]), Text.assemble(f"Attempt {result['attempts']}, ", again, style="dim"))


def created(result: dict[str, Any]) -> RenderableType:
    return Text.assemble((f"{len(result['created'])} created: ", "green"), joined(result["created"], 40))


def renewed(result: dict[str, Any]) -> RenderableType:
    return Text.assemble("Lease renewed, ", left(result["lease"]["expires_at"]), " left.")


def checkpoint(result: dict[str, Any]) -> RenderableType:
    return Text.assemble(("Checkpoint ", "green"), f"{result['checkpoint']['seq']} is kept.")


def cancelled(result: dict[str, Any]) -> RenderableType:
    head = Text.assemble((clean(result["task_id"]), "bold"), " is ", badge(result["status"]), ".")
    if not result["stranded"]:
        return head
    return Group(head, Text(f"Still waiting for it: {joined(result['stranded'])}", "yellow"))
