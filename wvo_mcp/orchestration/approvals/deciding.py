"""Asking a person, and what follows from the answer (contract, sections 3 and 12)."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any

from wvo_mcp.domain.approval import Approval, ApprovalKind, ApprovalState, check_decider, check_open, subject_hash
from wvo_mcp.domain.instant import iso
from wvo_mcp.domain.lease import Policy
from wvo_mcp.domain.merging import OPEN, EntryState
from wvo_mcp.domain.task import BlockAuthor, Origin, Status, Task
from wvo_mcp.errors import Conflict, WvoError
from wvo_mcp.orchestration.leader import LeaderJob, LeaderTerm
from wvo_mcp.orchestration.tasks import asked, lifecycle, protecting, review, settling
from wvo_mcp.orchestration.tasks.told import told_first
from wvo_mcp.ports import Transaction

KEPT_SECONDS = 600
"""So long the agent that asked comes before others."""
_LOOK_SECONDS = 10.0
_AT_ONCE = 100
_SHOWN = 500


@dataclass(frozen=True, slots=True)
class Decided:
    approval: Approval
    task: Task | None
    """As the decision left it."""


async def ask(
    tx: Transaction,
    policy: Policy,
    task: Task,
    kind: ApprovalKind,
    subject: Mapping[str, Any],
    why: str | None = None,
) -> Approval:
    """Ask a person about a task in progress: it awaits the answer, and costs neither a lease nor WIP meanwhile.

    Raises IllegalTransition.
    """
    until = tx.now + timedelta(seconds=policy.approval_seconds)
    who = {"asked_by": task.assigned_to or tx.caller.agent_id}
    approval = await tx.approvals.add(
        {"kind": kind.value, "task_id": task.id, "subject": dict(subject), "expires_at": until, **who}
    )
    data = {"approval_id": approval.approval_id, "kind": approval.kind.value, "about": approval.about[:_SHOWN]}
    await lifecycle.move(
        tx, task, Status.AWAITING_APPROVAL, "approval.asked", data={**data, **({"why": why} if why else {})}
    )
    await tx.alerts.raise_alert(asked.ALERT, "warning", task.id, _line(approval, why))
    return approval


def _line(approval: Approval, why: str | None) -> str:
    known = approval.approval_id
    because = f" ({why})" if why else ""
    return (
        f"{approval.asked_by} asks for {approval.task_id}: {approval.about[:_SHOWN]}{because}."
        f' Decide: wvo-mcp approve {known}   or: wvo-mcp deny {known} "reason"'
    )


async def usable(tx: Transaction, kind: ApprovalKind, subject: Mapping[str, Any]) -> Approval | None:
    """What was approved for exactly this, and not used yet. One that was not used in time is void."""
    approval = await tx.approvals.usable(kind.value, subject_hash(subject))
    if approval is None or approval.expires_at is None or approval.expires_at > tx.now:
        return approval
    await asked.void(tx, approval)
    return None


async def use(tx: Transaction, kind: ApprovalKind, subject: Mapping[str, Any]) -> Approval | None:
    """The approval of exactly this, used by this call: there is none for the next."""
    approval = await usable(tx, kind, subject)
    if approval is None:
        return None
    await tx.events.append("approval.used", approval.task_id, {"approval_id": approval.approval_id})
    return await tx.approvals.change(approval.approval_id, {"state": ApprovalState.USED})


async def decide(tx: Transaction, approval: Approval, approved: bool, reason: str | None) -> Decided:
    """A person's answer; the first one counts. Raises Conflict (decided, expired, void, or no longer what was asked) and
    Forbidden (who asked)."""
    try:
        check_open(approval, tx.now)
    except WvoError as error:
        if approval.late(tx.now):  # a refusal undoes what was written
            error.follow_up = partial(_expire, approval=approval)
        raise
    task = None if approval.task_id is None else await tx.tasks.get(approval.task_id)
    # A gate that people or the roadmap set is no request of theirs.
    if not (approval.gate and task is not None and task.origin is not Origin.AGENT):
        check_decider(approval, tx.caller.agent_id, tx.caller.session_id)
    bound = ("", None if task is None else subject_hash(asked.subject_of(task)))  # one of before has no hash
    if approval.gate and approval.subject_hash not in bound:
        changed = Conflict(
            f"{approval.task_id} has changed since {approval.approval_id} was asked.",
            hint="Look at the task, then decide what wvo-mcp approvals lists for it.",
        )
        changed.follow_up = partial(_ask_again, task_id=approval.task_id or "")
        raise changed
    verdict = ApprovalState.APPROVED if approved else ApprovalState.DENIED
    fields: dict[str, Any] = {"state": verdict, "decided_by": tx.caller.agent_id, "reason": reason}
    if approved and approval.expires_at is not None:
        fields["expires_at"] = tx.now + (approval.expires_at - approval.created_at)
    decided = await tx.approvals.change(approval.approval_id, {**fields, "decided_at": tx.now})
    return Decided(decided, None if task is None else await _carry_out(tx, task, decided))


async def _carry_out(tx: Transaction, task: Task, approval: Approval) -> Task:
    approved = approval.state is ApprovalState.APPROVED
    data = {"approval_id": approval.approval_id, **({"reason": approval.reason} if approval.reason else {})}
    if approval.gate:
        if approved:
            return await tx.tasks.change(task, "task.approved", {"approved_at": tx.now}, data)
        return await _block(tx, task, f"{approval.reason}", "task.denied", data)
    if approval.kind is ApprovalKind.MERGE:
        return await _of_merge(tx, task, approval)
    if task.status is not Status.AWAITING_APPROVAL:
        await tx.events.append("approval.decided", task.id, {**data, "state": approval.state.value})
        return task
    await _answer(tx, task, approval)
    kind = "task.approved" if approved else "task.denied"
    if approved or approval.kind is ApprovalKind.COMMAND:
        kept = {
            "kept_for": await _whose(tx, task, approval),
            "kept_until": tx.now + timedelta(seconds=KEPT_SECONDS),
        }
        return (await lifecycle.move(tx, task, Status.PENDING, kind, kept, data)).task
    return await _block(tx, task, f"{approval.approval_id} was denied: {approval.reason}", kind, data)


async def _of_merge(tx: Transaction, task: Task, approval: Approval) -> Task:
    """What was denied, or not decided in time, is taken out of the line: the task is blocked until people unblock it."""
    data = {"approval_id": approval.approval_id, "state": approval.state.value}
    await tx.events.append("approval.decided", task.id, data)
    approved = approval.state is ApprovalState.APPROVED
    verb = "was denied" if approval.state is ApprovalState.DENIED else "expired"
    why = f"{approval.approval_id} {verb}: {approval.reason}"
    if settling.asks_about_review(approval):
        return await settling.answered(tx, task, approval, approved, why)
    if approved or task.status is not Status.IN_REVIEW:
        return task
    for entry in await tx.submissions.of_task(task.id):
        waits = entry["state"] in OPEN and entry["state"] != EntryState.LANDING
        if waits and protecting.concerns(entry, approval):
            return await review.park(tx, entry, why)
    return task


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


async def _answer(tx: Transaction, task: Task, approval: Approval) -> None:
    verdict = "approved" if approval.state is ApprovalState.APPROVED else "denied"
    why = f": {approval.reason}" if approval.reason else ""
    answer = f"{approval.approval_id} {verdict} by {approval.decided_by}{why}. Asked was: {approval.about}"
    if approval.kind is ApprovalKind.COMMAND:
        then = "run exactly this once" if verdict == "approved" else "do not run it; find another way, or block_task"
        answer = f"{answer}. Now {then}."
    saved = await told_first(tx, task, answer)
    data = {"approval_id": approval.approval_id, "checkpoint": saved, "summary": answer[:_SHOWN]}
    await tx.events.append("approval.answered", task.id, data)


async def _ask_again(tx: Transaction, task_id: str) -> None:
    task = await tx.tasks.get(task_id)
    await asked.follow(tx, task, task)


async def expire(tx: Transaction) -> list[Approval]:
    """Deny what nobody decided in time, at most 100 at once."""
    return [await _expire(tx, approval) for approval in await tx.approvals.expired(_AT_ONCE)]


async def _expire(tx: Transaction, approval: Approval) -> Approval:
    reason = f"nobody decided before {iso(approval.expires_at or tx.now)}"
    given = {"state": ApprovalState.EXPIRED, "reason": reason, "decided_at": tx.now}
    expired = await tx.approvals.change(approval.approval_id, given)
    task = None if approval.task_id is None else await tx.tasks.find(approval.task_id)
    if task is not None and task.status is Status.AWAITING_APPROVAL:
        why = f"{approval.approval_id} expired: {reason}"
        await _block(tx, task, why, "approval.expired", {"approval_id": approval.approval_id})
        message = f"{task.id} was blocked: {why}. Asked was: {approval.about[:_SHOWN]}. wvo-mcp unblock {task.id}"
        await tx.alerts.raise_alert("task_blocked", "warning", task.id, message)
    elif task is not None and approval.kind is ApprovalKind.MERGE:
        await _of_merge(tx, task, expired)
    return expired


def expiring() -> LeaderJob:
    """The leader's job that makes silence a no."""

    async def run(term: LeaderTerm) -> None:
        if await term.read(term.caller, lambda tx: tx.approvals.expired(1)):
            await term.write(term.caller, expire)

    return LeaderJob("approvals", _LOOK_SECONDS, run)
