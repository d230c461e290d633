"""How submitted work went on, in the transaction of its entry (contract, sections 3 and 11)."""

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any, NamedTuple

from wvo_mcp.domain import merging
from wvo_mcp.domain.merging import KEPT, MOST_SENT_BACK, OPEN, EntryKind, EntryState, sent_back_in_a_row
from wvo_mcp.domain.task import BlockAuthor, Status, Task
from wvo_mcp.errors import Conflict
from wvo_mcp.orchestration.tasks import lifecycle, reviewing
from wvo_mcp.orchestration.tasks.lifecycle import Moved
from wvo_mcp.orchestration.tasks.submitting import PARKED
from wvo_mcp.orchestration.tasks.told import told_first
from wvo_mcp.ports import Transaction

Row = dict[str, Any]
_REASON = 2_000
_LATE = "merge_landed_late"


async def landed(tx: Transaction, entry: Row, fields: Mapping[str, Any]) -> Task:
    """Its work is in the target, `fields` say how: the task is done; one whose work was taken back is open again. What was
    withdrawn while it landed is in the target all the same, and people hear of it."""
    task = await tx.tasks.get(entry["task_id"])
    await tx.submissions.change(entry["entry_id"], {**fields, "state": EntryState.MERGED, "retry_at": None})
    data = {"entry": entry["entry_id"], "commit": fields["landed_sha"], "verified": fields.get("verified")}
    await tx.alerts.resolve_alert(PARKED, task.id)
    if entry["kind"] == EntryKind.REVERT:
        await tx.events.append("merge.reverted", task.id, data)
        if task.status is not Status.DONE:
            return task
        return (await lifecycle.recover(tx, task, "task.reopened", f"{entry['entry_id']} took its work back")).task
    if task.status is Status.IN_REVIEW:
        return (await lifecycle.move(tx, task, Status.DONE, "task.completed", data=data)).task
    await tx.events.append("merge.landed", task.id, data)
    message = (
        f"The work of {task.id} landed while the task became {task.status}: wvo-mcp merge revert {entry['entry_id']} takes"
        " it back."
    )
    await tx.alerts.raise_alert(_LATE, "warning", task.id, message, data)
    return task


async def sent_back(tx: Transaction, entry: Row, state: EntryState, told: str, findings: Mapping[str, Any]) -> Task:
    """A conflict or a red verification: the task is open again for the agent that submitted it, which is `told` what to mend;
    the third time in a row a person is asked. A revert that fails is parked for people."""
    if entry["kind"] == EntryKind.REVERT:
        return await parked(tx, entry, told, None, findings)
    task = await tx.tasks.get(entry["task_id"])
    times = 1 + sent_back_in_a_row(await tx.submissions.of_task(task.id))
    asked = times >= MOST_SENT_BACK
    found = {**findings, "asked": True} if asked else findings
    fields = {"state": state, "reason": told[:_REASON], "findings": json.dumps(found), "retry_at": None}
    await tx.submissions.change(entry["entry_id"], fields)
    data = {"entry": entry["entry_id"], "because": state.value, "reason": told[:_REASON], "times": times}
    await told_first(tx, task, told)
    if not asked:
        kept = {"kept_for": reviewing.family(str(entry["agent_id"] or "")), "kept_until": tx.now + KEPT}
        return (await lifecycle.move(tx, task, Status.PENDING, "task.returned", kept, data)).task
    why = f"its work came back {times} times, the last time because of {_NAMES[state]}: {told}"[:_REASON]
    return await _blocked(tx, task, why, data)


_NAMES = {EntryState.CONFLICT: "a conflict", EntryState.RED: "a red verification"}


async def parked(
    tx: Transaction, entry: Row, reason: str, retry_at: datetime | None, findings: Mapping[str, Any] | None = None
) -> Task:
    """The cause may pass, or a person has to act: the task stays in review, people are told, and with `retry_at` it is tried
    again."""
    task = await tx.tasks.get(entry["task_id"])
    known = json.loads(entry["findings"]) | dict(findings or {}) | {"parked": times_parked(entry) + 1}
    fields = {"state": EntryState.PARKED, "reason": reason[:_REASON], "retry_at": retry_at}
    await tx.submissions.change(entry["entry_id"], {**fields, "findings": json.dumps(known)})
    if entry["reason"] != reason[:_REASON]:  # else it was tried again, and nothing is new
        await tx.events.append("merge.parked", task.id, {"entry": entry["entry_id"], "reason": reason[:_REASON]})
    again = "it is tried again" if retry_at is not None else f"then: wvo-mcp merge retry {entry['entry_id']}"
    message = f"The work of {task.id} waits to land: {reason[:_REASON]} ({again})"
    await tx.alerts.raise_alert(PARKED, "warning" if retry_at else "critical", task.id, message)
    return task


def times_parked(entry: Row) -> int:
    """How often it was parked since it was made."""
    return int(json.loads(entry["findings"]).get("parked", 0))


async def park(tx: Transaction, entry: Row, reason: str) -> Task:
    """A person takes it out of the line: its task is blocked until they try it again, or unblock it, which opens it for its
    agent. A landing that has begun is not stopped. Raises Conflict."""
    _check_open(entry, "parked")
    fields = {"state": EntryState.PARKED, "reason": reason[:_REASON], "retry_at": None}
    await tx.submissions.change(entry["entry_id"], fields)
    data = {"entry": entry["entry_id"], "reason": reason}
    await tx.events.append("merge.parked", entry["task_id"], data)
    task = await tx.tasks.get(entry["task_id"])
    if entry["kind"] == EntryKind.REVERT or task.status is not Status.IN_REVIEW:
        return task
    return (await lifecycle.block(tx, task, reason, [], BlockAuthor.MERGE)).task


async def retry(tx: Transaction, entry: Row) -> Task:
    """A parked entry is next in its order again; a task that was blocked with it is in review again. Raises Conflict: it is not
    parked, or its task is blocked for another reason."""
    task = await tx.tasks.get(entry["task_id"])
    if entry["state"] != EntryState.PARKED:
        raise Conflict(f"{entry['entry_id']} is {entry['state']}; only what is parked can be tried again.")
    if entry["kind"] == EntryKind.SUBMISSION and lands_again(task):
        data = {"entry": entry["entry_id"]}
        task = (await lifecycle.move(tx, task, Status.IN_REVIEW, "task.unblocked", {"progress": 100}, data)).task
    if entry["kind"] == EntryKind.SUBMISSION and task.status is not Status.IN_REVIEW:
        raise Conflict(
            f"{task.id} is {task.status}: its work lands only while it is in review.",
            hint=f"wvo-mcp unblock {task.id} opens it for its agent, whose next completion submits it anew.",
        )
    await tx.submissions.change(entry["entry_id"], {"state": EntryState.QUEUED, "reason": None, "retry_at": None})
    await tx.events.append("merge.queued", task.id, {"entry": entry["entry_id"]})
    await tx.alerts.resolve_alert(PARKED, task.id)
    return task


def lands_again(task: Task) -> bool:
    """Is it blocked because its entry was parked, so that trying that again lifts it?"""
    return task.status is Status.BLOCKED and task.block_author is BlockAuthor.MERGE


async def revert(tx: Transaction, entry: Row) -> Row:
    """The entry that takes back what this one has landed, by a new commit. Raises Conflict."""
    if not _reverts(entry):
        raise Conflict(f"{entry['entry_id']} is {entry['state']}; only a submission that has landed can be taken back.")
    if (taken := await _taken_back(tx, entry)) is not None:
        raise Conflict(f"{taken['entry_id']} takes {entry['entry_id']} back already; it is {taken['state']}.")
    fields = {name: entry[name] for name in ("task_id", "repository", "host", "path", "target")}
    number = await tx.submissions.next_number(entry["task_id"])
    added = await tx.submissions.add(
        {
            **fields,
            "kind": EntryKind.REVERT,
            "number": number,
            "commit_sha": entry["landed_sha"],
            "base_sha": entry["tip_sha"],
        }
    )
    data = {"entry": added["entry_id"], "of": entry["entry_id"], "commit": entry["landed_sha"]}
    await tx.events.append("merge.revert_asked", entry["task_id"], data)
    return added


def _reverts(entry: Mapping[str, Any]) -> bool:
    return entry["state"] == EntryState.MERGED and entry["kind"] == EntryKind.SUBMISSION and bool(entry["tip_sha"])


async def _taken_back(tx: Transaction, entry: Mapping[str, Any]) -> Row | None:
    """The entry that takes it back, or has done so."""
    others = await tx.submissions.of_task(entry["task_id"])
    same = [one for one in others if one["kind"] == EntryKind.REVERT and one["commit_sha"] == entry["landed_sha"]]
    return next((one for one in same if one["state"] in OPEN or one["state"] == EntryState.MERGED), None)


async def possible(tx: Transaction, entry: Mapping[str, Any], task: Task) -> list[str]:
    """What people can do with it now: retry, park, revert."""
    if _reverts(entry):
        return [] if await _taken_back(tx, entry) else ["revert"]
    if entry["state"] == EntryState.PARKED:
        lands = entry["kind"] == EntryKind.REVERT or task.status is Status.IN_REVIEW or lands_again(task)
        return (["retry"] if lands else []) + (["park"] if entry["retry_at"] else [])
    return ["park"] if entry["state"] in OPEN and entry["state"] != EntryState.LANDING else []


async def returned(tx: Transaction, task_id: str) -> Row | None:
    """The entry whose conflict or red verification opened the task again; None where its newest is another."""
    newest = next(iter(await tx.submissions.of_task(task_id)), None)
    sent = newest is not None and newest["state"] in (EntryState.CONFLICT, EntryState.RED)
    return newest if sent else None


class Beginning(NamedTuple):
    """What a task's place is made from: `bases` and `landed` as `domain.merging.begins_with` has them; `onto`, the commit of
    the target on which its own work could not land."""

    bases: list[str]
    landed: list[str]
    onto: str | None


async def begins_with(tx: Transaction, task_id: str) -> Beginning:
    came_back = await returned(tx, task_id)
    bases, landed = merging.begins_with(await tx.submissions.built_on(task_id))
    return Beginning(bases, landed, None if came_back is None else came_back["tip_sha"])


async def _blocked(tx: Transaction, task: Task, why: str, data: Mapping[str, Any]) -> Task:
    moved: Moved = await lifecycle.block(tx, task, why, [], BlockAuthor.MERGE)
    await tx.alerts.raise_alert("task_blocked", "critical", task.id, f"{task.id} was blocked: {why}", data)
    return moved.task


def _check_open(entry: Row, what: str) -> None:
    if entry["state"] not in OPEN:
        raise Conflict(
            f"{entry['entry_id']} is {entry['state']}; only what is queued, building, verifying or parked can be {what}."
        )
    if entry["state"] == EntryState.LANDING:
        raise Conflict(f"{entry['entry_id']} is landing.", hint="Look again in a moment: wvo-mcp merge queue.")
