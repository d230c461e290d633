"""What becomes of reviews when the work they are of is not there any more (contract, section 12)."""

from wvo_mcp.domain.review import Review, ReviewState
from wvo_mcp.ports import Transaction
from wvo_mcp.ports.checkpoints import Content

ALERT = "review"
CONCERNS = "task.concerns"
"""The event of a task that is open again for its author, because of a reviewer's concerns."""
REVIEWED = "task.reviewed"
"""The event of one that is open again for its author to hand in what has passed its review."""
_LOOKED_AT = 20
_EVENTS = 50


async def of_copy(tx: Transaction, task_id: str) -> Review | None:
    """The last review that held the task, where its work is in no queue but in a copy of the project's folder."""
    last = next((one for one in await tx.reviews.of_task(task_id, _LOOKED_AT) if one.holds), None)
    return last if last is not None and last.entry_id is None and last.commit_sha else None


async def passed(tx: Transaction, task_id: str) -> Content | None:
    """What of a copy has passed its review, as long as nothing else was handed in since."""
    for event in reversed(await tx.events.of_task(task_id, _EVENTS)):
        if event.kind == "task.submitted":
            return None
        if event.kind == REVIEWED:
            return Content(str(event.data["commit"]), str(event.data["base"]))
    return None


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
