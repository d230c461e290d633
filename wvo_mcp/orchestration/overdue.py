"""Messages that were not acknowledged in time: shown again, then people hear of them (CTX-4)."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from wvo_mcp.domain.instant import instant
from wvo_mcp.domain.messages import ABOUT_FILES, MessageKind
from wvo_mcp.domain.task import SETTLED, Status
from wvo_mcp.orchestration.leader import LeaderJob, LeaderTerm, settle_alerts
from wvo_mcp.orchestration.workspaces import pausing
from wvo_mcp.ports import Transaction

ALERT = "messages_overdue"
RETRIES = 2
_TRIED = "messages_overdue"
"""A fact: {message id: {to, times}} of those that are overdue; whoever gets a message later has all the time again."""
_LOOK_SECONDS = 10.0
_SOONEST = timedelta(minutes=1)
_LOOKED_AT = 500
_NAMED = 5
_SHOWN = 100

Row = Mapping[str, Any]


def retrying() -> LeaderJob:
    """The leader's job that shows a message again at its deadline, twice, each time with as much time as it had until then;
    after that an alert names it until it is acknowledged."""
    return LeaderJob(ALERT, _LOOK_SECONDS, _look)


async def _look(term: LeaderTerm) -> None:
    async def anything(tx: Transaction) -> bool:
        return bool(await tx.state.get(_TRIED) or await tx.messages.overdue(1))

    left = await term.write(term.caller, _retried) if await term.read(term.caller, anything) else []
    await settle_alerts(term, {ALERT: ("warning", _sentence(left)) if left else None})


async def _retried(tx: Transaction) -> list[Row]:
    """Those for people, after the others were made to be shown again."""
    before: dict[str, Any] = await tx.state.get(_TRIED) or {}
    tried: dict[str, Any] = {}
    for message_id, one in before.items():
        row = await tx.messages.get(message_id)
        if row is not None and row["acked_at"] is None and row["to_agent"] == one["to"]:
            tried[message_id] = one
    left: list[Row] = []
    for row in await tx.messages.overdue(_LOOKED_AT):
        message_id = row["message_id"]
        if not await _is_awaited(tx, row):
            tried.pop(message_id, None)
            continue
        times = tried.get(message_id, {"times": 0})["times"]
        if times < RETRIES:
            await _again(tx, row, times + 1)
        else:
            left.append(row)
        if times <= RETRIES:
            tried[message_id] = {"to": row["to_agent"], "times": times + 1}
        if times == RETRIES:
            await tx.events.append("message.escalated", row["task_id"], {"message": message_id, "to": row["to_agent"]})
    if tried != before:
        await tx.state.put(_TRIED, tried)
    return left


async def _is_awaited(tx: Transaction, row: Row) -> bool:
    """Is there an agent that should have acknowledged it? A pause is not shown again: whoever asked for it goes on without an
    answer, and its end tells the agent more."""
    if row["kind"] == MessageKind.PAUSE:
        await pausing.ended(tx, row)
        return False
    of_nobody = not row["to_agent"]  # it was for the next holder of its task
    if row["task_id"] is None or not (row["kind"] in ABOUT_FILES or of_nobody):
        return True
    task = await tx.tasks.find(row["task_id"])
    if task is None or task.status in SETTLED:
        await tx.messages.change(row["message_id"], {"acked_at": tx.now})
        return False
    if task.status is Status.IN_PROGRESS or row["kind"] not in ABOUT_FILES:
        return True
    await tx.messages.change(row["message_id"], {"deadline": _later(tx, row)})  # it is for whoever holds the task next
    return False


async def _again(tx: Transaction, row: Row, times: int) -> None:
    await tx.messages.change(row["message_id"], {"delivered_at": None, "deadline": _later(tx, row)})
    data = {"message": row["message_id"], "to": row["to_agent"], "times": times}
    await tx.events.append("message.retried", row["task_id"], data)


def _later(tx: Transaction, row: Row) -> Any:
    return tx.now + max(_SOONEST, tx.now - instant(row["created_at"]))


def _sentence(left: Sequence[Row]) -> str:
    named = [_named(row) for row in left[:_NAMED]]
    more = f" {len(left) - _NAMED} more." if len(left) > _NAMED else ""
    many = "A message is" if len(left) == 1 else f"{len(left)} messages are"
    return (
        f"{many} not acknowledged after {RETRIES} reminders. Look at what the agent does (wvo-mcp get-task, wvo-mcp workers):"
        f" {'; '.join(named)}.{more}"
    )


def _named(row: Row) -> str:
    about = f" on {row['task_id']}" if row["task_id"] else ""
    return f"{row['message_id']} ({row['kind']}{about}) to {row['to_agent']}: {row['body'][:_SHOWN]}"
