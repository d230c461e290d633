"""What waits for an agent: it is in the result of its next call, and the call after that acknowledges it."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from wvo_mcp.domain.messages import ABOUT_FILES, MessageKind, as_notice
from wvo_mcp.domain.task import SETTLED, Status
from wvo_mcp.ports import Transaction

Row = Mapping[str, Any]
ANSWER_WITHIN = timedelta(minutes=10)
"""For what the agent has to act on: what it violates, and files that are others by now."""
_LOOKED_AT = 50
_MOST, _REMINDERS = 10, 3
"""Of one result; the others wait for the next. Questions that were shown before are kept in view, in the way of nothing."""


async def send(
    tx: Transaction,
    to_agent: str,
    kind: MessageKind,
    body: str,
    *,
    task_id: str | None = None,
    needs_answer: bool = False,
    deadline: datetime | None = None,
    **more: Any,
) -> Row:
    """The row. It is on record before anybody is told."""
    fields = {"to_agent": to_agent, "kind": kind.value, "body": body, "task_id": task_id}
    row = await tx.messages.add({**fields, "needs_answer": needs_answer, "deadline": deadline, **more})
    await tx.events.append("message.sent", task_id, {"message": row["message_id"], "kind": kind.value, "to": to_agent})
    return row


async def about_files(
    tx: Transaction, task_id: str, kind: MessageKind, body: str, *, within: timedelta = ANSWER_WITHIN
) -> Row:
    """To whoever holds the task, or holds it next. `within`: the time to acknowledge it, if it asks for anything."""
    task = await tx.tasks.get(task_id)
    deadline = None if kind is MessageKind.RESUME else tx.now + within
    return await send(tx, task.assigned_to or "", kind, body, task_id=task_id, deadline=deadline)


async def prefetch(tx: Transaction) -> None:
    """`waiting` or `collect` follows in this transaction."""
    await tx.messages.prefetch_waiting(tx.caller.agent_id, _LOOKED_AT)


async def waiting(tx: Transaction) -> bool:
    """Does anything wait for the agent that calls, or is to be acknowledged by it?"""
    return bool(await tx.messages.waiting(tx.caller.agent_id, _LOOKED_AT))


async def collect(tx: Transaction) -> list[str]:
    """What waits for the agent that calls, oldest first; what its call before was given is acknowledged by this one."""
    shown: list[str] = []
    room = {False: _MOST, True: _REMINDERS}
    page = await tx.messages.waiting(tx.caller.agent_id, _LOOKED_AT)
    apart = await _collect(tx, page, room, shown, {})
    while len(page) == _LOOKED_AT and room[False]:  # what nobody is shown now is in the way of nothing
        page = await tx.messages.waiting(tx.caller.agent_id, _LOOKED_AT, page[-1]["seq"])
        await _collect(tx, page, room, shown, apart)
    return shown


async def _collect(
    tx: Transaction, page: Sequence[Row], room: dict[bool, int], shown: list[str], apart: dict[str, bool]
) -> dict[str, bool]:
    """`apart`: which subagents have connections of their own. What is for the others is for the one they work behind."""
    me, session = tx.caller.agent_id, tx.caller.session_id
    for row in page:
        to = row["to_agent"]
        if to != me and to not in apart:
            apart[to] = await tx.sessions.has_connected(to)
        if apart.get(to):
            continue
        # A session that was shown it may have been killed before its agent read it.
        seen = row["delivered_at"] is not None and row["delivered_to"] == session
        if seen and not row["needs_answer"]:
            await tx.messages.change(row["message_id"], {"acked_at": tx.now})
        elif room[seen] and await _is_for(tx, row):
            room[seen] -= 1
            shown.append(as_notice(row, again=seen, reader=me))
            await tx.messages.deliver(row["message_id"], session)
    return apart


async def _is_for(tx: Transaction, row: Row) -> bool:
    """One about the files of a task is for its holder; of a task that is over nobody need hear."""
    if row["kind"] not in ABOUT_FILES or row["task_id"] is None:
        return True
    task = await tx.tasks.find(row["task_id"])
    if task is None or task.status in SETTLED:
        await tx.messages.change(row["message_id"], {"acked_at": tx.now})
        return False
    return task.status is Status.IN_PROGRESS and task.assigned_to == row["to_agent"]
