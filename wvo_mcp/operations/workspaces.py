"""The toolset `workspaces`: a place of its own for an agent that a person started."""

import zlib
from collections.abc import Mapping
from typing import NoReturn

from pydantic import Field

from wvo_mcp.domain.lease import Lease
from wvo_mcp.errors import Conflict, Forbidden, NotConfigured, StaleLease, StoreUnavailable
from wvo_mcp.operations.inputs import Held, OrNull, Output
from wvo_mcp.operations.operation import Context, Effect, operation
from wvo_mcp.orchestration.tasks import lifecycle, review
from wvo_mcp.ports import Transaction, WatchedStore
from wvo_mcp.ports.places import PlaceAsk, PlaceFailed, Places, Problem
from wvo_mcp.ports.workers import Violation

_SLOTS = range(8, 16)
"""Of ports: the first ones are those of workers."""


class WorkspaceOpened(Output):
    workspace_id: str
    path: str = Field(description="Work here, and nowhere else.")
    branch: str | None
    base: str | None = Field(description="Commit that it began with.")
    reused: bool = Field(default=False, description="It was there already, with what was left in it.")
    setup: OrNull = Field(default=None, description="Command to run in it first.")
    env: Mapping[str, str] = Field(default={}, description="Set these for programs that you run in it.")
    conflicts: list[str] = Field(default=[], description="Files with conflict markers to resolve.")
    unprotected: bool = False
    note: OrNull = None
    lease: Lease


@operation(toolset="workspaces", effect=Effect.WRITE, manages_own_transactions=True, idempotent=True)
async def workspace_open(ctx: Context, params: Held, store: WatchedStore, places: Places) -> WorkspaceOpened:
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
    return WorkspaceOpened.of(place, path=str(place.path), env=env, conflicts=list(place.conflicts), lease=lease)


def _refuse(task_id: str, error: PlaceFailed, *, full: bool) -> NoReturn:
    text = str(error).rstrip(".") + "."
    match Problem.FULL if full and error.problem is Problem.OTHER else error.problem:
        case Problem.NO_GIT:
            raise NotConfigured(text, hint="Work in the project's folder itself, or ask a person for a git repository.")
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
