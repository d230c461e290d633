"""Which approvals are open, as far as it follows from what their task is (contract, section 12)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from wvo_mcp.domain.task import BlockAuthor, Status, Task
from wvo_mcp.ports import Transaction

if TYPE_CHECKING:
    from wvo_mcp.domain.approval import Approval

ALERT = "approval"
_LOOKED_AT = 100
DECIDED = "approval_decided"
"""The fact of the store that names what was decided last: whoever waits looks at it."""


def subject_of(task: Task) -> dict[str, Any]:
    """What a person approves of a task that requires it."""
    return {
        "task_id": task.id,
        "title": task.title,
        "description": task.description,
        "acceptance": list(task.acceptance),
        "files": list(task.files),
    }


async def gate(tx: Transaction, task: Task) -> Approval:
    """The approval that `requires_approval` makes; it never expires. A person whose call made it has not asked for it."""
    nobody = {"asked_by": "", "asked_session": ""} if tx.caller.person else {}
    return await tx.approvals.add({"kind": "task", "task_id": task.id, "subject": subject_of(task), **nobody})


async def follow(tx: Transaction, before: Task, after: Task) -> None:
    """A task has changed: what it no longer asks is void, and what it asks now is open. A decision is bound to what the task
    said when it was asked."""
    from wvo_mcp.domain.approval import subject_hash

    left = before.status is Status.AWAITING_APPROVAL and after.status is not Status.AWAITING_APPROVAL
    wanted = _asks(after)
    current = subject_hash(subject_of(after)) if wanted else ""
    found = False
    for approval in await tx.approvals.open_of_task(after.id):
        if approval.gate and approval.subject_hash == current:
            found = True
        elif approval.gate or left:
            await void(tx, approval)
    if left:
        await tx.alerts.resolve_alert(ALERT, after.id)
    if wanted and not found:
        await gate(tx, after)


async def forgotten(tx: Transaction, task_id: str) -> None:
    """The task was over and is open again: what its work before was allowed to run is asked anew."""
    for approval in await tx.approvals.of_task(task_id, _LOOKED_AT):
        if approval.kind == "command" and approval.state == "approved":
            await void(tx, approval)


def _asks(task: Task) -> bool:
    """Does it stand before a person as a whole? What a person has refused does so again once it is unblocked."""
    if not task.requires_approval or task.approved_at is not None:
        return False
    return task.status is Status.PENDING or (
        task.status is Status.BLOCKED and task.block_author is not BlockAuthor.APPROVAL
    )


def alert_of(approval: Approval) -> str:
    """The kind of the alert of one that belongs to no task."""
    return f"{ALERT}_{approval.approval_id}"


async def void(tx: Transaction, approval: Approval) -> None:
    """It is no longer asked."""
    await tx.approvals.change(approval.approval_id, {"state": "void", "decided_at": tx.now})
    if approval.task_id is None:
        await tx.alerts.resolve_alert(alert_of(approval), None)
    await tx.events.append("approval.voided", approval.task_id, {"approval_id": approval.approval_id})
