"""The toolset `workspaces`: what was kept of the files of a workspace, and what differs."""

from typing import Annotated

from pydantic import Field

from wvo_mcp.domain.checkpoints import Trigger
from wvo_mcp.domain.instant import Instant
from wvo_mcp.domain.text import Id
from wvo_mcp.errors import Conflict, NotFound
from wvo_mcp.operations.inputs import Input, Output, first
from wvo_mcp.operations.operation import Context, Effect, operation
from wvo_mcp.operations.results import fitting
from wvo_mcp.ports import WatchedStore
from wvo_mcp.ports.checkpoints import Checkpoints, NoCheckpoint

_DIFF = 12_000


class CheckpointLine(Output):
    number: int = Field(description="For workspace_diff.")
    workspace_id: str
    seq: int
    commit: str
    trigger: Trigger
    task_checkpoint: int | None = Field(default=None, description="The task's own checkpoint that it belongs to.")
    files_changed: int
    violations: int
    took_ms: int
    created_at: Instant


class CheckpointsListed(Output):
    task_id: str
    checkpoints: list[CheckpointLine]


class ListCheckpoints(Input):
    task_id: Id = Field(description="Task id.")
    limit: int = Field(default=20, ge=1, le=200, description="Checkpoints at most, the newest first.")


@operation(toolset="workspaces", effect=Effect.READ)
async def workspace_checkpoints(ctx: Context, params: ListCheckpoints) -> CheckpointsListed:
    """List the checkpoints of the files of a task's workspace, newest first. One is made with each checkpoint of the task, at
    intervals while a worker works, and when it is completed."""
    task = await ctx.tx.tasks.get(params.task_id)
    rows = await ctx.tx.snapshots.of_task(task.id, params.limit)
    lines = [CheckpointLine.of({**row, "commit": row["commit_sha"]}) for row in rows]
    return CheckpointsListed(task_id=task.id, checkpoints=fitting(lines))


class DiffWorkspace(Input):
    task_id: Id = Field(description="Task id.")
    checkpoint: int | None = Field(default=None, ge=1, description="Its number; omit for the files as they are now.")
    whole: bool = Field(default=False, description="Against what the workspace began with, not the checkpoint before.")


class WorkspaceDiff(Output):
    task_id: str
    files: Annotated[list[str], first(200)] = Field(description="Paths that differ.")
    files_changed: int
    diff: str
    cut: bool = Field(default=False, description="There is more of the diff.")


@operation(toolset="workspaces", effect=Effect.READ, manages_own_transactions=True)
async def workspace_diff(
    ctx: Context, params: DiffWorkspace, store: WatchedStore, checkpoints: Checkpoints
) -> WorkspaceDiff:
    """Show what changed in the workspace of a task: since the last checkpoint, in one checkpoint, or in all."""
    task = await store.read(ctx.caller, lambda tx: tx.tasks.get(params.task_id))
    try:
        found = await checkpoints.diff(task.id, params.checkpoint, whole=params.whole, most=_DIFF)
    except NoCheckpoint as error:
        raise Conflict(str(error), hint="A person looks at it: wvo-mcp workspaces.") from None
    if found is None and params.checkpoint is not None:
        hint = "workspace_checkpoints lists them."
        raise NotFound("checkpoint", str(params.checkpoint), (), field="checkpoint", hint=hint)
    if found is None:
        raise NotFound("workspace of", task.id, (), field="task_id", hint="It has no worktree on this host.")
    files = [name.encode(errors="replace").decode() for name in found.files]
    return WorkspaceDiff(task_id=task.id, files=files, files_changed=len(files), diff=found.text, cut=found.cut)
