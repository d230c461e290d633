"""Work that a review has held goes on, goes back, or is stopped."""

from datetime import timedelta
from typing import Any

from wvo_mcp.domain.approval import Approval, ApprovalKind
from wvo_mcp.domain.merging import OPEN, PASSED, WAITS, EntryState
from wvo_mcp.domain.messages import MessageKind
from wvo_mcp.domain.review import KEPT, Review
from wvo_mcp.domain.task import BlockAuthor, Status, Task
from wvo_mcp.domain.visible import cut, visible
from wvo_mcp.orchestration import messages
from wvo_mcp.orchestration.tasks import lifecycle, review, reviewing
from wvo_mcp.orchestration.tasks.told import told_first
from wvo_mcp.ports import Transaction

Row = dict[str, Any]
_DECIDED_WITHIN = timedelta(days=7)
_REASON = 2_000
_TOLD = 1_500
_PASSED = (
    "The review of your work on {task_id} has passed. Hold the task, open its workspace (workspace_open), change nothing"
    " in it, and call complete_task: that puts it into the project's folder. Anything else is reviewed again."
)


async def held_entry(tx: Transaction, task_id: str) -> Row | None:
    """The entry of the task that waits for a review."""
    entries = await tx.submissions.of_task(task_id)
    return next((one for one in entries if one["review"] == WAITS and one["state"] in OPEN), None)


async def waits(tx: Transaction, task: Task, asked: Review) -> bool:
    """Is what this was asked about still held for it?"""
    if task.status is not Status.IN_REVIEW:
        return False
    held = await held_entry(tx, task.id)
    return (held["entry_id"] if held else None) == asked.entry_id


async def passed(tx: Transaction, task: Task, entry: Row | None) -> Task:
    """The entry may land. Without one the task is done, or open again for its author, who alone can say when what is in a
    copy is put into the project's folder."""
    await tx.alerts.resolve_alert(reviewing.ALERT, task.id)
    if entry is None and (last := await reviewing.of_copy(tx, task.id)) is not None:
        told = _PASSED.format(task_id=task.id)
        await _tell_first(tx, task, told)
        await messages.send(tx, last.author, MessageKind.NOTE, told, task_id=task.id)
        kept = {"kept_for": reviewing.family(last.author), "kept_until": tx.now + KEPT}
        data = {"commit": last.commit_sha, "base": last.base_sha}
        return (await lifecycle.move(tx, task, Status.PENDING, reviewing.REVIEWED, kept, data)).task
    if entry is None:
        return (
            await lifecycle.move(tx, task, Status.DONE, "task.completed", data={"because": "its review passed"})
        ).task
    change = {"review": PASSED, "state": EntryState.QUEUED, "reason": None, "retry_at": None}
    await tx.submissions.change(entry["entry_id"], change)
    await tx.events.append("merge.queued", task.id, {"entry": entry["entry_id"]})
    return task


async def warned(tx: Transaction, task: Task, asked: Review, told: str) -> Task:
    """Open again for its author, who is told first what to mend; its entry waits meanwhile."""
    await _tell_first(tx, task, told)
    kept = {"kept_for": reviewing.family(asked.author), "kept_until": tx.now + KEPT}
    data = {"round": asked.round, "reason": told[:_REASON]}
    return (await lifecycle.move(tx, task, Status.PENDING, reviewing.CONCERNS, kept, data, keeps_entry=True)).task


async def paused(tx: Transaction, task: Task, asked: Review, told: str) -> Approval:
    """A person decides about exactly this commit."""
    what = asked.entry_id or "it"
    subject = {
        "task_id": task.id,
        "commit": asked.commit_sha,
        "review": asked.round,
        "question": f"let {what} of {task.id} go on although reviewers have concerns: {told}",
    }
    approval = await tx.approvals.add(
        {
            "kind": ApprovalKind.MERGE.value,
            "task_id": task.id,
            "subject": subject,
            "asked_by": asked.author,
            "asked_session": asked.author_session or "",
            "expires_at": tx.now + _DECIDED_WITHIN,
        }
    )
    message = f"{task.id}: {cut(visible(told), _TOLD)} Decide: {approval.decide}"
    await tx.alerts.raise_alert(reviewing.ALERT, "warning", task.id, message)
    return approval


def asks_about_review(approval: Approval) -> bool:
    return approval.kind is ApprovalKind.MERGE and "review" in approval.subject


async def answered(tx: Transaction, task: Task, approval: Approval, approved: bool, why: str) -> Task:
    """What a person, or silence, said to `paused`; of older work it changes nothing."""
    (asked, *_) = await tx.reviews.of_round(task.id, approval.subject["review"])
    if asked.commit_sha != approval.subject["commit"] or not await waits(tx, task, asked):
        return task
    entry = await held_entry(tx, task.id)
    if approved:
        return await passed(tx, task, entry)
    await tx.alerts.resolve_alert(reviewing.ALERT, task.id)
    if entry is not None:
        return await review.park(tx, entry, why)
    return (await lifecycle.block(tx, task, why, [], BlockAuthor.APPROVAL)).task


async def stopped(tx: Transaction, task: Task, told: str) -> Task:
    """The entry is parked and the task blocked, until people unblock it or pass it."""
    await _tell_first(tx, task, told)
    if (entry := await held_entry(tx, task.id)) is not None:
        change = {"state": EntryState.PARKED, "reason": told[:_REASON], "retry_at": None}
        await tx.submissions.change(entry["entry_id"], change)
        await tx.events.append("merge.parked", task.id, {"entry": entry["entry_id"], "reason": told[:_REASON]})
    moved = await lifecycle.block(tx, task, told[:_REASON], [], BlockAuthor.REVIEW)
    message = (
        f"{task.id} was stopped: {cut(visible(told), _TOLD)} It goes on by: wvo-mcp unblock {task.id}"
        f'   or: wvo-mcp review {task.id} --pass "reason"'
    )
    await tx.alerts.raise_alert(reviewing.ALERT, "critical", task.id, message)
    return moved.task


async def _tell_first(tx: Transaction, task: Task, told: str) -> None:
    await tx.events.append("review.told", task.id, {"checkpoint": await told_first(tx, task, told)})
