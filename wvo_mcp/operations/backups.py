"""The toolset `ops`: copies of the store and of the running context."""

from pydantic import Field

from wvo_mcp.domain.backup import Kind
from wvo_mcp.domain.instant import Instant
from wvo_mcp.operations.operation import Context, Effect, Input, Output, operation
from wvo_mcp.orchestration import backups, running_context


class BackupCreate(Input):
    pass


class BackupCreated(Output):
    name: str
    bytes: int
    verified: bool
    seconds: float


@operation(toolset="ops", effect=Effect.WRITE, outside=True, idempotent=True)
async def backup_create(ctx: Context, ask: BackupCreate) -> BackupCreated:
    """Back up the store now and verify the backup. The server also does this every hour; a second backup in the same hour
    replaces the first."""
    made = await backups.take(ctx.services.store, ctx.backups, ctx.caller)
    # `create` gives nothing that did not pass.
    return BackupCreated(name=made.backup.name, bytes=made.backup.bytes, verified=True, seconds=round(made.seconds, 3))


class BackupList(Input):
    pass


class ListedBackup(Output):
    name: str
    at: Instant
    bytes: int
    kind: Kind = Field(description="The rule that keeps it; safety: the store before a restore.")


class BackupsListed(Output):
    backups: list[ListedBackup]


@operation(toolset="ops", effect=Effect.READ, outside=True)
async def backup_list(ctx: Context, ask: BackupList) -> BackupsListed:
    """List backups of the store, newest first. To restore one, a person runs wvo-mcp backup restore."""
    return BackupsListed(
        backups=[
            ListedBackup(name=found.name, at=found.at, bytes=found.bytes, kind=found.kind)
            for found in await ctx.backups.all()
        ]
    )


class ContextSnapshot(Input):
    pass


class ContextSnapshotted(Output):
    name: str
    bytes: int
    text: str


@operation(toolset="ops", effect=Effect.WRITE, outside=True, idempotent=True)
async def context_snapshot(ctx: Context, ask: ContextSnapshot) -> ContextSnapshotted:
    """Write a summary of current work as markdown: tasks in progress with their last checkpoints, ready tasks, alerts and
    recent notes. Ten versions are kept."""
    made = await running_context.snapshot(ctx.services.store, ctx.snapshots, ctx.caller)
    return ContextSnapshotted(name=made.name, bytes=len(made.text.encode()), text=made.text)
