"""What an autopilot that ended left behind, found by the next one on the same host before it claims anything."""

from typing import Any

from wvo_mcp.domain.lease import Caller, Policy
from wvo_mcp.domain.task import SETTLED, Status
from wvo_mcp.domain.worker import RESTING, Outcome, Worker, WorkerState
from wvo_mcp.orchestration.pool import parking
from wvo_mcp.orchestration.pool.ending import Act, End, settle
from wvo_mcp.orchestration.tasks import lifecycle
from wvo_mcp.ports import Store, Transaction
from wvo_mcp.ports.homes import Homes
from wvo_mcp.ports.trees import Trees


async def take_over(store: Store, caller: Caller, policy: Policy, trees: Trees, host: str) -> list[dict[str, Any]]:
    """End what still runs, give tasks back without an attempt or an expiry, and keep the sessions that can go on. For each
    worker {event, worker_id, task_id, outcome}. Only one autopilot of this store and host may call it.
    """
    news: list[dict[str, Any]] = []
    await store.write(caller, lambda tx: _needless(tx, host))
    for worker in await store.read(caller, lambda tx: tx.workers.open(host)):
        if worker.state in RESTING:
            continue
        if not await store.write(caller, lambda tx, name=worker.worker_id: _abandoned(tx, policy, name)):
            continue
        if worker.pid is not None:
            await trees.end(worker.pid, worker.pid_started)
        found = await store.write(caller, lambda tx, name=worker.worker_id: _left(tx, name))
        if found is not None:
            news.append({"event": "found", "worker_id": worker.worker_id, "task_id": worker.task_id, "outcome": found})
    return news


async def forget_settled(store: Store, caller: Caller, homes: Homes) -> None:
    """Remove the homes of tasks that were settled while nobody could."""
    kept = await homes.kept()

    async def look(tx: Transaction) -> list[str]:
        found = [await tx.tasks.find(task_id) for task_id in kept]
        return [task.id for task in found if task is not None and task.status in (Status.DONE, Status.CANCELLED)]

    for task_id in await store.read(caller, look):
        await homes.forget(task_id)


async def _abandoned(tx: Transaction, policy: Policy, worker_id: str) -> bool:
    """Has the session that launched it ended?"""
    worker = await tx.workers.get(worker_id)
    task = await tx.tasks.find(worker.task_id)
    if task is None or task.session_id is None or task.lease_token != worker.lease_token:
        return True
    await tx.sessions.ensure()
    return await lifecycle.ended(tx, policy, task.session_id)


async def _left(tx: Transaction, worker_id: str) -> str | None:
    """None when another writer has settled it meanwhile."""
    worker = await tx.workers.get(worker_id)
    if worker.state in (*RESTING, WorkerState.ENDED):
        return None
    if worker.review_id is not None:  # what it was asked is asked again by whoever asked
        return await _ended(tx, worker)
    await settle(tx, worker_id, End(Outcome.CRASHED, "its autopilot ended", Act.PAUSE))
    worker = await tx.workers.get(worker_id)
    return (worker.outcome or worker.state).value


async def _ended(tx: Transaction, worker: Worker) -> str:
    fields = {"state": WorkerState.ENDED, "outcome": Outcome.CRASHED, "reason": "its runner ended", "ended_at": tx.now}
    await tx.workers.change(worker.worker_id, {**fields, "reserved_usd": 0.0})
    return Outcome.CRASHED.value


async def _needless(tx: Transaction, host: str) -> None:
    """Sessions that rest for tasks which others have ended or taken."""
    for worker in await tx.workers.open(host):
        if worker.state not in RESTING:
            continue
        task = await tx.tasks.get(worker.task_id)
        if task.status in SETTLED or task.lease_token != worker.lease_token:
            await parking.end(
                tx, worker, Outcome.STOPPED, f"{worker.reason or worker.state}; its task went on without it"
            )
