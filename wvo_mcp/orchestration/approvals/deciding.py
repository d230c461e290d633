"""Asking a person, deciding once, using once (contract, sections 3 and 12). What differs from kind to kind is in one table."""

from collections.abc import Mapping
from functools import partial
from typing import Any

from wvo_mcp.domain.approval import Approval, ApprovalKind, ApprovalState, check_open, subject_hash
from wvo_mcp.domain.instant import iso
from wvo_mcp.domain.lease import Policy
from wvo_mcp.domain.task import Status, Task
from wvo_mcp.domain.visible import cut, visible
from wvo_mcp.errors import WvoError
from wvo_mcp.orchestration.approvals import budgets, merges, tasks
from wvo_mcp.orchestration.approvals.question import SHOWN, WEEK, Decided, Kind, Question
from wvo_mcp.orchestration.leader import LeaderJob, LeaderTerm
from wvo_mcp.orchestration.tasks import asked, lifecycle
from wvo_mcp.ports import Transaction
from wvo_mcp.ports.providers import Providers

_LOOK_SECONDS = 10.0
_AT_ONCE = 100

KINDS: Mapping[ApprovalKind, Kind] = {
    ApprovalKind.TASK: Kind(check=tasks.check, answered=tasks.answered),
    ApprovalKind.COMMAND: Kind(answered=tasks.answered),
    ApprovalKind.MERGE: Kind(lasts=lambda policy: WEEK, answered=merges.answered),
    ApprovalKind.FLOW_STEP: Kind(lasts=lambda policy: WEEK),
    ApprovalKind.BUDGET: Kind(check=budgets.check, answered=budgets.answered, approved=ApprovalState.USED),
}
"""Subjects, and the lines for people, are in `domain.approval`."""


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
    until = tx.now + KINDS[kind].lasts(policy)
    who = {"asked_by": task.assigned_to or tx.caller.agent_id}
    approval = await tx.approvals.add(
        {"kind": kind.value, "task_id": task.id, "subject": dict(subject), "expires_at": until, **who}
    )
    data = {**_asked(approval), **({"why": why} if why else {})}
    await lifecycle.move(tx, task, Status.AWAITING_APPROVAL, "approval.asked", data=data)
    await tx.alerts.raise_alert(asked.ALERT, "warning", task.id, _line(approval, why))
    return approval


async def ask_apart(
    tx: Transaction,
    policy: Policy,
    kind: ApprovalKind,
    topic: str,
    subject: Mapping[str, Any],
    why: str | None = None,
) -> Approval:
    """Ask a person about what belongs to no task. One is open for a topic: asking the same again answers it, and another
    subject makes the one before void."""
    newest = await tx.approvals.newest_about(topic)
    if newest is not None and newest.subject_hash == subject_hash(subject):
        open_ = newest.state is ApprovalState.PENDING and not newest.late(tx.now)
        if open_ or (newest.state is ApprovalState.APPROVED and not _over(tx, newest)):
            return newest
    await void_about(tx, topic)
    until = tx.now + KINDS[kind].lasts(policy)
    approval = await tx.approvals.add(
        {"kind": kind.value, "topic": topic, "subject": dict(subject), "expires_at": until}
    )
    await tx.events.append("approval.asked", None, {**_asked(approval), **({"why": why} if why else {})})
    await tx.alerts.raise_alert(asked.alert_of(approval), "warning", None, _line(approval, why))
    return approval


async def void_about(tx: Transaction, topic: str) -> None:
    """What was asked of the topic is no longer asked, nor may be used."""
    newest = await tx.approvals.newest_about(topic)
    if newest is not None and newest.state in (ApprovalState.PENDING, ApprovalState.APPROVED):
        await asked.void(tx, newest)


def _asked(approval: Approval) -> dict[str, str]:
    return {"approval_id": approval.approval_id, "kind": approval.kind.value, "about": approval.glance(SHOWN)}


def _line(approval: Approval, why: str | None) -> str:
    because = f" ({cut(visible(why), SHOWN)})" if why else ""
    for_what = "" if approval.task_id is None else f" for {approval.task_id}"
    return f"{approval.asked_by} asks{for_what}: {approval.glance(SHOWN)}{because}. Decide: {approval.decide}"


async def usable(tx: Transaction, kind: ApprovalKind, subject: Mapping[str, Any]) -> Approval | None:
    """What was approved for exactly this, and not used yet. One that was not used in time is void."""
    approval = await tx.approvals.usable(kind.value, subject_hash(subject))
    if approval is None or not _over(tx, approval):
        return approval
    await asked.void(tx, approval)
    return None


def _over(tx: Transaction, approval: Approval) -> bool:
    return approval.expires_at is not None and approval.expires_at <= tx.now


async def use(tx: Transaction, kind: ApprovalKind, subject: Mapping[str, Any]) -> Approval | None:
    """The approval of exactly this, used by this call: there is none for the next."""
    approval = await usable(tx, kind, subject)
    if approval is None:
        return None
    await tx.events.append("approval.used", approval.task_id, {"approval_id": approval.approval_id})
    return await tx.approvals.change(approval.approval_id, {"state": ApprovalState.USED})


async def decide(
    tx: Transaction, approval: Approval, approved: bool, reason: str | None, providers: Providers | None = None
) -> Decided:
    """A person's answer; the first one counts. Raises Conflict (decided, expired, void, or no longer what was asked) and
    Forbidden (who asked)."""
    kind = KINDS[approval.kind]
    try:
        check_open(approval, tx.now)
    except WvoError as error:
        if approval.late(tx.now):  # a refusal undoes what was written
            error.follow_up = partial(_expire, approval=approval)
        raise
    task = None if approval.task_id is None else await tx.tasks.get(approval.task_id)
    await kind.check(tx, Question(approval, approved, task, providers))
    verdict = kind.approved if approved else ApprovalState.DENIED
    fields: dict[str, Any] = {"state": verdict, "decided_by": tx.caller.agent_id, "reason": reason}
    if approved and approval.expires_at is not None:
        fields["expires_at"] = tx.now + (approval.expires_at - approval.created_at)
    return await _settle(tx, approval, approved, fields, task, providers)


async def expire(tx: Transaction) -> list[Approval]:
    """Deny what nobody decided in time, at most 100 at once."""
    return [await _expire(tx, approval) for approval in await tx.approvals.expired(_AT_ONCE)]


async def _expire(tx: Transaction, approval: Approval) -> Approval:
    reason = f"nobody decided before {iso(approval.expires_at or tx.now)}"
    task = None if approval.task_id is None else await tx.tasks.find(approval.task_id)
    fields = {"state": ApprovalState.EXPIRED, "reason": reason}
    return (await _settle(tx, approval, False, fields, task, None)).approval


async def _settle(
    tx: Transaction,
    approval: Approval,
    approved: bool,
    fields: Mapping[str, Any],
    task: Task | None,
    providers: Providers | None,
) -> Decided:
    settled = await tx.approvals.change(approval.approval_id, {**fields, "decided_at": tx.now})
    await tx.state.put(asked.DECIDED, approval.approval_id)
    if approval.task_id is None:
        await tx.alerts.resolve_alert(asked.alert_of(approval), None)
    return Decided(settled, await KINDS[approval.kind].answered(tx, Question(settled, approved, task, providers)))


def expiring() -> LeaderJob:
    """The leader's job that makes silence a no."""

    async def run(term: LeaderTerm) -> None:
        if await term.read(term.caller, lambda tx: tx.approvals.expired(1)):
            await term.write(term.caller, expire)

    return LeaderJob("approvals", _LOOK_SECONDS, run)
