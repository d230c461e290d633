"""The life of a claim: claim_task, heartbeat, checkpoint, complete_task, fail_task, release_task, block_task."""

from typing import Annotated

from pydantic import AliasChoices, Field

from wvo_mcp.domain.checkpoint import Checkpoint
from wvo_mcp.domain.instant import Instant
from wvo_mcp.domain.lease import Lease
from wvo_mcp.domain.memory import ContextEntry
from wvo_mcp.domain.task import Status, Task
from wvo_mcp.domain.text import Id, Prose, Reference, Text
from wvo_mcp.operations.core.views import TaskLine, WorkView, line, work_view
from wvo_mcp.operations.operation import Context, Effect, Input, Output, operation
from wvo_mcp.orchestration.queue import claims
from wvo_mcp.orchestration.routing import breakers
from wvo_mcp.orchestration.tasks import lifecycle

RequestId = Annotated[Id | None, Field(default=None, description="Idempotency key: repeat with the same input.")]
TaskId = Annotated[Id, Field(description="Task id.")]
Token = Annotated[
    int | None,
    Field(default=None, ge=0, le=2**62, description="Lease token; optional on the same connection."),
]
UNLOCKED_SHOWN = 100


class ClaimTask(Input):
    task_id: Id | None = Field(default=None, description="Task to claim; omit for the best ready one.")
    agent_id: Id | None = Field(default=None, description="Subagent to claim for, e.g. your name + '.1'.")
    lease_seconds: int | None = Field(default=None, ge=1, le=86_400, description="Length of the lease.")
    request_id: RequestId


class Holding(Output):
    id: str
    lease: Lease


class Route(Output):
    provider: str
    tier: str
    model: str
    reason: str


class ClaimedTask(Output):
    task: WorkView | None
    lease: Lease | None
    resume: Checkpoint | None
    context: list[ContextEntry]
    route: Route | None
    explanation: str | None = None


class NothingClaimed(ClaimedTask):
    reason: str | None
    retry_after: int | None = Field(description="Seconds.")
    holding: list[Holding]

    @property
    def answers_repeats(self) -> bool:
        return False


@operation(toolset="core", effect=Effect.WRITE, always_load=True, routed=True)
async def claim_task(ctx: Context, ask: ClaimTask) -> ClaimedTask:
    """Claim a task: the best ready one, or the one you name. You alone hold it until you complete, fail, release
    or block it; the lease is renewed while you are connected. The answer has its last checkpoint (resume) and context.
    task null: see reason; wait retry_after seconds, or go on with what is in holding."""
    agent_id = ask.agent_id or ctx.caller.agent_id
    claim = await claims.claim(ctx.tx, ctx.policy, agent_id, ask.task_id, ask.lease_seconds, ctx.services.providers)
    if claim.task is None:
        return NothingClaimed(
            task=None,
            lease=None,
            resume=None,
            context=[],
            route=None,
            reason=claim.reason,
            explanation=claim.explanation,
            retry_after=claim.retry_after,
            holding=[Holding(id=t.id, lease=_lease(t)) for t in claim.holding],
        )
    return ClaimedTask(
        task=work_view(claim.task),
        lease=claim.lease,
        resume=claim.resume,
        context=claim.context,
        route=None if claim.route is None else Route(**claim.route.shown()),
        explanation=claim.explanation,
    )


def _lease(task: Task) -> Lease:
    assert task.lease_expires_at is not None  # noqa: S101 - it is in progress
    return Lease(token=task.lease_token, expires_at=task.lease_expires_at)


class Heartbeat(Input):
    task_id: TaskId
    lease_token: Token
    progress: int | None = Field(default=None, ge=0, le=100, description="Percent done.")
    note: Text | None = Field(default=None, description="Note, kept in the history.")


class Renewed(Output):
    lease: Lease


@operation(toolset="core", effect=Effect.WRITE, lease_write=False, idempotent=True)
async def heartbeat(ctx: Context, ask: Heartbeat) -> Renewed:
    """Renew your lease now and report progress. Rarely needed: the server renews it while you are connected."""
    await ctx.tx.sessions.ensure()
    task = await lifecycle.held(ctx.tx, ctx.policy, ask.task_id, ask.lease_token)
    lease = await lifecycle.extend(ctx.tx, task)
    fields = {"lease_expires_at": lease.expires_at, "progress": task.progress if ask.progress is None else ask.progress}
    data = {"progress": ask.progress, "note": ask.note}
    await ctx.tx.tasks.change(task, "task.heartbeat", fields, {k: v for k, v in data.items() if v is not None})
    return Renewed(lease=lease)


class WriteCheckpoint(Input):
    task_id: TaskId
    lease_token: Token
    summary: Prose = Field(description="What is done and decided.")
    next_steps: Text | None = Field(default=None, description="What remains to be done.")
    progress: int | None = Field(default=None, ge=0, le=100, description="Percent done.")
    files: list[Reference] = Field(default_factory=list, max_length=200, description="Files touched.")


class CheckpointRef(Output):
    id: str
    seq: int


class CheckpointWritten(Output):
    checkpoint: CheckpointRef
    lease: Lease


@operation(toolset="core", effect=Effect.WRITE, lease_write=True, always_load=True)
async def checkpoint(ctx: Context, ask: WriteCheckpoint) -> CheckpointWritten:
    """Save your progress. The next agent to hold the task starts from the last checkpoint. Call it after every step that
    would be costly to repeat."""
    await ctx.tx.sessions.ensure()
    task = await lifecycle.held(ctx.tx, ctx.policy, ask.task_id, ask.lease_token)
    saved = await ctx.tx.memory.add_checkpoint(task.id, ask.summary, ask.next_steps, ask.progress, ask.files)
    lease = await lifecycle.extend(ctx.tx, task)
    fields = {"lease_expires_at": lease.expires_at, "progress": task.progress if ask.progress is None else ask.progress}
    await ctx.tx.tasks.change(task, "task.checkpoint", fields, {"checkpoint": saved.id, "progress": ask.progress})
    return CheckpointWritten(checkpoint=CheckpointRef(id=saved.id, seq=saved.seq), lease=lease)


class CompleteTask(Input):
    task_id: TaskId
    lease_token: Token
    summary: Prose = Field(description="What was done and how it was checked.")
    artifacts: list[Reference] = Field(default_factory=list, max_length=200, description="Paths or URLs of results.")
    evidence: list[Prose] = Field(
        default_factory=list, max_length=50, description="Evidence for each criterion, in order."
    )


class CompletedTask(Output):
    task: TaskLine
    unlocked: list[str]
    unlocked_count: int
    submission: None
    """Nothing is submitted yet."""


@operation(toolset="core", effect=Effect.WRITE, lease_write=True, always_load=True)
async def complete_task(ctx: Context, ask: CompleteTask) -> CompletedTask:
    """Complete your task once its acceptance criteria are met. Returns the tasks that this made ready."""
    await ctx.tx.sessions.ensure()
    routed = ctx.services.providers is not None
    if routed:
        await ctx.tx.routing.foresee_tried(ask.task_id)
    task = await lifecycle.held(ctx.tx, ctx.policy, ask.task_id, ask.lease_token, Status.DONE)
    tried = await ctx.tx.routing.tried(task.id) if routed else []
    moved = await lifecycle.complete(ctx.tx, task, ask.summary, ask.artifacts, ask.evidence)
    if tried:
        await breakers.done(ctx.tx, task.id, tried)
    return CompletedTask(
        task=line(moved.task),
        unlocked=moved.unlocked[:UNLOCKED_SHOWN],
        unlocked_count=len(moved.unlocked),
        submission=None,
    )


class FailTask(Input):
    task_id: TaskId
    lease_token: Token
    error: Prose = Field(description="What went wrong and what was tried.")
    retry: bool = Field(default=True, description="Retry while attempts are left.")


class FailedTask(Output):
    task: TaskLine
    attempts: int
    retry_at: Instant | None


@operation(toolset="core", effect=Effect.WRITE, lease_write=True)
async def fail_task(ctx: Context, ask: FailTask) -> FailedTask:
    """Report that your attempt failed. While attempts are left the task returns to the queue after a delay; else it is
    failed and a person is alerted. When your model's provider was to blame (a limit, an outage), release_task instead."""
    await ctx.tx.sessions.ensure()
    task = await lifecycle.held(ctx.tx, ctx.policy, ask.task_id, ask.lease_token, Status.FAILED)
    moved = await lifecycle.fail(ctx.tx, task, ask.error, retry=ask.retry)
    again = moved.task.status is Status.PENDING
    return FailedTask(
        task=line(moved.task), attempts=moved.task.attempts, retry_at=moved.task.not_before if again else None
    )


class ReleaseTask(Input):
    task_id: TaskId
    lease_token: Token
    reason: Text | None = Field(
        default=None, validation_alias=AliasChoices("reason", "note"), description="Reason, kept in the history."
    )


class TaskResult(Output):
    task: TaskLine


@operation(toolset="core", effect=Effect.WRITE, lease_write=True)
async def release_task(ctx: Context, ask: ReleaseTask) -> TaskResult:
    """Return your unfinished task to the queue. Checkpoints are kept; this is not a failed attempt."""
    await ctx.tx.sessions.ensure()
    task = await lifecycle.held(ctx.tx, ctx.policy, ask.task_id, ask.lease_token, Status.PENDING)
    data = {"reason": ask.reason} if ask.reason else {}
    moved = await lifecycle.move(ctx.tx, task, Status.PENDING, "task.released", data=data)
    return TaskResult(task=line(moved.task))


class BlockTask(Input):
    task_id: TaskId
    lease_token: Token
    reason: Prose = Field(description="What it waits for.")
    waiting_for: list[Id] = Field(
        default_factory=list, max_length=100, description="Tasks to wait for; it is unblocked when all are done."
    )


@operation(toolset="core", effect=Effect.WRITE, lease_write=True)
async def block_task(ctx: Context, ask: BlockTask) -> TaskResult:
    """Block a task that cannot continue: your own, or a pending one. With waiting_for it returns to the queue when those
    tasks are done; otherwise a person unblocks it."""
    await ctx.tx.sessions.ensure()
    task = await ctx.tx.tasks.get(ask.task_id)
    if task.status is not Status.PENDING or ask.lease_token is not None:
        task = await lifecycle.held(ctx.tx, ctx.policy, ask.task_id, ask.lease_token, Status.BLOCKED)
    moved = await lifecycle.block(ctx.tx, task, ask.reason, ask.waiting_for)
    return TaskResult(task=line(moved.task))
