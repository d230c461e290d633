"""The toolset `workspaces`: what was kept of the files of a workspace, what differs, and the way back."""

import json
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Annotated, Any

from pydantic import Field

from wvo_mcp.domain.checkpoints import Trigger
from wvo_mcp.domain.instant import Instant
from wvo_mcp.domain.rollbacks import BASE, Extent, RollbackAsk
from wvo_mcp.domain.task import Status
from wvo_mcp.domain.text import Id, Reference
from wvo_mcp.domain.validation import Severity, shown
from wvo_mcp.errors import Conflict, Forbidden, InvalidInput, NotFound, StaleLease
from wvo_mcp.operations.inputs import DryRun, Held, Input, OrNull, Output, first
from wvo_mcp.operations.operation import Context, Effect, operation
from wvo_mcp.operations.results import fitting
from wvo_mcp.orchestration.checking import triggers
from wvo_mcp.orchestration.tasks import lifecycle, reviewing
from wvo_mcp.orchestration.workspaces import promoting, reverting
from wvo_mcp.ports import Transaction, WatchedStore
from wvo_mcp.ports.checkpoints import Checkpoints, Content, NoCheckpoint, NoRollback, Promotions, Rollbacks
from wvo_mcp.ports.rules import ProjectRules

_DIFF = 12_000
_FINDINGS = 50


class FindingLine(Output):
    severity: str
    rule: str
    path: str
    message: str


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
    findings: list[FindingLine] = Field(default=[], description="What violates the policy; of one checkpoint.")


class CheckpointsListed(Output):
    task_id: str
    checkpoints: list[CheckpointLine]
    next_before: int | None = Field(default=None, description="There are older ones: give it as before.")


class ListCheckpoints(Input):
    task_id: Id = Field(description="Task id.")
    limit: int = Field(default=20, ge=1, le=200, description="Checkpoints at most, the newest first.")
    before: int | None = Field(default=None, ge=1, le=2**31, description="Only those below this number.")
    checkpoint: int | None = Field(default=None, ge=1, le=2**31, description="Only this one, with its findings.")


@operation(toolset="workspaces", effect=Effect.READ)
async def workspace_checkpoints(ctx: Context, params: ListCheckpoints) -> CheckpointsListed:
    """List the checkpoints of the files of a task's workspace, newest first. One is made with each checkpoint of the task, at
    intervals while a worker works, and when it is completed."""
    task = await ctx.tx.tasks.get(params.task_id)
    if params.checkpoint is not None:
        rows = await ctx.tx.snapshots.of_task(task.id, 1, params.checkpoint + 1)
        if not rows or rows[0]["number"] != params.checkpoint:
            raise _unknown(params.checkpoint)
        found: list[dict[str, Any]] = json.loads(rows[0]["findings"]) or []
        return CheckpointsListed(task_id=task.id, checkpoints=[_line(rows[0], found[:_FINDINGS])])
    rows = await ctx.tx.snapshots.of_task(task.id, params.limit + 1, params.before)
    lines = fitting([_line(row) for row in rows[: params.limit]])
    older = lines[-1].number if len(lines) < len(rows) else None
    return CheckpointsListed(task_id=task.id, checkpoints=lines, next_before=older)


async def _kept(tx: Transaction, task_id: str, number: int) -> bool:
    rows = await tx.snapshots.of_task(task_id, 1, number + 1)
    return bool(rows) and rows[0]["number"] == number


def _line(row: Mapping[str, Any], findings: Sequence[Mapping[str, Any]] = ()) -> CheckpointLine:
    return CheckpointLine.of({**row, "commit": row["commit_sha"], "findings": findings})


def _unknown(number: int, field: str = "checkpoint") -> NotFound:
    return NotFound("checkpoint", str(number), (), field=field, hint="workspace_checkpoints lists them.")


class DiffWorkspace(Input):
    task_id: Id = Field(description="Task id.")
    checkpoint: int | None = Field(
        default=None, ge=1, le=2**31, description="Its number; omit for the files as they are now."
    )
    whole: bool = Field(default=False, description="Against what the workspace began with, not the checkpoint before.")
    since: int | None = Field(
        default=None, ge=BASE, le=2**31, description="Against this checkpoint; 0: what the workspace began with."
    )


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
    if params.whole and params.since is not None:
        raise InvalidInput("since", "give either whole or since")
    task = await store.read(ctx.caller, lambda tx: tx.tasks.get(params.task_id))
    number, since = params.checkpoint, params.since
    try:
        found = await checkpoints.diff(task.id, number, whole=params.whole, most=_DIFF, since=since)
    except NoCheckpoint as error:
        raise Conflict(str(error), hint="A person looks at it: wvo-mcp workspaces.") from None
    if found is None:
        for name, one in (("checkpoint", number), ("since", since)):
            if one and not await store.read(ctx.caller, partial(_kept, task_id=task.id, number=one)):
                raise _unknown(one, name)
    if found is None:
        raise NotFound("workspace of", task.id, (), field="task_id", hint="It has no worktree on this host.")
    files = [name.encode(errors="replace").decode() for name in found.files]
    return WorkspaceDiff(task_id=task.id, files=files, files_changed=len(files), diff=found.text, cut=found.cut)


class Validated(Output):
    task_id: str
    checkpoint: int = Field(description="What was judged, as a checkpoint.")
    violations: int
    findings: list[FindingLine] = Field(description="The worst of them.")
    files: int = Field(description="Files that differ from what the workspace began with.")
    bytes: int
    sampled: OrNull = Field(default=None, description="What was not looked at.")
    left_out: Annotated[list[str], first(50)] = Field(
        default=[], description="No checkpoint holds these, and no submission may: too large, or they hold a secret."
    )
    lands: str = Field(description="yes, once verified; with a person (it waits for approval); no (never as it is).")
    took_ms: int


@operation(toolset="workspaces", effect=Effect.WRITE, manages_own_transactions=True, idempotent=True)
async def workspace_validate(ctx: Context, params: Held, store: WatchedStore, checkpoints: Checkpoints) -> Validated:
    """Check what you changed against the policy of the project before you complete the task: forbidden and protected files,
    files that others claim, executables, links, sizes. It makes a checkpoint of the files as they are now."""

    async def allowed(tx: Transaction) -> None:
        await tx.sessions.ensure()
        task = await tx.tasks.get(params.task_id)
        if not tx.caller.person:
            await lifecycle.held(tx, ctx.policy, task.id, params.lease_token)

    await store.write(ctx.caller, allowed)
    try:
        taken = await checkpoints.take(params.task_id, Trigger.CALL, anew=True)
    except NoCheckpoint as error:
        raise Conflict(str(error), hint="A person looks at it: wvo-mcp workspaces.") from None
    if taken is None or taken.validation is None:
        raise NotFound("workspace of", params.task_id, (), field="task_id", hint="It has no worktree on this host.")
    found = taken.validation
    worst = max((one.severity for one in found.findings), default=Severity.INFO)
    return Validated(
        task_id=params.task_id,
        checkpoint=taken.number,
        violations=found.violations,
        findings=fitting([FindingLine.model_validate(one.as_json()) for one in found.findings]),
        files=found.total,
        bytes=found.bytes,
        sampled=found.sampled,
        left_out=[shown(name) for name in taken.left_out],
        lands="no" if taken.left_out else {Severity.CRITICAL: "no", Severity.ERROR: "with a person"}.get(worst, "yes"),
        took_ms=found.took_ms,
    )


class Promote(Held, DryRun):
    pass


class WorkspacePromoted(Output):
    task_id: str
    files: Annotated[list[str], first(200)] = Field(description="Paths that the project has as the workspace has them.")
    files_changed: int
    dry_run: bool = False
    diff: OrNull = Field(default=None, description="What would change in the project.")


@operation(toolset="workspaces", effect=Effect.DESTRUCTIVE, manages_own_transactions=True)
async def workspace_promote(
    ctx: Context, params: Promote, store: WatchedStore, promotions: Promotions, rules: ProjectRules
) -> WorkspacePromoted:
    """Put what you changed in a workspace that is a copy (mode shadow) into the project's folder: all or nothing, after it
    is validated. complete_task does so by itself; call it to show work before that. Refused where the project went on in the
    same files: your workspace then has both, for you to look at."""

    async def allowed(tx: Transaction) -> tuple[int | None, bool, Content | None]:
        await tx.sessions.ensure()
        task = await tx.tasks.get(params.task_id)
        if tx.caller.person:
            return None, False, None
        if task.status is not Status.IN_PROGRESS:
            raise StaleLease(task.id, task.assigned_to)
        task = await lifecycle.held(tx, ctx.policy, task.id, params.lease_token)
        reviews = await triggers.due(tx, task, rules.current().review) is not None
        passed = await reviewing.passed(tx, task.id) if reviews else None
        if reviews and passed is None and not params.dry_run:
            raise _unreviewed(task.id)
        return task.lease_token, reviews, passed

    token, reviews, passed = await store.write(ctx.caller, allowed, keep=not params.dry_run)
    diff = _DIFF if params.dry_run else 0
    found = await promoting.promote(
        promotions, params.task_id, token, dry_run=params.dry_run, diff=diff, reviews=reviews, passed=passed
    )
    if found is None:
        hint = "Work in a git worktree is submitted by complete_task, and lands by itself."
        raise NotFound("workspace without git of", params.task_id, (), field="task_id", hint=hint)
    if found.held is not None:
        raise _unreviewed(params.task_id)
    files = [shown(name) for name in found.files]
    if files and not params.dry_run:
        data = {"files": files[:100], "files_changed": len(files)}
        await store.write(ctx.caller, lambda tx: tx.events.append("workspace.promoted", params.task_id, data))
    return WorkspacePromoted(
        task_id=params.task_id,
        files=files,
        files_changed=len(files),
        dry_run=params.dry_run,
        diff=found.diff or None,
    )


def _unreviewed(task_id: str) -> Forbidden:
    return Forbidden(
        f"A review has to pass what is in the workspace of {task_id} before the project's folder gets it.",
        hint="complete_task asks for that review; a person may promote it at once (wvo-mcp workspace-promote).",
    )


class RollBack(Held, DryRun):
    to: int | None = Field(
        default=None,
        ge=BASE,
        le=2**31,
        description="Number of a checkpoint; 0: what the workspace began with; omit for the last valid one.",
    )
    mode: Extent = Field(
        default=Extent.FULL,
        description="full: all files; partial: those in files; smart: those that violate the policy.",
    )
    files: list[Reference] = Field(default_factory=list, max_length=500, description="Files and folders, for partial.")


class RolledBack(Output):
    task_id: str
    mode: Extent
    to: int = Field(description="Checkpoint that the files are as now; 0: what the workspace began with.")
    undo: int | None = Field(
        default=None, description="Checkpoint of what was there before: roll back to it to undo this."
    )
    reverted: Annotated[list[str], first(200)]
    reverted_count: int
    kept_count: int = Field(description="Files that differ from the checkpoint and stay.")
    aside: OrNull = Field(
        default=None, description="Folder with copies of files that hold a secret; no checkpoint does."
    )
    forced: bool = Field(default=False, description="Somebody worked there and did not acknowledge the pause.")
    dry_run: bool = False
    diff: OrNull = Field(default=None, description="What would change.")


@operation(toolset="workspaces", effect=Effect.DESTRUCTIVE, manages_own_transactions=True)
async def workspace_rollback(ctx: Context, params: RollBack, store: WatchedStore, rollbacks: Rollbacks) -> RolledBack:
    """Make files of a task's workspace what a checkpoint has: all, those you name, or only those that violate the policy.
    Ignored files stay. A checkpoint of what is there now is made first, so that it can be undone. Whoever works there is
    paused meanwhile."""

    if (params.mode is Extent.PARTIAL) != bool(params.files):
        raise InvalidInput("files", "name the files or folders with mode partial, and with no other mode")

    async def allowed(tx: Transaction) -> None:
        await tx.sessions.ensure()
        task = await tx.tasks.get(params.task_id)
        if not (tx.caller.person or params.dry_run):
            await lifecycle.held(tx, ctx.policy, task.id, params.lease_token)

    await store.write(ctx.caller, allowed, keep=not params.dry_run)
    ask = RollbackAsk(task_id=params.task_id, to=params.to, extent=params.mode, names=params.files)
    who = "a person" if ctx.caller.person else ctx.caller.agent_id
    try:
        if params.dry_run:
            rolled, forced = await reverting.tried(store, ctx.caller, rollbacks, ask, _DIFF), False
        else:
            found = await reverting.revert(store, ctx.caller, rollbacks, ask, f"{who} asked for it")
            rolled, forced = (None, False) if found is None else (found.rolled, found.forced)
    except NoRollback as error:
        hint = "Try it again in a moment." if error.again else "Correct what it says; nothing was changed."
        raise Conflict(str(error), hint=hint) from None
    if rolled is None and params.to:
        raise _unknown(params.to, "to")
    if rolled is None:
        raise NotFound("workspace of", params.task_id, (), field="task_id", hint="It has no worktree on this host.")
    names = [shown(name) for name in rolled.reverted]
    return RolledBack(
        task_id=params.task_id,
        mode=params.mode,
        to=rolled.to,
        undo=rolled.undo,
        reverted=names,
        reverted_count=len(names),
        kept_count=len(rolled.kept),
        aside=rolled.aside,
        forced=forced,
        dry_run=params.dry_run,
        diff=rolled.diff,
    )
