"""The first line of a result, where it takes more than a format to make it."""

from collections.abc import Callable
from typing import Any

from rich.text import Text

from wvo_mcp.faces.cli.views.paint import badge, clean, joined, local, span, text

Result = dict[str, Any]

_REASONS = {
    "paused": "Work is paused by a person.",
    "agent_wip_limit": "WIP limit of this agent reached; finish or release a task first.",
    "wip_limit": "WIP limit of the store reached; try again when a task ends.",
    "epic_wip_limit": "All ready tasks are in epics whose WIP limit is reached.",
    "budget": "No provider can take it now: budgets are used up, or providers fail.",
    "no_ready_tasks": "No task is ready.",
}


def nothing(field: str, sentence: str) -> Callable[[Result], Text]:
    """Says so when there is none of it."""
    return lambda result: Text() if result[field] else text(sentence, "dim")


def plan(result: Result) -> Text:
    wip = f"{result['ready']} ready, {result['in_progress']}/{result['wip_limit']} in progress"
    return Text.assemble((wip, "bold"), ("   PAUSED", "bold yellow") if result["paused"] else "")


def claim(result: Result) -> Text:
    if result["task"] is None:
        why = [_REASONS.get(result["reason"], result["reason"]), result["explanation"]]
        again = None if result["retry_after"] is None else f"Try again in {result['retry_after']} s."
        return text("\n".join(part for part in (*why, again) if part), "yellow")
    return Text.assemble(("Claimed ", "green"), _task(result["task"]))


def _task(task: Result) -> Text:
    return Text.assemble((clean(task["id"]), "bold"), "  ", clean(task["title"]))


def details(result: Result) -> Text:
    task = result["task"]
    head = _task(task).append("  ").append_text(badge(task["status"]))
    if task["requires_approval"] and task["approved_at"] is None:
        head.append(f"\nNeeds approval: wvo-mcp approve {clean(task['id'])}", "magenta")
    return head


def page(result: Result) -> Text:
    if not result["tasks"]:
        return text("No task matches.", "dim")
    total = f"{result['total']}{'+' if result['total_is_capped'] else ''}"
    more = f"; the next page: --cursor {result['next_cursor']}" if result["next_cursor"] else ""
    return text(f"{len(result['tasks'])} of {total} tasks{more}", "dim")


def moved(result: Result) -> Text:
    """The task after a write."""
    task = result["task"]
    return Text.assemble(
        (clean(task["id"]), "bold"), " is ", badge(task["status"]), "  ", (clean(task["title"]), "dim")
    )


def cancelled(result: Result) -> Text:
    return Text.assemble((clean(result["task_id"]), "bold"), " is ", badge(result["status"]), ".")


def approved(result: Result) -> Text:
    """What it may do now: the approval itself moves no pending task."""
    task, waits = result["task"], result["not_ready"]
    head = Text.assemble((clean(task["id"]), "bold"), (" is approved", "green"))
    if waits is None:
        return head.append(" and ready.")
    if task["status"] != "pending":
        return head.append_text(Text.assemble("; it is ", badge(task["status"]), "."))
    return head.append(f"; it still waits for {joined(waits['waiting_for'])} ({waits['reason'].replace('_', ' ')}).")


def switch(result: Result) -> Text:
    if not result["paused"]:
        return Text("Work is resumed.", "green")
    reason = f": {clean(result['reason'])}" if result["reason"] else ""
    return Text(f"Paused{reason}. Tasks in progress may be finished; to go on: wvo-mcp resume", "yellow")


def trail(result: Result) -> Text:
    if not result["events"]:
        return text("No events.", "dim")
    if result["more"]:
        return text(f"More: --after {result['next_after']}", "dim")
    if result["events"][0]["seq"] > 1:
        return text(f"Earlier ones: --after 0, or --limit {2 * len(result['events'])}", "dim")
    return Text()


def alerts(result: Result) -> Text:
    counted = ", ".join(f"{n} {severity}" for severity, n in result["open"].items() if n)
    if not counted:
        return text("No alert is open.", "green")
    more = result["next_cursor"]
    how = f"The next page: --cursor {more}" if more else "To acknowledge one: wvo-mcp alert-ack ID"
    return Text.assemble((f"{counted} open.", "bold"), (f"  {clean(how)}", "dim"))


def cycle(result: Result) -> Text:
    said = Text() if result["acted"] else text(f"Only shown: session {result['leader']} leads, and it alone acts.\n")
    return said if result["anomalies"] else said.append("Nothing is wrong.", "green")


def route(result: Result) -> Text:
    route = result["route"]
    if route is None:
        return text("Nothing takes it now." if result["waits"] else "No provider suits it.", "yellow")
    return text(f"{route['provider']} {route['tier']}  {route['model']}", "bold")


def synced(result: Result) -> Text:
    if result["unchanged"]:
        return text(f"The roadmap is unchanged: {result['tasks']} tasks.", "dim")
    return text(f"The roadmap has {result['tasks']} tasks.", "bold")


def left_out(result: Result) -> Text:
    if not result["left_out"]:
        return Text()
    return text(f"Left out, because they have no epic: {joined(result['left_out'], 40)}", "yellow")


def critical_path(result: Result) -> Text:
    if not result["path"]:
        return text("Nothing is open.", "dim")
    return text(f"{result['length']} of {result['tasks']} open tasks, {span(result['total_seconds'])} in all", "bold")


def beside_the_path(result: Result) -> Text:
    more = result["length"] - len(result["path"])
    stuck = result["stuck"] and f"{result['stuck']} of these are failed, or behind a cancelled task"
    return text("\n".join(part for part in (more and f"{more} more on the path", stuck) if part), "yellow")


def forecast(result: Result) -> Text:
    if result["p50_at"] is None:
        return text("Nothing is open that could be worked on.", "dim")
    tasks = f"{result['open']} tasks" + (f", {result['stuck']} more stuck" if result["stuck"] else "")
    how = f"{result['agents']} agents, {result['runs']:,} runs, seed {result['seed']}"
    return Text.assemble(
        (f"{tasks}; {how}\n", "dim"),
        (f"Half of the runs are done by {local(result['p50_at'])}, nine of ten by {local(result['p90_at'])}.", "bold"),
    )


def in_danger(result: Result) -> Text:
    """What to cut, and what the figures rest on."""
    if result["p50_at"] is None:
        return Text()
    said: list[str] = []
    for cut in result["cut"]:
        what = "would do" if cut["enough"] else "would not be enough"
        said.append(f"{cut['milestone_id']} is in danger: to cut {cut['count']} tasks {what},")
        said.append(f"{cut['chance']:.0%} to {cut['chance_after']:.0%}: " + joined((t["id"] for t in cut["tasks"]), 12))
    return Text.assemble(("\n".join(["", *said]), "yellow"), ("\n".join(["", *result["assumptions"]]), "dim"))


def imported(result: Result) -> Text:
    verb = "created" if result["written"] or not result["created_count"] else "to be created"
    counts = [(verb, result["created_count"]), ("there already", result["existing_count"])]
    counts += [("done, left out", result["done_count"]), ("cancelled, left out", result["dropped_count"])]
    head = ", ".join(f"{count} {name}" for name, count in counts if count or name == verb)
    return text(f"{result['format']}: {head}", "bold")


def warned(result: Result) -> Text:
    more = result["created_count"] - len(result["created"])
    return text("\n".join([*([f"and {more} more"] if more > 0 else []), *result["warnings"]]), "yellow")


def exported(result: Result) -> str:
    return f"{result['tasks']} tasks, {result['epics']} epics and {result['milestones']} milestones in {result['path']}"
