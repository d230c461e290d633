"""Every move of a task, with all that follows from it. Nothing else changes a status."""

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from wvo_mcp.domain.lease import Lease, Policy
from wvo_mcp.domain.task import (
    GATE_BITS,
    MAX_EXPIRIES,
    SETTLED,
    BlockAuthor,
    Gate,
    Status,
    Task,
    check_move,
    retry_delay_seconds,
)
from wvo_mcp.errors import DependencyCycle, IllegalTransition, InvalidInput, NotFound, StaleLease
from wvo_mcp.orchestration.tasks import breaches
from wvo_mcp.ports import Transaction

if TYPE_CHECKING:  # few attempts fail
    from wvo_mcp.domain.pattern import Found

_BY_HOLDER = (Status.DONE, Status.IN_REVIEW)
"""To these its holder has brought it."""
_SUBMITTED = (Status.IN_REVIEW, Status.BLOCKED)
"""In these its work may be in the queue."""


@dataclass(frozen=True, slots=True)
class Moved:
    """The task after the move, the ids that became ready by it, best first, and what is known of the error that ended it."""

    task: Task
    unlocked: list[str] = field(default_factory=list[str])
    known: "tuple[Found, ...]" = ()


async def move(
    tx: Transaction,
    task: Task,
    to: Status,
    kind: str,
    fields: Mapping[str, Any] | None = None,
    data: Mapping[str, Any] | None = None,
    *,
    keeps_entry: bool = False,
) -> Moved:
    """Move a task and let everything follow: lease, agent, dependents, parent, waiting tasks, scores, audit. What it has in
    the queue is withdrawn with the work that it is of, unless `keeps_entry`.

    Raises IllegalTransition; nothing has changed then.
    """
    check_move(task.id, task.status, to)
    changes: dict[str, Any] = {**(fields or {}), "status": to}
    leaving = task.status is Status.IN_PROGRESS and to is not Status.IN_PROGRESS
    if leaving:
        progress = 100 if to in _BY_HOLDER else task.progress
        changes |= {"session_id": None, "lease_expires_at": None, "progress": progress}
        if to not in _BY_HOLDER:
            changes["assigned_to"] = None
    elif task.status is Status.IN_REVIEW and to is not Status.DONE:
        changes |= {"assigned_to": None, "progress": None}
    if to in (Status.DONE, Status.FAILED, Status.CANCELLED):
        changes["finished_at"] = tx.now
    elif task.finished_at is not None:
        changes["finished_at"] = None
    if task.status is Status.BLOCKED:
        changes |= {"blocked_reason": None, "block_author": None}
    if to is Status.BLOCKED:
        changes.setdefault("block_author", BlockAuthor.PERSON if tx.caller.person else BlockAuthor.HOLDER)
    if task.status is Status.CANCELLED and "cancelled_by" in task.metadata:
        changes["metadata"] = {name: value for name, value in task.metadata.items() if name != "cancelled_by"}
    lease = {"lease_token": task.lease_token, "holder": task.assigned_to} if leaving else {}
    changed = await tx.tasks.change(task, kind, changes, {**lease, **(data or {})})
    if task.status is Status.BLOCKED:
        awaited = await tx.tasks.waits(task.id)
        await tx.tasks.set_waits(task.id, [])
        if awaited:
            await tx.graph.relinked(task.id, awaited)
        await tx.alerts.resolve_alert("task_blocked", task.id)
    if task.status is Status.FAILED:
        await tx.alerts.resolve_alert("task_failed", task.id)
    if to is Status.DONE and task.last_error is not None:
        from wvo_mcp.orchestration import patterns  # most tasks succeed at once

        await patterns.done(tx, task)
    if to is Status.CANCELLED or (to is Status.DONE and not leaving):  # who completes looks where it has a workspace
        await breaches.over(tx, task.id)
    given_up = to in (Status.CANCELLED, Status.FAILED) and task.lease_token > 0
    if not keeps_entry and (given_up or (task.status in _SUBMITTED and to is Status.PENDING)):
        from wvo_mcp.orchestration.tasks import submitting  # few tasks come back

        await submitting.withdrawn(tx, task.id, f"the task is {to}")
    if to is Status.CANCELLED:
        from wvo_mcp.orchestration.tasks import reviewing  # few tasks are cancelled

        await reviewing.ended(tx, task.id, holds=False)
    if leaving:
        await tx.reservations.end_of_task(task.id)
    if leaving and task.assigned_to is not None:
        await tx.sessions.left(task.assigned_to)
    if task.status is Status.AWAITING_APPROVAL or (changed.requires_approval and changed.approved_at is None):
        from wvo_mcp.orchestration.tasks import asked  # few tasks are approved by people

        await asked.follow(tx, task, changed)
    return Moved(changed, await _follow(tx, task, changed))


async def _follow(tx: Transaction, before: Task, after: Task) -> list[str]:
    unlocked: list[str] = []
    if after.status is Status.DONE:
        await tx.tasks.settle_dependents(after.id, done=True)
        unlocked, waited = await tx.graph.finished(after)
        for waiting in waited:
            freed = await tx.tasks.get(waiting)
            if freed.status is Status.BLOCKED:
                back = await move(tx, freed, Status.PENDING, "task.unblocked", data={"because": f"{after.id} is done"})
                unlocked += [waiting] if ready(tx, back.task) else []
    elif after.status is Status.CANCELLED:
        await tx.graph.cancelled(after)
    elif before.status is Status.DONE:
        await tx.tasks.settle_dependents(after.id, done=False)
        await tx.graph.opened(after.id)
    elif before.status is Status.CANCELLED:
        await tx.graph.opened(after.id)
    if after.status in SETTLED and after.parent_id is not None:
        parent = await tx.tasks.find(after.parent_id)
        if parent is not None and parent.id not in unlocked and ready(tx, parent):
            unlocked.append(parent.id)
    return unlocked


def ready(tx: Transaction, task: Task) -> bool:
    """Pending, nothing unmet, and no gate but that of a time that has come: the next claim lifts it."""
    gates = task.gates
    if task.not_before is not None and task.not_before <= tx.now:
        gates &= ~GATE_BITS[Gate.NOT_BEFORE]
    if task.kept_until is not None and task.kept_until <= tx.now:
        gates &= ~GATE_BITS[Gate.KEPT]
    return task.status is Status.PENDING and task.unmet_deps == 0 and gates == 0


async def held(tx: Transaction, policy: Policy, task_id: str, token: int | None, to: Status | None = None) -> Task:
    """The task, in progress and held by the caller; adopted when the session that held it has ended.

    `to` is where the caller wants to move it, for the error of a task that is not in progress and without a token.
    Raises NotFound, StaleLease, IllegalTransition.
    """
    task = await tx.tasks.get(task_id)
    admitted = tx.caller.admitted
    if admitted is not None:  # neither holder nor adopter: it writes with the lease that it was launched under
        known = task.id == admitted.task_id and token in (None, admitted.lease_token)
        if known and task.status is Status.IN_PROGRESS and task.lease_token == admitted.lease_token:
            return task
        raise StaleLease(task.id, task.assigned_to)
    if task.status is not Status.IN_PROGRESS:
        events = [] if token is not None else await tx.events.of_task(task.id, 50)
        was_mine = any(e.kind == "task.claimed" and e.session_id == tx.caller.session_id for e in events)
        if token is not None or was_mine:
            raise StaleLease(task.id, None)
        if to is None:
            raise StaleLease(task.id, None, unclaimed=task.status)
        raise IllegalTransition(task.id, task.status, to, hint="Claim it first (claim_task), then call this again.")
    if token is not None and token != task.lease_token:
        raise StaleLease(task.id, task.assigned_to)
    caller = tx.caller
    if task.session_id == caller.session_id:
        return task
    session = None if task.session_id is None else await tx.sessions.get(task.session_id)
    own = task.assigned_to == caller.agent_id or (session is not None and session["agent_id"] == caller.agent_id)
    if token is None or not own or not await ended(tx, policy, task.session_id):
        raise StaleLease(task.id, task.assigned_to)
    return await tx.tasks.change(task, "lease.adopted", {"session_id": caller.session_id}, {"from": task.session_id})


async def ended(tx: Transaction, policy: Policy, session_id: str | None) -> bool:
    """Has the session ended? When its server was killed, this ends it on its behalf and cuts its leases."""
    session = None if session_id is None else await tx.sessions.get(session_id)
    if session is None or session["ended_at"] is not None:
        return True
    if session["durable"] or tx.liveness.alive(session["session_id"]):
        return False
    await end_session(tx, policy, session["session_id"])
    return True


async def end_session(tx: Transaction, policy: Policy, session_id: str) -> None:
    """The client went away: its leases last no longer than the grace."""
    await tx.sessions.end(session_id)
    cut = await tx.queue.cut(session_id, policy.grace_seconds)
    await tx.events.append("session.ended", None, {"session": session_id, "leases_cut": cut})


async def extend(tx: Transaction, task: Task) -> Lease:
    """A write of the holder renews its lease."""
    expires_at = tx.now + timedelta(seconds=task.lease_seconds or 0)
    return Lease(token=task.lease_token, expires_at=max(expires_at, task.lease_expires_at or expires_at))


async def complete(
    tx: Transaction,
    task: Task,
    summary: str,
    artifacts: list[str],
    evidence: Sequence[str] = (),
    work: Mapping[str, Any] | None = None,
) -> Moved:
    """Done; with a submission in `work` in review, until that has landed, and with a review until it has passed. `work` is
    for the history."""
    data = {
        "summary": summary,
        "artifacts": artifacts,
        **({"evidence": list(evidence)} if evidence else {}),
        **(work or {}),
    }
    if work and (work.get("submission") or work.get("review")):
        return await move(tx, task, Status.IN_REVIEW, "task.submitted", data=data)
    return await move(tx, task, Status.DONE, "task.completed", data=data)


async def fail(tx: Transaction, task: Task, error: str, *, retry: bool) -> Moved:
    """Another attempt with backoff while there are any left; otherwise failed, with an alert. What is known of the error
    comes with it."""
    from wvo_mcp.orchestration import patterns  # few attempts fail

    known = await patterns.failed(tx, task, error)
    attempts = task.attempts + 1
    counted: dict[str, Any] = {"attempts": attempts, "last_error": error}
    if retry and attempts < task.max_attempts:
        retry_at = tx.now + timedelta(seconds=retry_delay_seconds(attempts))
        counted["not_before"] = retry_at
        moved = await move(tx, task, Status.PENDING, "task.failed_attempt", counted, {"error": error})
        return replace(moved, known=tuple(known))
    moved = await move(tx, task, Status.FAILED, "task.failed", counted, {"error": error})
    message = f"{task.id} failed after {attempts} attempt{'' if attempts == 1 else 's'}: {error[:500]}"
    await tx.alerts.raise_alert("task_failed", "critical", task.id, message)
    return replace(moved, known=tuple(known))


async def expire(tx: Transaction, task: Task) -> Moved:
    """The lease ran out: back to the queue; the tenth time, blocked with an alert."""
    expiries = task.expiries + 1
    data = {"expiries": expiries, "expired_at": task.model_dump(mode="json")["lease_expires_at"]}
    if expiries < MAX_EXPIRIES:
        return await move(tx, task, Status.PENDING, "lease.expired", {"expiries": expiries}, data)
    reason = f"its lease expired {expiries} times"
    blocked = {"expiries": expiries, "blocked_reason": reason, "block_author": BlockAuthor.POLICY}
    moved = await move(tx, task, Status.BLOCKED, "lease.expired", blocked, data)
    await tx.alerts.raise_alert("task_blocked", "critical", task.id, f"{task.id} was blocked: {reason}.")
    return moved


async def block(
    tx: Transaction, task: Task, reason: str, waiting_for: list[str], author: BlockAuthor | None = None
) -> Moved:
    """Blocked until a person or, with `waiting_for`, the end of the last of those frees it. `author`: else the caller.

    Raises NotFound, DependencyCycle, InvalidInput.
    """
    waits = await existing(tx, waiting_for, "waiting_for")
    if waits:
        await check_no_cycle(tx, task.id, waits)
        if all([(await tx.tasks.get(other)).status is Status.DONE for other in waits]):
            raise InvalidInput("waiting_for", "all of these are done already: go on, or leave waiting_for out")
    fields = {"blocked_reason": reason, **({"block_author": author} if author else {})}
    moved = await move(tx, task, Status.BLOCKED, "task.blocked", fields, {"reason": reason, "waiting_for": waits})
    if waits:
        await tx.tasks.set_waits(task.id, waits)
        await tx.graph.relinked(task.id, waits)
    return moved


async def recover(tx: Transaction, task: Task, kind: str, reason: str | None) -> Moved:
    """A person's word, or an agent's where no lease is needed: back to pending from blocked, failed, done, cancelled."""
    fields: dict[str, Any] = {}
    if task.status is Status.FAILED:
        fields = {"attempts": 0, "not_before": None}
    if task.status is Status.BLOCKED and task.expiries >= MAX_EXPIRIES:
        fields = {"expiries": 0}
    if task.status in SETTLED:
        from wvo_mcp.orchestration.tasks import asked  # few tasks are opened again

        fields = {"started_at": None, "progress": None, "assigned_to": None}
        await asked.forgotten(tx, task.id)
    if task.status is Status.DONE:
        fields["approved_at"] = None  # what is done again is decided again
    return await move(tx, task, Status.PENDING, kind, fields, {"reason": reason} if reason else None)


def require_reason(reason: str | None, why: str) -> str:
    """Raises InvalidInput that says why a reason is needed."""
    if reason is None or not reason.strip():
        raise InvalidInput("reason", why)
    return reason


async def existing(tx: Transaction, task_ids: Iterable[str], field: str) -> list[str]:
    """The distinct ids, in order. Raises NotFound, naming `field` and near matches, for the first that no task has."""
    wanted = list(dict.fromkeys(task_ids))
    known = await tx.tasks.known(wanted)
    for task_id in wanted:
        if task_id not in known:
            raise NotFound("task", task_id, await tx.tasks.near(task_id), field=field)
    return wanted


async def check_epic(tx: Transaction, epic_id: str | None) -> None:
    """Raises NotFound with near matches for the id of an epic that is not there."""
    if epic_id is not None and await tx.tasks.epic(epic_id) is None:
        near = difflib.get_close_matches(epic_id, [row["id"] for row in await tx.tasks.epics()], 5, 0.5)
        raise NotFound("epic", epic_id, near, field="epic_id", hint="Use the epic_id of a task, or leave it out.")


async def check_no_cycle(tx: Transaction, task_id: str, waits_for: Sequence[str]) -> None:
    """Would `task_id` wait for itself? Raises DependencyCycle with the path."""
    for other in waits_for:
        back = await tx.graph.path(other, task_id)
        if back is not None:
            raise DependencyCycle([task_id, *back])
