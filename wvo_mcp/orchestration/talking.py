"""What agents and people tell each other (CTX-4): who is meant, and how much of it."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from wvo_mcp.domain.messages import PERSON, MessageKind
from wvo_mcp.domain.task import SETTLED, Status
from wvo_mcp.domain.text import near
from wvo_mcp.errors import Conflict, Forbidden, InvalidInput, NotFound
from wvo_mcp.orchestration import messages
from wvo_mcp.orchestration.messages import Row
from wvo_mcp.ports import Transaction

MOST_SENT, MOST_RECEIVED, MOST_QUESTIONS = 200, 1_000, 30
"""Open ones from an agent, to an agent, and of those that wait for an answer: these stay in view until they have one."""
_DEADLINE_SECONDS = 3_600
_KNOWN = 500


@dataclass(frozen=True, slots=True)
class Address:
    to_agent: str
    """Empty: of a task that nobody holds; it waits for its next holder."""
    to_task: str | None = None


def name_of(tx: Transaction) -> str:
    """Who the caller is to those who read it. Raises Forbidden for an agent that calls itself a person."""
    if tx.caller.person:
        return PERSON
    if tx.caller.agent_id.casefold() == PERSON:
        raise Forbidden(f"The agent id {PERSON!r} stands for people.", hint="Set another WVO_AGENT_ID.")
    return tx.caller.agent_id


async def address(tx: Transaction, to: str) -> Address:
    """Raises NotFound with ids that look like it, InvalidInput."""
    if to == PERSON:
        return Address(PERSON)
    if await tx.sessions.known(to):
        return Address(to)
    task = await tx.tasks.find(to)
    if task is not None:
        if task.status in SETTLED:
            raise InvalidInput("to", f"{to} is {task.status}: nobody will hold it")
        holder = task.assigned_to if task.status is Status.IN_PROGRESS else None
        return Address(holder or "", to)
    agents = [row["agent_id"] for row in await tx.sessions.agents(_KNOWN)]
    close = [*near(to, agents), *await tx.tasks.near(to)][:5]
    raise NotFound("agent or task", to, close, field="to", hint="agent_list shows who is there; list_tasks the tasks.")


async def send(
    tx: Transaction,
    to: Address,
    kind: MessageKind,
    body: str,
    *,
    task_id: str | None = None,
    needs_answer: bool = False,
    seconds: int | None = None,
    answers: str | None = None,
) -> Row:
    """Raises InvalidInput (to oneself), Conflict (too many that are open)."""
    sender = name_of(tx)
    if sender == to.to_agent:
        raise InvalidInput("to", "is yourself" if sender != PERSON else "is a person, as you are")
    if sender != PERSON and answers is None:  # an answer makes room: its question is over
        await _check_room(tx, sender, to)
    wait = seconds or (_DEADLINE_SECONDS if needs_answer else None)
    fields: dict[str, Any] = {"from_agent": sender, "to_task": to.to_task, "answers": answers}
    deadline = None if wait is None else tx.now + timedelta(seconds=wait)
    about = to.to_task or task_id
    return await messages.send(
        tx, to.to_agent, kind, body, task_id=about, needs_answer=needs_answer, deadline=deadline, **fields
    )


async def _check_room(tx: Transaction, sender: str, to: Address) -> None:
    sent, received, questions = await tx.messages.open_between(sender, to.to_agent, MOST_RECEIVED)
    hint = "Wait until some of them are acknowledged or answered."
    if sent >= MOST_SENT:
        raise Conflict(f"{sent} messages of {sender} are not acknowledged yet ({MOST_SENT} at most).", hint=hint)
    if received >= MOST_RECEIVED or questions >= MOST_QUESTIONS:
        raise Conflict(
            f"{to.to_agent or to.to_task} has {received} messages open, {questions} of them questions"
            f" ({MOST_RECEIVED} and {MOST_QUESTIONS} at most).",
            hint=hint,
        )


async def question(tx: Transaction, message_id: str) -> Row:
    """The question that the caller answers. Raises NotFound, Forbidden, Conflict."""
    row = await received(tx, message_id, "answers")
    if not row["needs_answer"]:
        raise InvalidInput("answers", f"{message_id} waits for no answer")
    if row["acked_at"] is not None:
        raise Conflict(
            f"{message_id} is answered already, or nobody waits for it any more.", hint="Send a note instead."
        )
    return row


async def answered(tx: Transaction, row: Row) -> None:
    await tx.messages.change(row["message_id"], {"acked_at": tx.now, "delivered_at": row["delivered_at"] or tx.now})


async def acknowledge(tx: Transaction, message_id: str) -> bool:
    """False: it was before. Raises NotFound, Forbidden, InvalidInput (it waits for an answer)."""
    row = await received(tx, message_id, "message_ids")
    if row["acked_at"] is not None:
        return False
    if row["needs_answer"]:
        problem = f"{message_id} waits for an answer: message_send with answers={message_id}"
        raise InvalidInput("message_ids", problem)
    await answered(tx, row)
    return True


async def received(tx: Transaction, message_id: str, field: str) -> Row:
    """One that is for the caller, or for a subagent of it. Raises NotFound, Forbidden."""
    row = await tx.messages.get(message_id)
    if row is None:
        raise NotFound("message", message_id, field=field, hint="message_inbox lists yours.")
    me = name_of(tx)
    if row["to_agent"] != me and not row["to_agent"].startswith(f"{me}."):
        raise Forbidden(f"{message_id} is not for {me}.", hint="message_inbox lists yours.")
    return row
