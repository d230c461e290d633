"""Who works on what, and what waits to land: one picture and the same words for the terminal and the page."""

from typing import Annotated

from pydantic import AfterValidator, Field

from wvo_mcp.domain.instant import Instant
from wvo_mcp.domain.merging import OPEN, EntryState, in_order
from wvo_mcp.domain.task import Status
from wvo_mcp.domain.worker import WorkerState
from wvo_mcp.operations.inputs import Dollars, Output
from wvo_mcp.operations.results import fitting
from wvo_mcp.ports import Transaction

_HELD = 50
_WAITING = 200
_SHOWN = 10
Short = Annotated[str | None, AfterValidator(lambda text: text and text[:300])]


class RunningLine(Output):
    """A worker, or an agent with the task that it holds."""

    task_id: str | None = None
    title: Short = None
    agent_id: str | None = None
    worker_id: str | None = None
    review: bool = Field(default=False, description="It reviews the task.")
    state: str
    does: Short = Field(default=None, description="Its last act, or why it waits.")
    since: Instant | None = None
    resets_at: Instant | None = None
    lease_expires_at: Instant | None = None
    progress: int | None = None
    provider: str | None = None
    model: str | None = None
    tokens: int | None = None
    cost_usd: Dollars | None = None


class MergingLine(Output):
    """A submission that waits to land."""

    entry_id: str
    task_id: str
    title: Short = None
    state: EntryState
    place: int | None = Field(default=None, description="Its turn, from 1; none while it is parked.")
    target: str
    reason: Short = None
    since: Instant = Field(validation_alias="updated_at")


async def running(tx: Transaction, most: int = _HELD) -> list[RunningLine]:
    """Workers that have not ended, then what agents hold without one."""
    workers = await tx.workers.open()
    found: list[RunningLine] = []
    for worker in workers[:_HELD]:
        task = await tx.tasks.find(worker.task_id)
        does = worker.last_act if worker.state is WorkerState.WORKING else worker.reason
        found.append(
            RunningLine.of(
                worker,
                title=None if task is None else task.title,
                review=worker.review_id is not None,
                does=does,
                progress=None if task is None else task.progress,
                tokens=worker.tokens_in + worker.tokens_out,
            )
        )
    theirs = {worker.task_id for worker in workers if worker.review_id is None}
    for task in await tx.tasks.page({"status": Status.IN_PROGRESS.value}, 0, _HELD):
        if task.id not in theirs:
            gone = await server_is_gone(tx, task.session_id)
            found.append(
                RunningLine.of(
                    task,
                    task_id=task.id,
                    agent_id=task.assigned_to,
                    state="server_gone" if gone else "working",
                    since=task.started_at,
                )
            )
    return fitting(found[:most])


async def merging(tx: Transaction) -> list[MergingLine]:
    """The first of the merge lane, then what is parked, as its page has them."""
    rows = await tx.submissions.in_states(OPEN, _WAITING)
    tasks = {row["task_id"]: await tx.tasks.get(row["task_id"]) for row in rows}
    order = in_order((row, tasks[row["task_id"]].priority.value, tasks[row["task_id"]].score) for row in rows)
    line = [row for row in order if row["state"] != EntryState.PARKED]
    parked = [row for row in order if row["state"] == EntryState.PARKED]
    places = {row["entry_id"]: place for place, row in enumerate(line, 1)}
    return [
        MergingLine.model_validate({**row, "title": tasks[row["task_id"]].title, "place": places.get(row["entry_id"])})
        for row in [*line, *parked][:_SHOWN]
    ]


async def server_is_gone(tx: Transaction, session_id: str | None) -> bool:
    session = None if session_id is None else await tx.sessions.get(session_id)
    return session is not None and not session["durable"] and not tx.liveness.alive(session["session_id"])
