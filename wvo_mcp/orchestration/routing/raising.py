"""Asking a person to raise a budget that keeps work back: once for a window, and not again in the period in which they said no
(contract, section 12)."""

from datetime import datetime, timedelta

from wvo_mcp.domain.approval import Approval, ApprovalKind, ApprovalState, subject_of_budget
from wvo_mcp.domain.providers.catalogue import Catalogue
from wvo_mcp.domain.providers.state import DAY, Window, midnight_after
from wvo_mcp.orchestration.routing.windows import window_of
from wvo_mcp.orchestration.tasks import asked
from wvo_mcp.ports import Transaction

_HOUR = timedelta(hours=1)


def more_for(window: Window, estimate: int) -> int:
    """Half as much again, and enough for the work that is kept back."""
    return max(1, window.limit // 2, window.used + window.reserved + estimate - window.limit)


async def ask(tx: Transaction, window: Window, estimate: int, within: timedelta) -> tuple[Approval | None, bool]:
    """The approval to raise it, and whether it is a new one; None where a person, or silence, said no for this period. One of
    another limit is void. Of a day it ends with the day."""
    topic = _topic(*window.key)
    newest = await tx.approvals.newest_about(topic)
    if newest is not None:
        if newest.state is ApprovalState.PENDING and not newest.late(tx.now):
            if newest.subject["limit"] == window.limit:
                return newest, False
            await asked.void(tx, newest)
        elif newest.state not in (ApprovalState.USED, ApprovalState.VOID) and tx.now < _denied_until(newest):
            return None, False
    day, until = None, tx.now + within
    if window.period == DAY:
        day, until = f"{tx.now:%Y-%m-%d}", min(until, midnight_after(tx.now))
    subject = subject_of_budget(window, window.limit + more_for(window, estimate), estimate, day)
    # A person whose own claim met it has not asked for more.
    nobody = {"asked_by": "", "asked_session": ""} if tx.caller.person else {}
    fields = {"kind": ApprovalKind.BUDGET.value, "subject": subject, "topic": topic, "expires_at": until}
    approval = await tx.approvals.add({**fields, **nobody})
    data = {"approval_id": approval.approval_id, "kind": approval.kind.value, "about": approval.about}
    await tx.events.append("approval.asked", None, data)
    return approval, True


async def holds(tx: Transaction, catalogue: Catalogue, approval: Approval) -> bool:
    """Is the limit what it was when it was asked, in the period that it was asked for?"""
    return await _window(tx, catalogue, approval) is not None


async def void_raised(tx: Transaction, scope: str, name: str, period: str) -> None:
    """A person has raised it by a command: what was asked was about another limit."""
    newest = await tx.approvals.newest_about(_topic(scope, name, period))
    if newest is not None and newest.state is ApprovalState.PENDING:
        await asked.void(tx, newest)


async def void_stale(tx: Transaction, catalogue: Catalogue) -> None:
    """Void what is about a limit that has changed, or that keeps nothing back any more."""
    for approval in await tx.approvals.open_of_kind(ApprovalKind.BUDGET.value):
        window = None if approval.late(tx.now) else await _window(tx, catalogue, approval)
        if not approval.late(tx.now) and (window is None or window.has_room(approval.subject["wanted"])):
            await asked.void(tx, approval)


async def _window(tx: Transaction, catalogue: Catalogue, approval: Approval) -> Window | None:
    """What it is about; None when that is no longer what was asked."""
    subject = approval.subject
    today = f"{tx.now:%Y-%m-%d}"
    if subject.get("day", today) != today:
        return None
    window = await window_of(tx, catalogue, subject["scope"], subject["name"], subject["period"])
    return window if window is not None and window.limit == subject["limit"] else None


def _denied_until(approval: Approval) -> datetime:
    """The end of the period in which it was denied; of an hour, one later than the answer."""
    if approval.subject["period"] == DAY:
        return midnight_after(approval.created_at)
    return (approval.decided_at or approval.expires_at or approval.created_at) + _HOUR


def _topic(scope: str, name: str, period: str) -> str:
    return f"budget/{scope}/{name}/{period}"
