"""What is to be done: create_tasks, update_task."""

from typing import Any, Literal

from pydantic import Field

from wvo_mcp.domain.instant import Instant
from wvo_mcp.domain.task import Priority, Status, TaskType
from wvo_mcp.domain.text import FileGlob, Id, Label, Prose, Text, Title
from wvo_mcp.errors import InvalidInput
from wvo_mcp.operations.core.claiming import TaskResult
from wvo_mcp.operations.inputs import DryRun, Input, Output, Replayable, TaskId
from wvo_mcp.operations.operation import Context, Effect, Workers, operation
from wvo_mcp.orchestration.tasks import editing

_COLUMNS = (
    "title", "description", "epic_id", "milestone_id", "type", "priority", "complexity", "business_value", "labels",
    "files", "capabilities", "acceptance", "requires_approval", "not_before", "max_attempts",
)  # fmt: skip


class TaskFields(Input):
    description: Text | None = Field(default=None, description="What and why.")
    epic_id: Id | None = Field(default=None, description="Created if new.")
    milestone_id: Id | None = Field(default=None, description="Existing milestone.")
    parent_id: Id | None = Field(default=None, description="Parent task.")
    type: TaskType | None = Field(default=None, description="Kind of work.")
    priority: Priority | None = Field(default=None, description="Priority; default medium.")
    complexity: int | None = Field(default=None, ge=1, le=10, description="Size; default 5.")
    business_value: float | None = Field(default=None, ge=0, le=20, description="0-20; else by priority.")
    depends_on: list[Id] | None = Field(default=None, max_length=500, description="Tasks to be done first.")
    labels: list[Label] | None = Field(default=None, max_length=50, description="Labels.")
    files: list[FileGlob] | None = Field(default=None, max_length=50, description="Globs of the files it touches.")
    capabilities: list[Label] | None = Field(
        default=None, max_length=20, description="Capabilities that an agent needs."
    )
    acceptance: list[Prose] | None = Field(default=None, max_length=50, description="Acceptance criteria.")
    requires_approval: bool | None = Field(default=None, description="Needs approval by a person first.")
    not_before: Instant | None = Field(default=None, description="Earliest start, ISO 8601 with zone.")
    max_attempts: int | None = Field(default=None, ge=1, le=100, description="Attempts before it fails; default 3.")


class NewTask(TaskFields):
    id: Id | None = Field(default=None, description="Generated if omitted.")
    title: Title = Field(description="Title, one line.")


class CreateTasks(DryRun, Replayable):
    tasks: list[NewTask] = Field(min_length=1, max_length=500, description="Tasks to create, all or none.")


class CreatedTasks(Output):
    created: list[str]


@operation(toolset="core", effect=Effect.WRITE, workers=Workers.ANY)
async def create_tasks(ctx: Context, params: CreateTasks) -> CreatedTasks:
    """Add tasks with their dependencies, all or nothing. Tasks of one call may depend on each other by id."""
    await ctx.tx.sessions.ensure()
    taken = {task.id for task in params.tasks if task.id is not None}
    drafts: list[editing.Draft] = []
    for task in params.tasks:
        task_id = task.id or await fresh_id(ctx, taken)
        taken.add(task_id)
        drafts.append(editing.Draft(task_id, columns(task), task.depends_on or (), task.parent_id))
    return CreatedTasks(created=await editing.create(ctx.tx, drafts, editing.origin_of(ctx.caller)))


async def fresh_id(ctx: Context, taken: set[str]) -> str:
    """`N17`-like, next to the number of tasks there are; never one that exists or is in `taken`."""
    counts = await ctx.tx.tasks.counts()
    number = sum(counts[status] for status in Status) + len(taken) + 1
    while True:
        task_id = f"N{number}"
        if task_id not in taken and not await ctx.tx.tasks.known([task_id]):
            return task_id
        number += 1


def columns(task: TaskFields) -> dict[str, Any]:
    """The columns that were given; lists as tuples. A null leaves the default."""
    given: dict[str, Any] = {}
    for name in _COLUMNS:
        value = getattr(task, name, None)
        if value is not None:
            given[name] = tuple(value) if isinstance(value, list) else value  # pyright: ignore[reportUnknownArgumentType]
    return given


class UpdateTask(TaskFields, Replayable):
    task_id: TaskId
    title: Title | None = Field(default=None, description="Title, one line.")
    add_depends_on: list[Id] = Field(default_factory=list, max_length=500, description="Dependencies to add.")
    remove_depends_on: list[Id] = Field(default_factory=list, max_length=500, description="Dependencies to remove.")
    status: Literal["pending", "blocked", "cancelled"] | None = Field(
        default=None, description="New status; pending also unblocks, retries, reopens, restores."
    )
    expected_version: int | None = Field(default=None, ge=1, le=2**62, description="Version the task must have.")
    reason: Text | None = Field(default=None, description="Reason; required to reopen or block.")


_CLEARED: dict[str, Any] = {
    **dict.fromkeys(("epic_id", "milestone_id", "parent_id", "business_value", "not_before")),
    **dict.fromkeys(("labels", "files", "capabilities", "acceptance"), ()),
    "description": "",
}
"""What null makes of a field that has one."""


@operation(toolset="core", effect=Effect.WRITE)
async def update_task(ctx: Context, params: UpdateTask) -> TaskResult:
    """Change a task: fields, dependencies, or a status move that needs no lease (block, cancel, unblock, retry, reopen,
    restore). What you leave out stays; null clears. Nothing is ever deleted."""
    await ctx.tx.sessions.ensure()
    fields = columns(params)
    if params.parent_id is not None:
        fields["parent_id"] = params.parent_id
    fields |= {name: _CLEARED[name] for name in params.model_fields_set & _CLEARED.keys() if name not in fields}
    if not params.model_fields_set - {"task_id", "request_id", "expected_version", "reason"}:
        raise InvalidInput("arguments", "name at least one field to change")
    given = {"depends_on", "add_depends_on", "remove_depends_on", "reason", "expected_version"}
    status = None if params.status is None else Status(params.status)
    edit = editing.Edit(fields=fields, status=status, **params.model_dump(include=given))
    return TaskResult.of({"task": await editing.update(ctx.tx, params.task_id, edit)})
