"""What a kind of approval adds to asking and deciding."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta

from wvo_mcp.domain.approval import Approval, ApprovalState, check_decider
from wvo_mcp.domain.lease import Policy
from wvo_mcp.domain.task import Task
from wvo_mcp.ports import Transaction
from wvo_mcp.ports.providers import Providers

SHOWN = 500
WEEK = timedelta(days=7)


@dataclass(frozen=True, slots=True)
class Question:
    """What is decided, the answer, and what it may take to carry it out."""

    approval: Approval
    approved: bool
    task: Task | None = None
    providers: Providers | None = None


@dataclass(frozen=True, slots=True)
class Decided:
    """Both as the decision left them."""

    approval: Approval
    task: Task | None


async def check_asker(tx: Transaction, question: Question) -> None:
    """Raises Forbidden for who asked."""
    check_decider(question.approval, tx.caller.agent_id, tx.caller.session_id)


async def recorded(tx: Transaction, question: Question) -> Task | None:
    """It is in the history; who asked looks for the answer."""
    approval = question.approval
    why = {"reason": approval.reason} if approval.reason else {}
    data = {"approval_id": approval.approval_id, "state": approval.state.value, **why}
    await tx.events.append("approval.decided", approval.task_id, data)
    return question.task


def within(policy: Policy) -> timedelta:
    return timedelta(seconds=policy.approval_seconds)


@dataclass(frozen=True, slots=True)
class Kind:
    lasts: Callable[[Policy], timedelta] = within
    """So long it may wait, and so long an approval may be used."""
    check: Callable[[Transaction, Question], Awaitable[None]] = check_asker
    """Raises Forbidden for who must not decide it, and Conflict when it is no longer what was asked."""
    answered: Callable[[Transaction, Question], Awaitable[Task | None]] = recorded
    """What follows from what a person, or silence, said; the task as it left it."""
    approved: ApprovalState = ApprovalState.APPROVED
    """The state that an approval leads to: `used` where carrying it out is its only use."""
