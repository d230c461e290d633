"""One task: why it is not running, what became of it so far, and what its files were on the way."""

from collections import OrderedDict
from typing import Any

from wvo_mcp.errors import Conflict, InvalidInput, NotFound
from wvo_mcp.faces.http.pages.deciding import in_full
from wvo_mcp.faces.http.pages.page import Data, Page, Visit
from wvo_mcp.faces.http.pages.workers import log_end
from wvo_mcp.ports import WatchedStore

_EVENTS = 30
_LINES = 12
_CHECKPOINTS = 200
_ROLLED_BACK = "workspace.rolled_back"
_KEPT_DIFFS = 50
NOW = "now"

_diffs: OrderedDict[tuple[Any, ...], Data] = OrderedDict()
"""Of checkpoints, by their commits: what they differ in never changes."""


async def _task(visit: Visit) -> Data:
    """{task, dependencies, dependents, checkpoints, context, why, events (newest first), older, workers, total,
    total_of_reviews, log, submissions, reviews, approvals, shown (of approvals, in full), messages, files, violations}"""
    task_id = visit.path["task_id"]
    details = await visit.ask("get_task", task_id=task_id)
    events = await visit.ask("events", task_id=task_id, before=visit.filter("before"), limit=_EVENTS, last=True)
    workers = await visit.ask("workers", task_id=task_id, limit=10)
    files = await visit.ask("workspace_checkpoints", task_id=task_id, limit=5)
    shown = events["events"][::-1]
    approvals = (await visit.ask("approval_status", task_id=task_id))["approvals"]
    return {
        **{name: details[name] for name in ("task", "dependencies", "dependents", "checkpoints", "context")},
        "why": await visit.ask("why", task_id=task_id),
        "events": shown,
        "older": shown[-1]["seq"] if len(shown) == _EVENTS else None,
        "workers": workers["workers"],
        "total": workers.get("total"),
        "total_of_reviews": workers.get("reviews"),
        "log": await log_end(visit, workers["workers"][0]["worker_id"], _LINES) if workers["workers"] else None,
        "submissions": (await visit.ask("submissions", task_id=task_id))["entries"],
        "reviews": (await visit.ask("review_status", task_id=task_id))["reviews"],
        "approvals": approvals,
        "shown": await in_full(visit, approvals),
        "messages": (await visit.ask("messages", task_id=task_id, limit=10))["messages"],
        "files": files["checkpoints"],
        "violations": (await visit.ask("violations", task_id=task_id, limit=5))["violations"],
    }


async def _files(visit: Visit) -> Data:
    """{task, workspace, checkpoints (newest first), chosen (a number or `now`), since, whole, diff, findings, problem (why
    there is no diff), rolled (what went back, newest first)}"""
    task_id = visit.path["task_id"]
    asked = visit.filter("since")
    since = None if asked is None else _number("since", asked)
    why = await visit.ask("why", task_id=task_id)
    checkpoints: list[Data] = []
    before: int | None = None
    while len(checkpoints) < _CHECKPOINTS:
        page = await visit.ask("workspace_checkpoints", task_id=task_id, limit=_CHECKPOINTS, before=before)
        checkpoints += page["checkpoints"]
        before = page.get("next_before")
        if before is None:
            break
    back = await visit.ask("recoveries", task_id=task_id, limit=50)
    data: Data = {
        "task": {name: why[name] for name in ("task_id", "title", "status", "version")},
        "workspace": why.get("workspace"),
        "checkpoints": checkpoints,
        "older": before,
        "rolled": [one for one in back["recoveries"] if one["kind"] == _ROLLED_BACK][:5],
        "chosen": None,
        "since": since,
        "whole": visit.filter("whole") == "yes",
        "diff": None,
        "findings": [],
        "problem": None,
    }
    chosen = visit.filter("checkpoint") or (checkpoints[0]["number"] if checkpoints else None)
    if chosen is None:
        return data
    number = None if chosen == NOW else _number("checkpoint", str(chosen))
    data["chosen"] = chosen if number is None else number
    if number is not None:
        one = await visit.ask("workspace_checkpoints", task_id=task_id, checkpoint=number)
        data["findings"] = one["checkpoints"][0].get("findings", [])
    try:
        data["diff"] = await _diff(visit, checkpoints, number, since, whole=data["whole"])
    except (Conflict, NotFound) as error:  # its worktree is gone, or on another host
        data["problem"] = {"message": error.message, "hint": error.hint}
    return data


async def _diff(visit: Visit, checkpoints: list[Data], number: int | None, since: int | None, *, whole: bool) -> Data:
    task_id = visit.path["task_id"]
    commits = {one["number"]: one["commit"] for one in checkpoints}
    known = number in commits and (since is None or since in commits)
    store = visit.services.get(WatchedStore)  # one server may serve several projects
    key = (store, task_id, commits.get(number or 0), since if since is None else commits.get(since), whole)
    if known and key in _diffs:
        _diffs.move_to_end(key)
        return _diffs[key]
    found = await visit.ask(
        "workspace_diff",
        task_id=task_id,
        checkpoint=number,
        since=since,
        whole=True if whole and since is None else None,
    )
    if known:
        _diffs[key] = found
        while len(_diffs) > _KEPT_DIFFS:
            _diffs.popitem(last=False)
    return found


def _number(name: str, text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise InvalidInput(name, "the number of a checkpoint")
    return int(text)


TASK = Page("/tasks/{task_id}", "task.html", "Task", _task, query=frozenset({"before"}))
FILES = Page("/tasks/{task_id}/files", "files.html", "Files", _files, query=frozenset({"checkpoint", "since", "whole"}))
