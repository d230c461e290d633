"""People's verbs: commands and controls of the page, never tools (contract, section 6).

With the role of an operator only people may call them; the others do what agents do with update_task and create_tasks.
"""

from pydantic import Field

from wvo_mcp.domain.instant import AHEAD_SECONDS, Instant, iso
from wvo_mcp.domain.lease import Role
from wvo_mcp.domain.task import Priority, Status
from wvo_mcp.domain.text import Id, Prose, Text, Title
from wvo_mcp.errors import Conflict, IllegalTransition
from wvo_mcp.operations.core.claiming import TaskResult
from wvo_mcp.operations.core.tasks import TaskFields as _Fields
from wvo_mcp.operations.core.tasks import columns, fresh_id
from wvo_mcp.operations.inputs import Input, Output, TaskId
from wvo_mcp.operations.operation import Audience, Context, Effect, operation
from wvo_mcp.orchestration.pool import facts
from wvo_mcp.orchestration.tasks import editing
from wvo_mcp.ports import Clock


class Decision(Input):
    task_id: TaskId
    reason: Text | None = Field(default=None, description="Reason, kept in the history.")


class ReasonedDecision(Input):
    task_id: TaskId
    reason: Prose = Field(description="Reason, kept in the history.")


class Cancelled(Output):
    task_id: str
    status: Status
    stranded: list[str] = Field(description="Open tasks that depend on it.")


@operation(toolset="people", effect=Effect.WRITE, audience=Audience.PEOPLE)
async def cancel(ctx: Context, params: Decision) -> Cancelled:
    """Cancel a task, even one in progress. restore undoes it."""
    tx = ctx.tx
    await tx.sessions.ensure()
    task = await tx.tasks.get(params.task_id)
    moved = await editing.set_status(tx, task, Status.CANCELLED, params.reason)
    behind = await tx.tasks.dependents(task.id, 100)
    stranded = [row["id"] for row in behind if row["status"] not in (Status.DONE, Status.CANCELLED)]
    return Cancelled(task_id=task.id, status=moved.task.status, stranded=stranded)


async def _back(ctx: Context, task_id: str, reason: str | None, *origins: Status) -> TaskResult:
    tx = ctx.tx
    await tx.sessions.ensure()
    task = await tx.tasks.get(task_id)
    if task.status not in origins:
        raise IllegalTransition(
            task.id, task.status, Status.PENDING, f"This command is for {' and '.join(origins)} tasks."
        )
    moved = await editing.set_status(tx, task, Status.PENDING, reason)
    return TaskResult.of(moved)


@operation(toolset="people", effect=Effect.WRITE, audience=Audience.PEOPLE)
async def unblock(ctx: Context, params: Decision) -> TaskResult:
    """Unblock a task: it returns to the queue."""
    return await _back(ctx, params.task_id, params.reason, Status.BLOCKED)


@operation(toolset="people", effect=Effect.WRITE, audience=Audience.PEOPLE)
async def retry(ctx: Context, params: Decision) -> TaskResult:
    """Retry a failed task: it returns to the queue and its attempts are counted from zero."""
    return await _back(ctx, params.task_id, params.reason, Status.FAILED)


@operation(toolset="people", effect=Effect.WRITE, audience=Audience.PEOPLE)
async def reopen(ctx: Context, params: ReasonedDecision) -> TaskResult:
    """Reopen a finished task. Dependents that have not started wait for it again."""
    return await _back(ctx, params.task_id, params.reason, Status.DONE)


@operation(toolset="people", effect=Effect.WRITE, audience=Audience.PEOPLE)
async def restore(ctx: Context, params: Decision) -> TaskResult:
    """Restore a cancelled task: it returns to the queue."""
    return await _back(ctx, params.task_id, params.reason, Status.CANCELLED)


class Pause(Input):
    reason: Text | None = Field(default=None, description="Reason shown to agents that ask for work.")
    gently: bool = Field(default=False, description="Let running workers finish their tasks.")


class Stop(Input):
    reason: Text | None = Field(default=None, description="Reason shown to agents that ask for work.")


class PauseState(Output):
    paused: bool
    reason: str | None
    gently: bool | None = Field(default=None, description="True where running workers may finish; else absent.")
    stopped: bool | None = Field(default=None, description="True where autopilots exit as well; else absent.")


@operation(toolset="people", effect=Effect.WRITE, audience=Audience.PEOPLE, idempotent=True, role=Role.OPERATOR)
async def pause(ctx: Context, params: Pause) -> PauseState:
    """Pause work: no task is claimed until resume. Workers of the autopilot are interrupted and keep their sessions; tasks
    of other agents may be finished."""
    await ctx.tx.sessions.ensure()
    mode = facts.PauseMode.GENTLY if params.gently else facts.PauseMode.NOW
    return _state_of(await facts.pause(ctx.tx, mode, params.reason))


@operation(toolset="people", effect=Effect.WRITE, audience=Audience.PEOPLE, idempotent=True, role=Role.OPERATOR)
async def resume(ctx: Context) -> PauseState:
    """Resume work after pause or stop. Interrupted workers go on in the same session."""
    await ctx.tx.sessions.ensure()
    return _state_of(await facts.resume(ctx.tx))


@operation(toolset="people", effect=Effect.WRITE, audience=Audience.PEOPLE, idempotent=True, role=Role.OPERATOR)
async def stop(ctx: Context, params: Stop) -> PauseState:
    """Stop work: pause, and every autopilot exits. Starting an autopilot, or resume, ends it."""
    await ctx.tx.sessions.ensure()
    return _state_of(await facts.stop(ctx.tx, params.reason))


def _state_of(halt: facts.Halt) -> PauseState:
    on = {"gently": halt.mode is facts.PauseMode.GENTLY and not halt.stop, "stopped": halt.stop}
    return PauseState(paused=not halt.gives_out, reason=halt.reason, **{name: True for name in on if on[name]})


class Add(Input):
    title: Title = Field(description="Title, one line.")
    id: Id | None = Field(default=None, description="Generated if omitted.")
    description: Text | None = Field(default=None, description="What to do, and why.")
    epic_id: Id | None = Field(default=None, description="Epic; created if new.")
    priority: Priority | None = Field(default=None, description="Priority; default medium.")
    complexity: int | None = Field(default=None, ge=1, le=10, description="Size; default 5.")
    depends_on: list[Id] = Field(default_factory=list, max_length=500, description="Tasks to be done first.")


@operation(toolset="people", effect=Effect.WRITE, audience=Audience.PEOPLE)
async def add(ctx: Context, params: Add) -> TaskResult:
    """Add a task."""
    await ctx.tx.sessions.ensure()
    task_id = params.id or await fresh_id(ctx, set())
    fields = columns(_Fields(**params.model_dump(exclude={"id", "title", "depends_on"}, exclude_none=True)))
    draft = editing.Draft(task_id, {**fields, "title": params.title}, params.depends_on)
    await editing.create(ctx.tx, [draft], editing.origin_of(ctx.caller))
    return TaskResult.of({"task": await ctx.tx.tasks.get(task_id)})


class SetTimeBack(Input):
    apply: bool = Field(default=False, description="Apply the change instead of showing it.")

    @property
    def is_dry_run(self) -> bool:
        return not self.apply


class TimeSetBack(Output):
    store_time: Instant = Field(description="As it was.")
    machine_time: Instant
    ahead_seconds: int = Field(description="The store before the machine.")
    moves: dict[str, int] = Field(description="Values by table and column that were written under the wrong clock.")
    applied: bool


@operation(toolset="people", effect=Effect.DESTRUCTIVE, audience=Audience.PEOPLE, role=Role.ADMIN, idempotent=True)
async def set_time_back(ctx: Context, params: SetTimeBack, clock: Clock) -> TimeSetBack:
    """Set the store's time back to this machine's clock, after the store was written while a clock was ahead. Shows what
    would change; --apply changes it. The audit trail is kept and records the correction."""
    tx, true = ctx.tx, clock.now()
    ahead = int((tx.now - true).total_seconds())
    moves: dict[str, int] = {}
    if ahead > AHEAD_SECONDS:
        first = await tx.events.after(0, 1, None, None)
        if first and first[0].at > true:
            raise Conflict(
                f"This machine's clock ({iso(true)}) is before the first event of the store ({iso(first[0].at)}).",
                hint="Set the machine's clock first.",
            )
        moves = await tx.state.set_time_back(true, apply=params.apply)
    return TimeSetBack(
        store_time=tx.now,
        machine_time=true,
        ahead_seconds=max(0, ahead),
        moves=moves,
        applied=params.apply and ahead > AHEAD_SECONDS,
    )
