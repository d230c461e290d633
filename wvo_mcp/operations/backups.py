"""The toolset `ops`: copies of the store and of the running context."""

from pydantic import Field

from wvo_mcp.domain.backup import Kind
from wvo_mcp.domain.instant import Instant
from wvo_mcp.operations.inputs import Output
from wvo_mcp.operations.operation import Context, Effect, operation
from wvo_mcp.orchestration import backups, running_context
from wvo_mcp.ports import WatchedStore
from wvo_mcp.ports.backend import Backups, Snapshots


class BackupCreated(Output):
    name: str
    bytes: int
    verified: bool
    seconds: float


@operation(toolset="ops", effect=Effect.WRITE, manages_own_transactions=True, idempotent=True)
async def backup_create(ctx: Context, store: WatchedStore, copies: Backups) -> BackupCreated:
    """Back up the store now and verify the backup. The server also does this every hour; a second backup in the same hour
    replaces the first."""
    made = await backups.take(store, copies, ctx.caller)
    # `create` gives nothing that did not pass.
    return BackupCreated(name=made.backup.name, bytes=made.backup.bytes, verified=True, seconds=round(made.seconds, 3))


class ListedBackup(Output):
    name: str
    at: Instant
    bytes: int
    kind: Kind = Field(description="The rule that keeps it; safety: the store before a restore.")


class BackupsListed(Output):
    backups: list[ListedBackup]


@operation(toolset="ops", effect=Effect.READ, manages_own_transactions=True)
async def backup_list(ctx: Context, copies: Backups) -> BackupsListed:
    """List backups of the store, newest first. To restore one, a person runs wvo-mcp backup restore."""
    return BackupsListed(backups=[ListedBackup.of(found) for found in await copies.all()])


class ContextSnapshotted(Output):
    name: str
    bytes: int
    text: str


@operation(toolset="ops", effect=Effect.WRITE, manages_own_transactions=True, idempotent=True)
async def context_snapshot(ctx: Context, store: WatchedStore, snapshots: Snapshots) -> ContextSnapshotted:
    """Write a summary of current work as markdown: tasks in progress with their last checkpoints, ready tasks, alerts and
    recent notes. Ten versions are kept."""
    made = await running_context.snapshot(store, snapshots, ctx.caller)
    return ContextSnapshotted(name=made.name, bytes=len(made.text.encode()), text=made.text)
