"""The pause protocol: nobody writes in a workspace while its files go back (WS-9).

Whoever wants it still says so in the store, with a message to the one that works there, and waits for its acknowledgement:
a worker of ours is interrupted by its pool, which acknowledges for it; another agent does so by its calls. After ten seconds
without one it is done all the same. A pause whose author died is over by itself.
"""

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import anyio

from wvo_mcp.domain.instant import instant, iso
from wvo_mcp.domain.lease import Caller
from wvo_mcp.domain.messages import MessageKind
from wvo_mcp.domain.task import Status
from wvo_mcp.errors import Conflict
from wvo_mcp.orchestration import messages
from wvo_mcp.ports import Transaction, WatchedStore

FORCED_SECONDS = 10.0
"""So long an acknowledgement is waited for."""
LONGEST = timedelta(seconds=120)
"""After that a worker goes on, whatever became of who paused it."""
_STILL = "workspace_still:"
"""And a task's id: {until, message}; the message is None where nobody had to be asked."""
_LOOK_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Pause:
    """`forced`: somebody works there and has not acknowledged it."""

    holder: str | None
    message_id: str | None
    forced: bool = False


async def standing(tx: Transaction) -> dict[str, str]:
    """Tasks in whose workspaces nobody may write now; and of each what tells this pause from the next one."""
    found: Mapping[str, Mapping[str, Any]] = await tx.state.named(_STILL)
    live = {name.removeprefix(_STILL): one for name, one in found.items() if instant(one["until"]) > tx.now}
    return {task_id: one["message"] or one["until"] for task_id, one in live.items()}


async def acknowledge(tx: Transaction, task_id: str) -> None:
    """Who worked there writes no more."""
    found = (await tx.state.named(_STILL + task_id)).get(_STILL + task_id)
    if found is not None and found["message"] is not None:
        await tx.messages.change(found["message"], {"acked_at": tx.now})


async def waiting(tx: Transaction, task_id: str, agent_id: str) -> list[str]:
    """What became of it, for the one that was paused; it counts as acknowledged."""
    said: list[str] = []
    for row in await tx.messages.waiting(agent_id, 50):
        if row["task_id"] == task_id and row["kind"] in (
            MessageKind.ROLLBACK,
            MessageKind.RESUME,
            MessageKind.VIOLATION,
        ):
            said.append(row["body"])
            await tx.messages.change(row["message_id"], {"acked_at": tx.now})
    return said


@asynccontextmanager
async def paused(store: WatchedStore, caller: Caller, task_id: str, reason: str) -> AsyncGenerator[Pause]:
    """While it lasts nobody writes in the workspace of the task, but for who calls. Raises Conflict while it is paused by
    another."""
    pause = await store.write(caller, lambda tx: _begin(tx, task_id, reason))
    try:
        if pause.message_id is not None:
            known = await _acknowledged(store, caller, pause.message_id)
            pause = Pause(pause.holder, pause.message_id, forced=not known)
        yield pause
    finally:
        with anyio.CancelScope(shield=True):
            await store.write(caller, lambda tx: _end(tx, task_id, pause))


async def _begin(tx: Transaction, task_id: str, reason: str) -> Pause:
    if task_id in await standing(tx):
        raise Conflict(f"The workspace of {task_id} is paused by another rollback.", hint="Try it again in a moment.")
    holder = await _writer(tx, task_id)
    message: str | None = None
    if holder is not None:
        deadline = tx.now + timedelta(seconds=FORCED_SECONDS)
        body = f"Write nothing in the workspace of {task_id} until you hear more: {reason}"
        row = await messages.send(tx, holder, MessageKind.PAUSE, body, task_id=task_id, deadline=deadline)
        message = row["message_id"]
    await tx.state.put(_STILL + task_id, {"until": iso(tx.now + LONGEST), "message": message})
    return Pause(holder, message)


async def _writer(tx: Transaction, task_id: str) -> str | None:
    """Who may be writing there: the holder of the task, or a worker that still ends; never who calls."""
    own = tx.caller.admitted
    for worker in await tx.workers.open():
        writes = worker.task_id == task_id and worker.pid is not None and worker.review_id is None
        if writes and (own is None or own.worker_id != worker.worker_id):
            return worker.agent_id
    task = await tx.tasks.get(task_id)
    held = task.status is Status.IN_PROGRESS and task.assigned_to != tx.caller.agent_id
    return task.assigned_to if held else None


async def _acknowledged(store: WatchedStore, caller: Caller, message_id: str) -> bool:
    async def look(tx: Transaction) -> bool:
        row = await tx.messages.get(message_id)
        return row is None or row["acked_at"] is not None

    with anyio.move_on_after(FORCED_SECONDS):
        while not await store.read(caller, look):
            await store.wait_for_change(_LOOK_SECONDS)
        return True
    return await store.read(caller, look)


async def ended(tx: Transaction, message: Mapping[str, Any]) -> None:
    """Of a pause whose author died: its message waits for nothing any more, and who stopped for it goes on."""
    if message["task_id"] not in await standing(tx):
        await _end(tx, message["task_id"], Pause(message["to_agent"], message["message_id"]))


async def _end(tx: Transaction, task_id: str, pause: Pause) -> None:
    await tx.state.drop(_STILL + task_id)
    row = None if pause.message_id is None else await tx.messages.get(pause.message_id)
    if row is None:
        return
    if row["acked_at"] is None:  # whoever has not read it by now need not stop any more
        await tx.messages.change(row["message_id"], {"acked_at": tx.now})
    if row["delivered_at"] is not None:
        await messages.about_files(tx, task_id, MessageKind.RESUME, f"Go on with {task_id}.")
