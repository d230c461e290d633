"""What becomes of reviews when the work they are of is not there any more (contract, section 12)."""

from wvo_mcp.domain.review import ReviewState
from wvo_mcp.ports import Transaction

ALERT = "review"
CONCERNS = "task.concerns"
"""The event of a task that is open again for its author, because of a reviewer's concerns."""


async def ended(tx: Transaction, task_id: str, *, holds: bool = True) -> None:
    """Nobody need answer what was asked about it. `holds`: of work that waited for it, else of work in progress."""
    for review in await tx.reviews.open_of_task(task_id):
        if review.holds == holds:
            await tx.reviews.change(review.review_id, {"state": ReviewState.LOST, "deadline": None})
    if holds:
        await tx.alerts.resolve_alert(ALERT, task_id)


def family(agent_id: str) -> str:
    """For whom work of this agent is kept: of a worker any place of its pool, since its session can go on in each."""
    return agent_id.rpartition(".")[0] if agent_id.startswith("auto-") and "." in agent_id else agent_id
