"""Look before you claim: plan_next, list_tasks, get_task."""

import json
from typing import Annotated, Any

from pydantic import Field

from wvo_mcp.domain.instant import Instant
from wvo_mcp.domain.memory import ContextEntry, newest
from wvo_mcp.domain.merging import UNVERIFIED, EntryState
from wvo_mcp.domain.task import BlockAuthor, Checkpoint, Origin, Priority, Status, Task, TaskType
from wvo_mcp.domain.text import Id, Label, Text
from wvo_mcp.domain.wsjf import Why
from wvo_mcp.operations.inputs import Input, OrNull, Output, first
from wvo_mcp.operations.operation import Context, Effect, operation
from wvo_mcp.operations.results import fitting, position
from wvo_mcp.orchestration.queue import planning
from wvo_mcp.orchestration.tasks.lifecycle import check_epic
from wvo_mcp.ports import Transaction


class TaskLine(Output):
    """A task in a list, or after a write."""

    id: str
    title: str
    status: Status
    priority: Priority
    complexity: int
    score: float
    epic_id: str | None = None
    milestone_id: str | None = None
    assigned_to: str | None = None
    unmet_deps: int
    labels: tuple[str, ...] = ()
    version: int
    updated_at: Instant


class WorkView(TaskLine):
    """A task with all that a worker needs; its lease is beside it."""

    parent_id: str | None = None
    description: str = ""
    type: TaskType
    business_value: float | None = None
    acceptance: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    capabilities: tuple[str, ...] = ()
    requires_approval: bool
    approved_at: Instant | None = None
    not_before: Instant | None = None
    progress: int | None = None
    attempts: int
    expiries: int
    max_attempts: int
    origin: Origin
    blocked_reason: str | None = None
    last_error: str | None = None
    created_at: Instant
    started_at: Instant | None = None
    finished_at: Instant | None = None


class Criterion(Output):
    criterion: OrNull = Field(default=None, description="Absent: evidence beyond the criteria.")
    evidence: Annotated[OrNull, first(1_000)] = Field(default=None, description="Absent: none was given.")


class FailedCheck(Output):
    """A command of `verify` failed on this submission; `tail` is the end of its log."""

    entry_id: str
    command: str
    tail: str


class VerdictLine(Output):
    review_id: str
    commit: OrNull = None
    by: str
    verdict: str | None
    summary: Annotated[str | None, first(1_000)]
    decision: str | None


class ProofView(Output):
    """How the work was shown to be done."""

    criteria: list[Criterion] = Field(default=[])
    failed: FailedCheck | None = None
    reviews: list[VerdictLine] = Field(default=[])


class TaskView(WorkView):
    """A task with all there is to know."""

    lease_token: int
    lease_expires_at: Instant | None = None
    block_author: BlockAuthor | None = None
    waiting_for: list[str] = Field(default=[])
    verified: str | None = Field(default=None, description="Of a done task: verified or unverified.")
    proof: ProofView | None = None


class EventLine(Output):
    """An event beside its task; the tool `events` has the session too."""

    seq: int
    at: Instant
    kind: str
    agent_id: str | None = None
    data: dict[str, Any] = Field(default={})


_TOTAL_CAP = 1_000


class PlanNext(Input):
    limit: int = Field(default=5, ge=1, le=50, description="Number of tasks.")
    agent_id: Id | None = Field(default=None, description="Subagent to plan for.")
    epic_id: Id | None = Field(default=None, description="Only this epic.")


class Ranked(Output):
    id: str
    title: str
    score: float
    why: Why
    priority: Priority
    epic_id: str | None


class NotReadyTask(Output):
    id: str
    reason: str
    waiting_for: Annotated[list[str], first(10)]


class PlannedTasks(Output):
    tasks: list[Ranked]
    ready: int = Field(description="All that may be claimed now, but for WIP, files in use and capabilities.")
    in_progress: int
    wip_limit: int
    paused: bool
    not_ready: list[NotReadyTask]


@operation(toolset="core", effect=Effect.READ, always_load=True)
async def plan_next(ctx: Context, params: PlanNext) -> PlannedTasks:
    """Show which tasks to do next, best score first, with the parts of each score and why others are not ready. Claims
    nothing: to get work, call claim_task."""
    agent_id = params.agent_id or ctx.caller.agent_id
    await check_epic(ctx.tx, params.epic_id)
    plan = await planning.plan_next(ctx.tx, ctx.policy, agent_id, params.epic_id, params.limit)
    return PlannedTasks.of(
        plan,
        wip_limit=ctx.policy.wip_limit,
        tasks=[Ranked.of(task, why=why) for task, why in plan.tasks],
        not_ready=[NotReadyTask.of(one, id=one.task.id) for one in plan.not_ready],
    )


class GetTask(Input):
    task_id: Id = Field(description="Task id.")


class RelatedTask(Output):
    id: str
    status: Status


class SubmissionRef(Output):
    """What a task left to be landed: a pinned commit."""

    entry_id: str
    state: str
    commit: str


class SubmissionView(SubmissionRef):
    """`drift`: changed paths that the task did not claim in its files."""

    target: str
    drift: list[str] = Field(default=[])
    reason: str | None = None


class TaskDetails(Output):
    task: TaskView
    dependencies: list[RelatedTask]
    dependents: list[RelatedTask]
    checkpoints: list[Checkpoint]
    events: list[EventLine]
    context: list[ContextEntry]
    submission: SubmissionView | None = None


@operation(toolset="core", effect=Effect.READ)
async def get_task(ctx: Context, params: GetTask) -> TaskDetails:
    """Read one task: description, acceptance criteria, dependencies, last checkpoints, history and context."""
    tx = ctx.tx
    task = await tx.tasks.get(params.task_id)
    waits = await tx.tasks.waits(task.id) if task.status is Status.BLOCKED else []
    known: list[ContextEntry] = []
    if task.last_error is not None:
        from wvo_mcp.orchestration import patterns  # most tasks never failed

        known = await patterns.entries(tx, task.id)
    entries = [] if task.status in (Status.PENDING, Status.IN_PROGRESS) else await tx.submissions.of_task(task.id)
    return TaskDetails.of(
        {
            "task": TaskView.of(
                task, waiting_for=waits, verified=_verified(task, entries), proof=await _proof(tx, task)
            ),
            "dependencies": await tx.tasks.dependencies(task.id),
            "dependents": await tx.tasks.dependents(task.id, 100),
            "checkpoints": await tx.memory.checkpoints(task.id, 5),
            "events": await tx.events.of_task(task.id, 10),
            "context": [*known, *newest(await tx.memory.for_task(task, 5))],
            "submission": {**entries[0], "commit": entries[0]["commit_sha"], "drift": json.loads(entries[0]["drift"])}
            if entries
            else None,
        }
    )


async def _proof(tx: Transaction, task: Task) -> ProofView | None:
    from wvo_mcp.orchestration.checking import proving  # only this tool needs it

    found = await proving.proof(tx, task)
    if found is None:
        return None
    criteria = [Criterion(criterion=text, evidence=given) for text, given in found.criteria]
    reviews = [VerdictLine.of(one, commit=one.commit_sha or None) for one in found.reviews]
    return ProofView.of({"criteria": criteria, "failed": found.failed, "reviews": reviews})


def _verified(task: Task, entries: list[dict[str, Any]]) -> str | None:
    """What was not submitted was verified by nobody."""
    merged = [entry["verified"] for entry in entries if entry["state"] == EntryState.MERGED]
    return None if task.status is not Status.DONE else next(iter(merged), None) or UNVERIFIED


class ListTasks(Input):
    status: Status | None = Field(default=None, description="Only this status.")
    epic_id: Id | None = Field(default=None, description="Only this epic.")
    label: Label | None = Field(default=None, description="Only with this label.")
    agent_id: Id | None = Field(default=None, description="Only tasks assigned to this agent.")
    query: Text | None = Field(default=None, description="Words in id, title or description.")
    limit: int = Field(default=20, ge=1, le=100, description="Page size.")
    cursor: str | None = Field(default=None, max_length=40, description="next_cursor of the previous page.")


class TaskPage(Output):
    tasks: list[TaskLine]
    next_cursor: str | None
    total: int
    total_is_capped: bool


@operation(toolset="core", effect=Effect.READ)
async def list_tasks(ctx: Context, params: ListTasks) -> TaskPage:
    """List or search tasks in order of creation, a page at a time."""
    after = position(params.cursor) or 0
    await check_epic(ctx.tx, params.epic_id)
    where = params.model_dump(
        include={"status", "epic_id", "label", "agent_id", "query"}, exclude_none=True, mode="json"
    )
    found = await ctx.tx.tasks.page(where, after, params.limit + 1)
    page = fitting(TaskLine.of(task) for task in found[: params.limit])
    more = len(page) < len(found)
    total = await ctx.tx.tasks.count(where, _TOTAL_CAP + 1)
    return TaskPage(
        tasks=page,
        next_cursor=str(found[len(page) - 1].seq) if more else None,
        total=min(total, _TOTAL_CAP),
        total_is_capped=total > _TOTAL_CAP,
    )
