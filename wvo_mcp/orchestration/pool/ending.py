"""How a launch ends: the store says what became of the task, never the worker's words."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Any

from wvo_mcp.domain.event import Event
from wvo_mcp.domain.task import BlockAuthor, Status, Task
from wvo_mcp.domain.worker import RESTING, Outcome, Worker, WorkerState
from wvo_mcp.orchestration.pool import facts, parking
from wvo_mcp.orchestration.tasks import lifecycle
from wvo_mcp.ports import Transaction
from wvo_mcp.ports.workers import Violation

_LAST_WORDS = 2_000
_LOOKED_AT = 50
OWN_FAULTS = 3
"""So often in a row a launch of one task may fail for reasons of ours before a person is asked."""
_FAULT_BACKOFF = timedelta(seconds=30)


class Act(StrEnum):
    """What is to become of a task that its worker did not end."""

    FAIL = "fail"
    """The attempt has failed."""
    RELEASE = "release"
    """Back to the queue; no attempt is counted."""
    PAUSE = "pause"
    """Back to the queue, kept for this autopilot with the worker's session."""
    BLOCK = "block"
    """A person has to look."""
    FAULT = "fault"
    """It could not be launched for a reason of ours: again later, and after some times a person has to look."""
    LEAVE = "leave"
    """It has been moved already."""


@dataclass(frozen=True, slots=True)
class End:
    """Why a launch is over, in words for people, and what follows for its task if it still is the worker's."""

    outcome: Outcome
    reason: str
    act: Act = Act.LEAVE
    halts: str | None = None
    """Why nothing more may run before a person has looked."""


_BY_ITSELF = {
    Status.DONE: Outcome.COMPLETED,
    Status.IN_REVIEW: Outcome.COMPLETED,
    Status.FAILED: Outcome.FAILED,
    Status.BLOCKED: Outcome.RELEASED,
    Status.CANCELLED: Outcome.STOPPED,
    Status.PENDING: Outcome.RELEASED,
}
_BACK = frozenset(
    {"task.approved", "task.denied", "lease.expired", "task.failed_attempt", "task.released", "task.unblocked"}
    | {"task.parked", "task.paused"}
)
"""How a task that had a holder came back to the queue."""


async def settle(tx: Transaction, worker_id: str, end: End) -> Task:
    """The launch is over: move its task if nobody else has, and end the worker's row. The task as it is then."""
    worker = await tx.workers.get(worker_id)
    task = await tx.tasks.get(worker.task_id)
    if worker.state in RESTING or worker.state is WorkerState.ENDED:
        return task  # parked by whoever moved the task; or settled, and nobody knew that it was committed
    outcome, reason, rests = end.outcome, end.reason, False
    events = await tx.events.of_task(task.id, _LOOKED_AT)
    came = next((one for one in reversed(events) if one.kind in _BACK), None)
    back = came.kind if came is not None and task.status is Status.PENDING else ""
    submitted = next((one for one in reversed(events) if _is_submission(one, worker)), None)
    if submitted is not None:  # whatever the merge queue has made of it meanwhile
        outcome, reason = Outcome.COMPLETED, str(submitted.data.get("summary") or reason)[:300]
    elif task.lease_token != worker.lease_token:
        outcome, reason = Outcome.CRASHED, "its lease had passed to another"
    elif task.status is Status.IN_PROGRESS:
        rests = await _move(tx, worker, task, end, came)
    elif task.status is Status.AWAITING_APPROVAL or back in ("task.approved", "task.denied"):
        rests = await parking.rest(tx, worker, WorkerState.WAITING_APPROVAL, reason)  # the decision may have come first
    elif back == "lease.expired":
        rests = await parking.pause(tx, worker, task, reason)
    else:
        outcome = Outcome.FAILED if back == "task.failed_attempt" else _BY_ITSELF.get(task.status, outcome)
        reason = await _said(tx, task, reason)
    if not rests:
        fields = {"state": WorkerState.ENDED, "outcome": outcome, "reason": reason, "ended_at": tx.now}
        await tx.workers.change(worker_id, {**fields, "reserved_usd": 0.0})
        await tx.events.append(
            "worker.ended", task.id, {"worker": worker_id, "outcome": outcome.value, "reason": reason}
        )
    await facts.forget_ask(tx, worker_id)
    return await tx.tasks.get(task.id)


def _is_submission(event: Event, worker: Worker) -> bool:
    """Did the worker complete its task with work to land?"""
    return event.kind == "task.submitted" and event.data.get("lease_token") == worker.lease_token


async def _move(tx: Transaction, worker: Worker, task: Task, end: End, before: Event | None) -> bool:
    """Does the worker's session rest for a later launch?"""
    data: Mapping[str, Any] = {"reason": end.reason, "worker": worker.worker_id}
    faults = 1 + int((before.data if before is not None else {}).get("faults") or 0)
    match end.act:
        case Act.PAUSE:
            return await parking.pause(tx, worker, task, end.reason)
        case Act.RELEASE:
            await lifecycle.move(tx, task, Status.PENDING, "task.released", data=data)
        case Act.FAULT if faults < OWN_FAULTS:
            later = {"not_before": tx.now + _FAULT_BACKOFF * 2 ** (faults - 1)}
            await lifecycle.move(tx, task, Status.PENDING, "task.released", later, {**data, "faults": faults})
        case Act.FAULT | Act.BLOCK:
            await lifecycle.block(tx, task, end.reason[:_LAST_WORDS], [], BlockAuthor.POLICY)
            message = f"{task.id} waits for a person: {end.reason[:500]}"
            await tx.alerts.raise_alert("worker_blocked", "critical", task.id, message, data)
        case Act.FAIL | Act.LEAVE:
            await lifecycle.fail(tx, task, end.reason[:_LAST_WORDS], retry=True)
    return False


async def repository_changed(tx: Transaction, task_id: str, worker_id: str, difference: str) -> None:
    """Record it, and tell people, once."""
    known = await tx.violations.page(task_id, 5)
    if not any(one["kind"] == "repository" and one["subject"] == difference for one in known):
        violation = Violation("repository", "block", "repository_changed", difference, task_id, worker_id)
        await tx.violations.add(violation)
    message = f"The repository's own files were changed; no worker runs before wvo-mcp trust accepts it: {difference}"
    await tx.alerts.raise_alert("violation", "critical", None, message[:2_000], {"task": task_id, "worker": worker_id})


async def _said(tx: Transaction, task: Task, reason: str) -> str:
    """What the worker gave as its reason, where it ended the task itself."""
    for event in reversed(await tx.events.of_task(task.id, 5)):
        for name in ("summary", "error", "reason"):
            if event.kind.startswith("task.") and event.data.get(name):
                return str(event.data[name])[:300]
    return reason
