"""The toolset `workspaces`: a place of its own for an agent that a person started, and what people see of all places."""

import json
import zlib
from collections.abc import Mapping
from typing import Annotated, Any, NoReturn

from pydantic import Field

from wvo_mcp.domain.instant import Instant
from wvo_mcp.domain.lease import Lease
from wvo_mcp.domain.merging import OPEN, EntryKind
from wvo_mcp.domain.task import Status
from wvo_mcp.errors import Conflict, Forbidden, NotConfigured, NotFound, StaleLease, StoreUnavailable
from wvo_mcp.operations.inputs import Held, Input, OrNull, Output, first
from wvo_mcp.operations.operation import Audience, Context, Effect, Workers, operation
from wvo_mcp.operations.results import fitting
from wvo_mcp.orchestration.tasks import lifecycle, review
from wvo_mcp.orchestration.workspaces import timing
from wvo_mcp.ports import Transaction, WatchedStore
from wvo_mcp.ports.places import PlaceAsk, PlaceFailed, PlaceMode, Places, Problem, Sight
from wvo_mcp.ports.workers import Violation

_NO_GIT = "Call it with another mode, or work in the project's folder itself; a person can make a git repository."
_SLOTS = range(8, 16)
"""Of ports: the first ones are those of workers."""


class WorkspaceOpened(Output):
    workspace_id: str
    path: str = Field(description="Work here, and nowhere else.")
    branch: str | None
    base: str | None = Field(description="Commit that it began with.")
    mode: str = Field(description="worktree or shadow.")
    reused: bool = Field(default=False, description="It was there already, with what was left in it.")
    setup: OrNull = Field(default=None, description="Command to run in it first.")
    env: Mapping[str, str] = Field(default={}, description="Set these for programs that you run in it.")
    conflicts: list[str] = Field(default=[], description="Files with conflict markers to resolve.")
    unprotected: bool = False
    note: OrNull = None
    lease: Lease


class OpenWorkspace(Held):
    mode: PlaceMode = Field(
        default=PlaceMode.AUTO,
        description="worktree: begins with the last commit, lands verified; shadow: a copy of the project's folder with"
        " uncommitted files, put back into it by complete_task; auto: a worktree, where there is git.",
    )


@operation(toolset="workspaces", effect=Effect.WRITE, manages_own_transactions=True, idempotent=True)
async def workspace_open(ctx: Context, params: OpenWorkspace, store: WatchedStore, places: Places) -> WorkspaceOpened:
    """Open a git worktree of your own for the task that you hold, and work only in it. complete_task then submits what is
    in it, without a commit or merge by you; it lands once it is verified. Called again, it gives the same workspace."""
    admitted = ctx.caller.admitted

    async def begun(tx: Transaction) -> PlaceAsk:
        await tx.sessions.ensure()
        task = await lifecycle.held(tx, ctx.policy, params.task_id, params.lease_token)
        begins = await review.begins_with(tx, task.id)
        return PlaceAsk(
            task_id=task.id,
            lease_token=task.lease_token,
            slot=_SLOTS[zlib.crc32(task.id.encode()) % len(_SLOTS)],
            bases=begins.bases,
            landed=begins.landed,
            onto=begins.onto,
            attached=admitted is None,
            mode=params.mode,
        )

    ask = await store.write(ctx.caller, begun)
    if (full := places.full()) is not None:
        raise StoreUnavailable(f"No workspace for {ask.task_id}: {full}.", hint="Free some space, then call it again.")
    before = await store.read(ctx.caller, lambda tx: tx.workspaces.open_of(ask.task_id))
    try:
        place = await places.open(ask)
    except PlaceFailed as error:
        _refuse(ask.task_id, error, full=places.full() is not None)

    async def held(tx: Transaction) -> Lease:
        task = await lifecycle.held(tx, ctx.policy, params.task_id, ask.lease_token)
        lease = await lifecycle.extend(tx, task)
        if before is None or (before["workspace_id"], before["lease_token"]) != (place.workspace_id, ask.lease_token):
            said = {"workspace": place.workspace_id, "path": str(place.path), "branch": place.branch}
            await tx.tasks.change(task, "task.workspace", {"lease_expires_at": lease.expires_at}, said)
        return lease

    lease = await store.write(ctx.caller, held)
    env = dict(place.env) if admitted is None else {}  # a worker has them already
    notes = [] if place.note is None else [place.note]
    if params.mode not in (PlaceMode.AUTO, place.mode):
        notes.append(f"The task has this {place.mode} already, so no {params.mode} was made.")
    shown = {"path": str(place.path), "env": env, "conflicts": list(place.conflicts), "note": " ".join(notes)}
    return WorkspaceOpened.of(place, **shown, lease=lease)


def _refuse(task_id: str, error: PlaceFailed, *, full: bool) -> NoReturn:
    text = str(error).rstrip(".") + "."
    match Problem.FULL if full and error.problem is Problem.OTHER else error.problem:
        case Problem.NO_GIT:
            raise NotConfigured(text, hint=_NO_GIT)
        case Problem.FULL:
            raise StoreUnavailable(text, hint="Free some space, then call it again.")
        case Problem.OVERTAKEN:
            raise StaleLease(task_id, None)
        case Problem.TAMPERED:
            refused = Forbidden(text, hint="Stop here. A person compares them (wvo-mcp trust).", difference=text)
            violation = Violation("repository", "block", "repository_changed", text, task_id)

            async def recorded(tx: Transaction) -> None:
                await tx.violations.add(violation)

            refused.follow_up = recorded
            raise refused
        case Problem.BUSY:
            raise Conflict(text, hint="Call it again in a moment.")
        case Problem.FOREIGN:
            raise Conflict(text, hint="Ask a person: ROOT and the store must be those of one project.")
        case Problem.OTHER:
            raise Conflict(text, hint="Mend what it says, then call it again.", tail=error.tail)


class WorkspaceClosed(Output):
    task_id: str
    workspace_id: str
    path: str
    closed: bool = Field(description="Its worktree and branch are gone.")


@operation(
    toolset="workspaces", effect=Effect.WRITE, manages_own_transactions=True, workers=Workers.NO, idempotent=True
)
async def workspace_close(ctx: Context, params: Held, store: WatchedStore, places: Places) -> WorkspaceClosed:
    """Remove the workspace of a task that you hold. Refused, with the reason, while anything in it is not submitted, or
    waits to land. A person may remove any that nobody works in."""

    async def allowed(tx: Transaction) -> dict[str, Any]:
        await tx.sessions.ensure()
        task = await tx.tasks.get(params.task_id)
        if task.status is Status.IN_PROGRESS or not tx.caller.person:
            await lifecycle.held(tx, ctx.policy, task.id, params.lease_token)
        waiting = [one for one in await tx.submissions.of_task(task.id) if one["state"] in OPEN]
        if waiting := [one for one in waiting if one["kind"] == EntryKind.SUBMISSION]:
            hint = "It is removed once that has landed."
            raise Conflict(f"The work of {task.id} waits to land ({waiting[0]['entry_id']}).", hint=hint)
        row = await tx.workspaces.open_of(task.id)
        if row is None:
            raise NotFound("workspace of", task.id, (), field="task_id", hint="wvo-mcp workspaces lists them.")
        return row

    row = await store.write(ctx.caller, allowed)
    why = await places.close(params.task_id)
    after = await store.read(ctx.caller, lambda tx: tx.workspaces.get(row["workspace_id"]))
    if why is None and (after or row)["state"] != "removed":
        why = f"it is on the host {row['host']}"
    if why is not None:
        hint = "Complete the task to submit it, or take what you need out of the folder and empty it."
        raise Conflict(f"The workspace {row['path']} of {params.task_id} stays: {why}.", hint=hint)
    return WorkspaceClosed(task_id=params.task_id, workspace_id=row["workspace_id"], path=row["path"], closed=True)


class WorkspaceLine(Output):
    workspace_id: str
    task_id: str
    title: Annotated[str, first(200)]
    task_status: Status | None
    assigned_to: OrNull = None
    host: str
    path: str
    mode: str
    state: str
    branch: OrNull = None
    base: OrNull = None
    target: OrNull = None
    bytes: int | None = None
    unsubmitted: bool | None = Field(default=None, description="It holds work that is not submitted.")
    problem: OrNull = Field(default=None, description="What is wrong with it.")
    note: OrNull = None
    created_at: Instant
    since: Instant


class LatencyLine(Output):
    kind: str = Field(description="checkpoint, validation, or noticing of a changed file.")
    p50_ms: float
    p95_ms: float
    p99_ms: float
    count: int = Field(description="Newest values that they are of.")


class RateLine(Output):
    kind: str = Field(description="validation_cached: files whose verdict was known; checkpoint_failed.")
    rate: float
    count: int = Field(description="Newest checkpoints that it is of.")


class WorkspacesListed(Output):
    at: Instant
    bytes: int
    workspaces: list[WorkspaceLine]
    latencies: list[LatencyLine] = Field(default=[], description="How long checkpoints and the like took a runner.")
    rates: list[RateLine] = Field(default=[], description="How often they fail, and are spared.")


class ListWorkspaces(Input):
    limit: int = Field(default=50, ge=1, le=500, description="Workspaces at most.")


@operation(toolset="workspaces", effect=Effect.READ, audience=Audience.PEOPLE, manages_own_transactions=True)
async def workspaces(ctx: Context, params: ListWorkspaces, store: WatchedStore, places: Places) -> WorkspacesListed:
    """Show every workspace: its task, branch, size and age, whether it holds work that is not submitted, and what is wrong
    with it. workspace-close removes one that holds nothing else."""
    sights = await places.look()

    async def listed(tx: Transaction) -> WorkspacesListed:
        lines = [await _shown(tx, row, sights) for row in await tx.workspaces.everywhere(params.limit)]
        took, shares = await timing.kept(tx)
        latencies = [
            LatencyLine(kind=kind, p50_ms=one.p50, p95_ms=one.p95, p99_ms=one.p99, count=one.count)
            for kind, one in took.items()
        ]
        rates = [RateLine(kind=kind, rate=one.rate, count=one.count) for kind, one in shares.items()]
        total = sum(one.bytes or 0 for one in lines)
        return WorkspacesListed(at=tx.now, bytes=total, workspaces=fitting(lines), latencies=latencies, rates=rates)

    return await store.read(ctx.caller, listed)


async def _shown(tx: Transaction, row: Mapping[str, Any], sights: Mapping[str, Sight]) -> WorkspaceLine:
    task = await tx.tasks.find(row["task_id"])
    sight = sights.get(row["workspace_id"], Sight(problem=f"it is on the host {row['host']}"))
    problem, note = sight.problem, json.loads(row["facts"]).get("note")
    if row["state"] in ("making", "removing"):
        problem = problem or f"it is being {'made' if row['state'] == 'making' else 'removed'}, or that was cut off"
    return WorkspaceLine.of(
        {
            **row,
            "title": "" if task is None else task.title,
            "task_status": None if task is None else task.status,
            "assigned_to": None if task is None else task.assigned_to,
            "base": row["base_sha"],
            "bytes": sight.bytes,
            "unsubmitted": sight.unsubmitted,
            "problem": problem,
            "note": note,
            "since": row["updated_at"],
        }
    )
