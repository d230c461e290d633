"""Work that lands, or goes on, once a person has said so of exactly this commit."""

from wvo_mcp.domain.approval import ApprovalState
from wvo_mcp.domain.merging import OPEN, EntryState
from wvo_mcp.domain.task import Status, Task
from wvo_mcp.orchestration.approvals.question import Question, recorded
from wvo_mcp.orchestration.tasks import protecting, review, settling
from wvo_mcp.ports import Transaction


async def answered(tx: Transaction, question: Question) -> Task | None:
    """What was denied, or not decided in time, is taken out of the line: the task is blocked until people unblock it."""
    task = await recorded(tx, question)
    if task is None:
        return None
    approval, approved = question.approval, question.approved
    verb = "was denied" if approval.state is ApprovalState.DENIED else "expired"
    why = f"{approval.approval_id} {verb}: {approval.reason}"
    if settling.asks_about_review(approval):
        return await settling.answered(tx, task, approval, approved, why)
    if approved or task.status is not Status.IN_REVIEW:
        return task
    for entry in await tx.submissions.of_task(task.id):
        waits = entry["state"] in OPEN and entry["state"] != EntryState.LANDING
        if waits and protecting.concerns(entry, approval):
            return await review.park(tx, entry, why)
    return task
