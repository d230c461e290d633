"""What the key of a worker admits its connection to: one task, as long as the lease lasts that it was launched under
(contract, sections 5 and 10)."""

from collections.abc import Sequence

from wvo_mcp.domain.lease import WorkerPass
from wvo_mcp.domain.task import Origin, Status
from wvo_mcp.domain.worker import RESTING, Worker, WorkerState
from wvo_mcp.errors import Forbidden
from wvo_mcp.ports import Transaction

MOST_CREATED = 20
"""Tasks that agents may have put below the task of a worker."""


async def admit(tx: Transaction, key: str) -> tuple[Worker, WorkerPass] | str:
    """The worker that shows this key, with its pass; or why the connection may only read."""
    worker = await tx.workers.by_key(key)
    if worker is None:
        return "WVO_WORKER_KEY is not the key of a worker that runs: this connection may only read."
    problem = await _problem(tx, worker, worker.lease_token)
    if problem is not None:
        return f"{problem} This connection may only read."
    session = (await tx.tasks.get(worker.task_id)).session_id or ""
    return worker, WorkerPass(worker.worker_id, worker.task_id, worker.lease_token, session)


async def check(tx: Transaction, admitted: WorkerPass) -> None:
    """Within the transaction that writes, so that no worker that has ended still does. Raises Forbidden."""
    problem = await _problem(tx, await tx.workers.get(admitted.worker_id), admitted.lease_token)
    if problem is not None:
        hint = "End your turn: nothing that you write counts any more."
        raise Forbidden(problem, hint=hint, worker_id=admitted.worker_id, task_id=admitted.task_id)


async def _problem(tx: Transaction, worker: Worker, token: int) -> str | None:
    """Why its key is void."""
    if worker.state is WorkerState.ENDED or worker.state in RESTING:
        return f"The key of {worker.worker_id} is void: the worker is {worker.state}."
    task = await tx.tasks.get(worker.task_id)
    if task.status is Status.IN_PROGRESS and task.lease_token == token == worker.lease_token:
        return None
    held = task.status if task.status is not Status.IN_PROGRESS else "held by a later lease"
    return f"The key of {worker.worker_id} is void: its task {task.id} is {held}."


async def check_below(tx: Transaction, admitted: WorkerPass, parents: Sequence[tuple[str | None, str]]) -> None:
    """New tasks, as (parent, own id), are below the task of the worker, and not too many. Raises Forbidden."""
    below = await tx.tasks.below(admitted.task_id)
    inside = {admitted.task_id, *below}
    left = list(parents)
    while found := [one for one in left if one[0] in inside]:
        inside.update(own for _, own in found)
        left = [one for one in left if one not in found]
    if left:
        raise Forbidden(
            f"A worker creates tasks below its own only: {left[0][1]} has the parent {left[0][0]}.",
            hint=f"Give parent_id {admitted.task_id}, or a task below it.",
            parent_id=left[0][0],
        )
    made = sum(origin == Origin.AGENT for origin in below.values()) + len(parents)
    if made > MOST_CREATED:
        raise Forbidden(
            f"A worker creates at most {MOST_CREATED} tasks below its own; these would make {made}.",
            hint="Put what is left into fewer tasks, or into the summary of yours.",
        )
