"""Tasks that require an approval, and what agents ask about their tasks: commands, and questions."""

from collections.abc import Mapping
from datetime import timedelta
from functools import partial
from typing import Any

from wvo_mcp.domain.approval import Approval, ApprovalKind, ApprovalState, subject_hash
from wvo_mcp.domain.task import BlockAuthor, Origin, Status, Task
from wvo_mcp.errors import Conflict
from wvo_mcp.orchestration.approvals.question import SHOWN, Question, check_asker, recorded
from wvo_mcp.orchestration.tasks import asked, lifecycle
from wvo_mcp.orchestration.tasks.told import told_first
from wvo_mcp.ports import Transaction

KEPT_SECONDS = 600
"""So long the agent that asked comes before others."""


async def check(tx: Transaction, question: Question) -> None:
    """Raises Forbidden (who asked) and Conflict (the task says something else by now)."""
    approval, task = question.approval, question.task
    # A gate that people or the roadmap set is no request of theirs.
    if not (approval.gate and task is not None and task.origin is not Origin.AGENT):
        await check_asker(tx, question)
    bound = ("", None if task is None else subject_hash(asked.subject_of(task)))  # one of before has no hash
    if approval.gate and approval.subject_hash not in bound:
        changed = Conflict(
            f"{approval.task_id} has changed since {approval.approval_id} was asked.",
            hint="Look at the task, then decide what wvo-mcp approvals lists for it.",
        )
        changed.follow_up = partial(_ask_again, task_id=approval.task_id or "")
        raise changed


async def _ask_again(tx: Transaction, task_id: str) -> None:
    task = await tx.tasks.get(task_id)
    await asked.follow(tx, task, task)


async def answered(tx: Transaction, question: Question) -> Task | None:
    """The task goes on, kept for a while for the agent that asked, or is blocked."""
    approval, approved, task = question.approval, question.approved, question.task
    if task is None:
        return await recorded(tx, question)
    if approval.state is ApprovalState.EXPIRED:
        return await _expired(tx, task, approval)
    data = {"approval_id": approval.approval_id, **({"reason": approval.reason} if approval.reason else {})}
    if approval.gate:
        if approved:
            return await tx.tasks.change(task, "task.approved", {"approved_at": tx.now}, data)
        return await _block(tx, task, f"{approval.reason}", "task.denied", data)
    if task.status is not Status.AWAITING_APPROVAL:
        return await recorded(tx, question)
    await _tell(tx, task, approval, approved)
    kind = "task.approved" if approved else "task.denied"
    if approved or approval.kind is ApprovalKind.COMMAND:
        kept = {
            "kept_for": await _whose(tx, task, approval),
            "kept_until": tx.now + timedelta(seconds=KEPT_SECONDS),
        }
        return (await lifecycle.move(tx, task, Status.PENDING, kind, kept, data)).task
    return await _block(tx, task, f"{approval.approval_id} was denied: {approval.reason}", kind, data)


async def _expired(tx: Transaction, task: Task, approval: Approval) -> Task:
    if task.status is not Status.AWAITING_APPROVAL:
        return task
    why = f"{approval.approval_id} expired: {approval.reason}"
    blocked = await _block(tx, task, why, "approval.expired", {"approval_id": approval.approval_id})
    message = f"{task.id} was blocked: {why}. Asked was: {approval.glance(SHOWN)}. wvo-mcp unblock {task.id}"
    await tx.alerts.raise_alert("task_blocked", "warning", task.id, message)
    return blocked


async def _block(tx: Transaction, task: Task, reason: str, kind: str, data: Mapping[str, Any]) -> Task:
    fields: dict[str, Any] = {"blocked_reason": reason, "block_author": BlockAuthor.APPROVAL}
    if task.requires_approval:
        fields["approved_at"] = None
    return (await lifecycle.move(tx, task, Status.BLOCKED, kind, fields, data)).task


async def _whose(tx: Transaction, task: Task, approval: Approval) -> str:
    """The agent that asked; of a worker any place of its pool, since its session can go on in each."""
    (worker,) = await tx.workers.of_task(task.id, 1) or (None,)
    if worker is not None and worker.agent_id == approval.asked_by:
        return approval.asked_by.rpartition(".")[0] or approval.asked_by
    return approval.asked_by


async def _tell(tx: Transaction, task: Task, approval: Approval, approved: bool) -> None:
    verdict = "approved" if approved else "denied"
    why = f": {approval.reason}" if approval.reason else ""
    answer = f"{approval.approval_id} {verdict} by {approval.decided_by}{why}. Asked was: {approval.about}"
    if approval.kind is ApprovalKind.COMMAND:
        then = "run exactly this once" if approved else "do not run it; find another way, or block_task"
        answer = f"{answer}. Now {then}."
    saved = await told_first(tx, task, answer)
    data = {"approval_id": approval.approval_id, "checkpoint": saved, "summary": answer[:SHOWN]}
    await tx.events.append("approval.answered", task.id, data)
