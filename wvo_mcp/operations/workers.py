"""The toolset `worker`: what people see of workers, and how they end one."""

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Annotated

from pydantic import AfterValidator, Field

from wvo_mcp.domain.instant import Instant, iso
from wvo_mcp.domain.lease import Role
from wvo_mcp.domain.task import Status
from wvo_mcp.domain.text import Id, Text
from wvo_mcp.domain.worker import RESTING, Outcome, Worker, WorkerState
from wvo_mcp.errors import Conflict, NotFound
from wvo_mcp.operations.approvals import ApprovalLine, approval_line
from wvo_mcp.operations.inputs import PEOPLE_ONLY, Dollars, Input, OrNull, Output, first
from wvo_mcp.operations.operation import Audience, Context, Effect, operation
from wvo_mcp.operations.results import fitting, position
from wvo_mcp.orchestration.pool.facts import BY_A_PERSON, STOP_OF_ONE
from wvo_mcp.ports import Transaction, WatchedStore
from wvo_mcp.ports.workers import WorkerLogs

_DAY = timedelta(days=1)
Short = Annotated[str | None, AfterValidator(lambda text: text and text[:300])]


class WorkerLine(Output):
    worker_id: str
    task_id: str
    title: Annotated[str, first(200)]
    agent_id: str
    provider: str
    tier: str
    model: str
    host: str
    state: WorkerState
    reason: Short = None
    since: Instant
    last_act: Short = None
    resets_at: Instant | None = None
    started_at: Instant
    ended_at: Instant | None = None
    outcome: Outcome | None = None
    exit_code: int | None = None
    tokens_in: int
    tokens_out: int
    cost_usd: Dollars
    reserved_usd: Dollars
    memory_mb: int | None = None
    cpu_percent: float | None = None
    review_id: OrNull = Field(default=None, description="What it only answers; it holds no task then.")


class ViolationLine(Output):
    seq: int
    at: Instant
    task_id: str | None
    worker_id: str | None = None
    kind: str
    verdict: str
    rule: str
    subject: Annotated[str, first(200)]


class RunningAutopilot(Output):
    agent_id: str
    pid: int | None


class Totals(Output):
    """What launches used together."""

    runs: int
    tokens_in: int
    tokens_out: int
    cost_usd: Dollars


class WorkersListed(Output):
    at: Instant
    autopilots: list[RunningAutopilot] = Field(description="Those that run now.")
    workers: list[WorkerLine] = Field(description="Those that have not ended first, then those that ended last.")
    approvals: list[ApprovalLine] = Field(description="What waits for a person.")
    violations: list[ViolationLine] = Field(description="What the policy refused, asked or watched last.")
    counts: dict[str, int] = Field(description="Tasks by status.")
    spent_usd: Dollars = Field(description="By the workers of the last 24 hours, or of the run, with what is reserved.")
    paused: bool
    total: Totals | None = Field(default=None, description="Of one task: what all its workers used.")
    reviews: Totals | None = Field(default=None, description="And those that only answered: its reviews.")
    next_cursor: str | None = Field(default=None, description="There are older ones.")


class ListWorkers(Input):
    limit: int = Field(default=20, ge=1, le=100, description="Workers at most.")
    task_id: Id | None = Field(default=None, description="Only those of this task, newest first.")
    cursor: str | None = Field(default=None, max_length=40, description="next_cursor of the previous page.")
    run_id: Id | None = Field(
        default=None, description="Show what this run of the autopilot spent, instead of the day."
    )


@operation(toolset="worker", effect=Effect.READ, audience=Audience.PEOPLE)
async def workers(ctx: Context, params: ListWorkers) -> WorkersListed:
    """Show workers: what each does, since when, what it used, why it waits; and the approvals that are open."""
    tx = ctx.tx
    before, wanted = position(params.cursor), params.limit + 1
    if params.task_id is None:
        rows = await tx.workers.recent(wanted, before)
    else:
        rows = await tx.workers.of_task(params.task_id, wanted, before)
    titles: dict[str, str] = {}
    for task_id in {row.task_id for row in rows}:
        task = await tx.tasks.find(task_id)
        titles[task_id] = "" if task is None else task.title
    page = fitting(WorkerLine.of(row, title=titles[row.task_id]) for row in rows[: params.limit])
    last = rows[len(page) - 1] if len(page) < len(rows) else None
    totals = [] if params.task_id is None else await tx.workers.totals_of(params.task_id)
    return WorkersListed(
        at=tx.now,
        autopilots=[one async for one in _autopilots(tx)],
        workers=page,
        approvals=fitting(approval_line(tx, one) for one in await tx.approvals.waiting(20)),
        violations=[ViolationLine.of(row) for row in await tx.violations.page(params.task_id, 5)],
        counts=await tx.tasks.counts(),
        spent_usd=await tx.workers.spent(run_id=params.run_id, since=None if params.run_id else tx.now - _DAY),
        paused=bool(await tx.state.get("paused")),
        total=next((Totals.of(row) for row in totals if not row["answers"]), None),
        reviews=next((Totals.of(row) for row in totals if row["answers"]), None),
        next_cursor=None if last is None else str(last.seq),
    )


async def _autopilots(tx: Transaction) -> AsyncIterator[RunningAutopilot]:
    for session_id in await tx.sessions.connected():
        row = await tx.sessions.get(session_id) if session_id.startswith("autopilot-") else None
        if row is not None and tx.liveness.alive(session_id):
            yield RunningAutopilot.of(row)


class NameWorker(Input):
    worker_id: Id = Field(description="Worker; or a task, whose newest worker it is.")


class WorkerWhole(WorkerLine):
    lease_token: int
    run_id: str = Field(description="Of the autopilot that launched it.")
    pid: int | None = None
    client_session: OrNull = None
    workspace: OrNull = None
    log: OrNull = Field(default=None, description="The file that its program's stream is in.")
    task_status: Status | None = None
    stop_asked: OrNull = Field(default=None, description="Why a person wants it to end; it has not yet.")


class WorkerShown(Output):
    worker: WorkerWhole


@operation(toolset="worker", effect=Effect.READ, audience=Audience.PEOPLE)
async def worker_show(ctx: Context, params: NameWorker) -> WorkerShown:
    """Show one worker: its state with the reason, its task, process, session, workspace, log and what it used."""
    tx = ctx.tx
    row = await _named(tx, params.worker_id)
    task = await tx.tasks.find(row.task_id)
    asked = await tx.state.get(STOP_OF_ONE + row.worker_id)
    shown = {"title": "", "task_status": None} if task is None else {"title": task.title, "task_status": task.status}
    return WorkerShown(worker=WorkerWhole.of(row, **shown, stop_asked=None if asked is None else asked.get("reason")))


class ReadLog(Input):
    worker_id: Id = Field(description="Worker; or a task, whose newest worker it is.")
    after: int | None = Field(
        default=None, ge=0, description="Go on from here (next_after); default: the end of the log."
    )
    raw: bool = Field(default=False, description="As the program printed it, redacted.", json_schema_extra=PEOPLE_ONLY)


class LogShown(Output):
    worker_id: str
    task_id: str
    provider: str
    state: WorkerState
    reason: Short = None
    outcome: Outcome | None = None
    lines: list[str]
    next_after: int
    more: bool


@operation(toolset="worker", effect=Effect.READ, audience=Audience.PEOPLE, manages_own_transactions=True)
async def worker_log(ctx: Context, params: ReadLog, store: WatchedStore, logs: WorkerLogs) -> LogShown:
    """Show what a worker did, a line for each act. --follow goes on until it ends; --raw shows what its program printed."""
    worker = await store.read(ctx.caller, lambda tx: _named(tx, params.worker_id))
    if worker.log is None:
        raise NotFound("log", worker.worker_id, (), field="worker_id", hint="It has printed nothing yet.")
    page = await logs.read(worker.log, params.after, raw=params.raw)
    return LogShown.of(worker, lines=list(page.lines), next_after=page.next, more=page.more)


class StopWorker(Input):
    worker_id: Id = Field(description="Worker; or a task, whose newest worker it is.")
    reason: Text | None = Field(default=None, description="Reason, kept in the history.")


class WorkerAsked(Output):
    worker_id: str
    task_id: str
    state: WorkerState


@operation(toolset="worker", effect=Effect.WRITE, audience=Audience.PEOPLE, role=Role.OPERATOR, idempotent=True)
async def worker_stop(ctx: Context, params: StopWorker) -> WorkerAsked:
    """Stop a worker: its autopilot ends it at once, and its task returns to the queue."""
    tx = ctx.tx
    await tx.sessions.ensure()
    worker = await _named(tx, params.worker_id)
    if worker.state is WorkerState.ENDED:
        outcome = f" ({worker.outcome})" if worker.outcome else ""
        raise Conflict(f"Worker {worker.worker_id} has ended{outcome}.", hint="wvo-mcp workers lists those that run.")
    reason = params.reason or BY_A_PERSON
    name = STOP_OF_ONE + worker.worker_id
    if (
        worker.state in RESTING
    ):  # it has no process: its session is given up, and the next launch of the task begins anew
        ended = {"state": WorkerState.ENDED, "outcome": Outcome.STOPPED, "reason": reason, "ended_at": tx.now}
        await tx.workers.change(worker.worker_id, ended)
        worker = await tx.workers.get(worker.worker_id)
    elif await tx.state.get(name) is None:
        await tx.state.put(name, {"reason": reason, "by": ctx.caller.agent_id, "at": iso(tx.now)})
    else:
        return WorkerAsked.of(worker)
    await tx.events.append("worker.stop_asked", worker.task_id, {"worker": worker.worker_id, "reason": reason})
    return WorkerAsked.of(worker)


async def _named(tx: Transaction, name: str) -> Worker:
    """The worker, or the newest one of the task of this name. Raises NotFound."""
    try:
        return await tx.workers.get(name)
    except NotFound:
        for worker in await tx.workers.of_task(name, 1):
            return worker
        raise
