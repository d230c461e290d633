"""Budgets that keep work back: approved, exactly this one is raised, once, for its period."""

from functools import partial

from wvo_mcp.domain.lease import Role
from wvo_mcp.domain.task import Task
from wvo_mcp.errors import Conflict
from wvo_mcp.orchestration.approvals.question import Question, check_asker, recorded
from wvo_mcp.orchestration.routing import budgets, raising
from wvo_mcp.orchestration.tasks import asked
from wvo_mcp.ports import Transaction


async def check(tx: Transaction, question: Question) -> None:
    """Raises Forbidden (who asked, and who may not raise budgets) and Conflict (the limit is another one by now)."""
    await check_asker(tx, question)
    approval, providers = question.approval, question.providers
    if question.approved:
        tx.caller.admit(Role.ADMIN, "Raising a budget")
    if providers is None or not await raising.holds(tx, providers.current(), approval):
        changed = Conflict(
            f"{approval.approval_id} is void: the limit, or its day, is another one by now.",
            hint="wvo-mcp budget show",
        )
        changed.follow_up = partial(asked.void, approval=approval)
        raise changed


async def answered(tx: Transaction, question: Question) -> Task | None:
    await recorded(tx, question)
    if question.approved and question.providers is not None:
        subject = question.approval.subject
        more = {subject["period"]: subject["new_limit"] - subject["limit"]}
        catalogue, reason = question.providers.current(), question.approval.reason or question.approval.approval_id
        await budgets.allow(tx, catalogue, subject["scope"], subject["name"], more, None, reason)
    return question.task
