"""What a task leaves that was done in a place of its own: an entry with the pinned commit, in the transaction that completes
it; and what becomes of the entry when the task is open again."""

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from wvo_mcp.domain.files import overlap
from wvo_mcp.domain.merging import OPEN, EntryKind, EntryState
from wvo_mcp.domain.task import Task, TaskType
from wvo_mcp.errors import Conflict
from wvo_mcp.orchestration.tasks import protecting, reviewing
from wvo_mcp.ports import Transaction

if TYPE_CHECKING:  # a first call needs nothing of it
    from wvo_mcp.ports.places import Prepared

Work = dict[str, Any]
Row = Mapping[str, Any]
_SHADOW = "shadow"
PARKED = "merge_parked"
"""The alert of a task whose entry is parked."""
_DRIFT_KEPT = 100
_EVENTS = 50


def is_own(task: Task, place: Row) -> bool:
    """Is the place (a row of `workspaces`) a worktree or a copy of the lease that holds the task?"""
    open_ = place["state"] == "open" and place["mode"] != "folder"
    return open_ and place["lease_token"] == task.lease_token


def submits(task: Task, place: Row) -> bool:
    """Does its work land through the queue?"""
    return is_own(task, place) and _lands(place)


def promotes(task: Task, place: Row) -> bool:
    """Is its work put into the project's folder at once?"""
    return is_own(task, place) and place["mode"] == _SHADOW


def _lands(place: Row) -> bool:
    return place["mode"] == _SHADOW or (place["mode"] != "folder" and bool(json.loads(place["facts"]).get("submits")))


def left(task: Task, place: Row) -> Work:
    """The task is done as if it had no place: that one is of an earlier lease, or of another host, and stays. `left` is its
    path, `notice` a sentence for whoever completes the task; nothing where nothing is amiss."""
    older = place["lease_token"] != task.lease_token
    if place["mode"] == "folder" or not (older or _lands(place)):
        return {}
    whose = "of an earlier lease" if older else f"on the host {place['host']}"
    notice = (
        f"{task.id} was completed without a submission: its workspace {place['path']} is {whose}. It stays as it is, and"
        " nothing of it will land. A person finds it with wvo-mcp workspaces."
    )
    return {"left": place["path"], "notice": notice}


async def submitted(tx: Transaction, task: Task, prepared: "Prepared") -> Work:
    """{submission: {entry_id, state, commit}}, or {no_changes: True}.

    Raises Conflict the first time that a task which should change something changed nothing: whoever works on it is asked
    whether that is right, and says so by completing it again.
    """
    if not prepared.files:
        if task.type is TaskType.GENERATION and not await _asked(tx, task):
            raise _nothing_changed(task)
        return {"no_changes": True}
    drift = [name for name in prepared.files if task.files and not any(overlap(glob, name) for glob in task.files)]
    entry = await tx.submissions.add(
        {
            "task_id": task.id,
            "number": prepared.number,
            "repository": prepared.repository,
            "host": prepared.host,
            "path": prepared.path,
            "target": prepared.target,
            "commit_sha": prepared.commit,
            "base_sha": prepared.base,
            "findings": protecting.findings_of(prepared.violations),
            "drift": json.dumps([_printable(name) for name in drift[:_DRIFT_KEPT]]),
        }
    )
    await protecting.ask(tx, task, entry)
    made = {"entry_id": entry["entry_id"], "state": entry["state"], "commit": prepared.commit}
    return {"submission": made, "files_changed": len(prepared.files), "drift": len(drift)}


async def promoted(tx: Transaction, task: Task, place: Row, files: Sequence[str]) -> Work:
    """Of a copy of the project's folder. {promoted: paths}, or {no_changes: True}; raises as `submitted`."""
    if not files and not json.loads(place["facts"]).get("promoted"):
        if task.type is TaskType.GENERATION and not await _asked(tx, task):
            raise _nothing_changed(task)
        return {"no_changes": True}
    return {"promoted": [_printable(name) for name in files[:_DRIFT_KEPT]], "files_changed": len(files)}


async def withdrawn(tx: Transaction, task_id: str, because: str) -> None:
    """What the task has in the queue does not land: it is open again, or cancelled. A revert is not the task's own."""
    for entry in await tx.submissions.of_task(task_id):
        if entry["state"] in OPEN and entry["kind"] == EntryKind.SUBMISSION:
            await tx.submissions.change(entry["entry_id"], {"state": EntryState.WITHDRAWN, "reason": because})
            await tx.events.append("merge.withdrawn", task_id, {"entry": entry["entry_id"], "reason": because})
    await protecting.void(tx, task_id)
    await reviewing.ended(tx, task_id)
    await tx.alerts.resolve_alert(PARKED, task_id)


async def superseded(tx: Transaction, task_id: str) -> None:
    """The task is completed again: what it has in the queue since reviewers had concerns is not what lands."""
    if any(
        one["state"] in OPEN and one["kind"] == EntryKind.SUBMISSION for one in await tx.submissions.of_task(task_id)
    ):
        await withdrawn(tx, task_id, "it was completed again")


async def _asked(tx: Transaction, task: Task) -> bool:
    events = await tx.events.of_task(task.id, _EVENTS)
    return any(one.kind == "task.no_changes" and one.data.get("lease_token") == task.lease_token for one in events)


def _nothing_changed(task: Task) -> Conflict:
    error = Conflict(
        f"Nothing in the workspace of {task.id} differs from what it began with, so nothing would be submitted.",
        hint="Write what the task asks for into it. If nothing had to change, call complete_task again and say why.",
    )

    async def recorded(tx: Transaction) -> None:
        await tx.events.append("task.no_changes", task.id, {"lease_token": task.lease_token})

    error.follow_up = recorded
    return error


def _printable(name: str) -> str:
    return name.encode(errors="replace").decode()
