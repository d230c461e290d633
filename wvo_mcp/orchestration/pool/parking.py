"""Workers that a provider's limit or a person has stopped: their tasks wait, and their sessions go on once (contract,
section 10).

A row of `workers` is one launch. One that rests (limited, paused) has no process, lease or WIP; whoever claims its task
takes it up in the same transaction, so no session goes on twice.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from wvo_mcp.domain.instant import iso
from wvo_mcp.domain.providers.breaker import BreakerState
from wvo_mcp.domain.providers.catalogue import Catalogue
from wvo_mcp.domain.providers.signals.reading import FailureKind, Signal
from wvo_mcp.domain.task import Status, Task
from wvo_mcp.domain.worker import RESTING, Outcome, Worker, WorkerState
from wvo_mcp.orchestration.pool import facts
from wvo_mcp.orchestration.pool.facts import KEPT_FOR, UNTIL_RESUMED
from wvo_mcp.orchestration.routing import breakers
from wvo_mcp.orchestration.routing.router import Router
from wvo_mcp.orchestration.tasks import lifecycle, review
from wvo_mcp.ports import Transaction
from wvo_mcp.ports.providers import Providers

_UNSURE = frozenset({FailureKind.RATE_LIMIT, FailureKind.QUOTA})
_OTHERS = frozenset({FailureKind.REFUSAL, FailureKind.PERMISSION})
_AGAIN = timedelta(seconds=5)
"""After an outage that opened no breaker; twice as long each time."""
_AFTER_PROBE = timedelta(minutes=1)
"""When the breaker does not say when it may be tried."""
_FRESH_TIMES = 3
_FULL = "its context was full"
_LOOKED_AT = 50


@dataclass(frozen=True, slots=True)
class Resting:
    """The session that a new launch goes on with. `confirm`: a limit had stopped it, so ask for the quota first. `why`: what
    it is told, where that is not that it was stopped."""

    worker_id: str
    client_session: str
    workspace: str | None
    confirm: bool
    why: str | None = None


def unsure(signal: Signal, *, confirmed: bool) -> bool:
    """Must the worker be asked once more, in the same session, before this is believed? Programs report limits that are
    none (claude-code #88466); the second time in one launch is believed."""
    return not confirmed and signal.kind in _UNSURE


def pool_of(agent_id: str) -> str:
    """What is kept for an autopilot is kept for all its slots: `auto-HOST` of `auto-HOST.3`."""
    return agent_id.rpartition(".")[0] or agent_id


async def stopped_by_provider(tx: Transaction, providers: Providers, worker_id: str, signal: Signal) -> str | None:
    """The worker's turn ended with this: feed its breaker, and let the task wait for the same session, or change hands in the
    same worktree. No attempt is counted. What it used must be settled, and its session be in its row. The reason; None: it
    says nothing of the provider, or the task is no longer the worker's, and nothing was moved."""
    worker = await tx.workers.get(worker_id)
    router = Router(tx, providers, worker.agent_id)
    task = await tx.tasks.get(worker.task_id)
    route = await tx.routing.route(task.id)
    mine = route is not None and (route.lease_token, route.provider) == (worker.lease_token, worker.provider)
    known = await breakers.failure(tx, router, worker.provider, worker.tier, signal, task.id, route if mine else None)
    reason = f"{signal.kind.value.replace('_', ' ')}: {signal.message}"
    if signal.kind in _OTHERS or not worker.holds(task):
        return None
    if signal.kind is FailureKind.CONTEXT:
        return await _fresh(tx, task, worker, signal)
    past = await _in_a_row(tx, worker)
    until = tx.now + _AGAIN * 2 ** min(len(past), 7)
    if known is not None and known.state is not BreakerState.CLOSED:
        until = max(known.free_at or tx.now + _AFTER_PROBE, tx.now + timedelta(seconds=1))
    began = min([one.ended_at or tx.now for one in past], default=tx.now)
    named = signal.resets_at is not None or signal.retry_after is not None
    needs_person = signal.kind is FailureKind.AUTH or (signal.kind is FailureKind.QUOTA and not named)
    patience = (router.catalogue or Catalogue(())).patience
    waits = worker.client_session is not None and not needs_person and until - began <= patience
    fields = {"not_before": until if waits else None, **_kept(worker, (until if waits else tx.now) + KEPT_FOR)}
    data = {"because": signal.kind.value, "reason": reason, "worker": worker.worker_id, "provider": worker.provider}
    shown = {"until": iso(until)} if waits else {}
    await lifecycle.move(tx, task, Status.PENDING, "task.parked", fields, {**data, **shown})
    await _rest(tx, worker, WorkerState.LIMITED, reason, until if waits else None)
    return reason


async def _in_a_row(tx: Transaction, worker: Worker) -> list[Worker]:
    """Launches of the same session before this one, newest first, as long as the one after them got no answer."""
    found: list[Worker] = []
    answered = worker.tokens_out
    for one in await tx.workers.of_task(worker.task_id, _LOOKED_AT):
        if one.seq < worker.seq:
            same = one.client_session == worker.client_session and one.outcome is Outcome.LIMITED
            if answered or not same:
                break
            found.append(one)
            answered = one.tokens_out
    return found


async def _fresh(tx: Transaction, task: Task, worker: Worker, signal: Signal) -> str | None:
    """The next launch begins a new session."""
    before = [one for one in await tx.workers.of_task(task.id, _FRESH_TIMES) if (one.reason or "").startswith(_FULL)]
    if len(before) >= _FRESH_TIMES - 1:
        return None
    reason = f"{_FULL}: {signal.message}"
    data = {"because": signal.kind.value, "reason": reason, "worker": worker.worker_id}
    fields = _kept(worker, tx.now + KEPT_FOR)
    await lifecycle.move(tx, task, Status.PENDING, "task.parked", fields, data)
    await end(tx, worker, Outcome.FAILED, reason)
    return reason


async def pause(tx: Transaction, worker: Worker, task: Task, reason: str) -> bool:
    """The task is back and kept for the autopilot: until `resume` where people halted it, else a while. Does the worker's
    session rest?"""
    halted = not (await facts.read(tx)).gives_out
    kept = _kept(worker, UNTIL_RESUMED if halted else tx.now + KEPT_FOR)
    data = {"reason": reason, "worker": worker.worker_id}
    if task.status is Status.IN_PROGRESS:
        await lifecycle.move(tx, task, Status.PENDING, "task.paused", kept, data)
    else:  # its lease ran out meanwhile
        await tx.tasks.change(task, "task.kept", kept, data)
    return await rest(tx, worker, WorkerState.PAUSED, reason)


async def rest(
    tx: Transaction, worker: Worker, state: WorkerState, reason: str, resets_at: datetime | None = None
) -> bool:
    """Its session goes on with the next launch of its task. False where it had not begun one: nothing was written."""
    if worker.client_session is None:
        return False
    await _rest(tx, worker, state, reason, resets_at)
    return True


async def take_up(tx: Transaction, task: Task, provider: str, host: str) -> Resting | None:
    """What the launch goes on with, in the transaction that claimed the task; None: a new session. Whatever rested for the
    task rests no longer."""
    found: Resting | None = None
    for worker in await tx.workers.of_task(task.id, _LOOKED_AT):
        if worker.state not in RESTING:
            continue
        usable = found is None and worker.host == host and worker.provider == provider
        if usable and worker.client_session is not None:
            confirm = worker.state is WorkerState.LIMITED
            found = Resting(worker.worker_id, worker.client_session, worker.workspace, confirm)
            reason = f"{worker.reason or worker.state}; its session went on"
        else:
            other = provider if worker.host == host else f"{provider} on {host}"
            reason = f"{worker.reason or worker.state}; {other} took over"
        limited = worker.state is WorkerState.LIMITED
        await end(tx, worker, Outcome.LIMITED if limited else Outcome.STOPPED, reason)
    return found or await _returned(tx, task, provider, host)


async def _returned(tx: Transaction, task: Task, provider: str, host: str) -> Resting | None:
    """The session that submitted the work that came back: it knows what was meant."""
    entry = await review.returned(tx, task.id)
    for worker in await tx.workers.of_task(task.id, 1) if entry is not None else ():
        same = worker.outcome is Outcome.COMPLETED and (worker.host, worker.provider) == (host, provider)
        if entry is not None and same and worker.client_session is not None:
            return Resting(worker.worker_id, worker.client_session, worker.workspace, False, entry["reason"])
    return None


def _kept(worker: Worker, until: datetime) -> dict[str, Any]:
    return {"kept_for": pool_of(worker.agent_id), "kept_until": until}


async def _rest(tx: Transaction, worker: Worker, state: WorkerState, reason: str, resets_at: datetime | None) -> None:
    fields: Mapping[str, Any] = {"state": state, "reason": reason, "resets_at": resets_at, "pid": None}
    await tx.workers.change(worker.worker_id, {**fields, "pid_started": None, "reserved_usd": 0.0})


async def end(tx: Transaction, worker: Worker, outcome: Outcome, reason: str) -> None:
    fields = {"state": WorkerState.ENDED, "ended_at": tx.now, "outcome": outcome, "reason": reason}
    await tx.workers.change(worker.worker_id, {**fields, "reserved_usd": 0.0})
