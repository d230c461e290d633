"""The toolset `plan`: the roadmap file."""

from pydantic import Field

from wvo_mcp.operations.operation import PEOPLE_ONLY, Context, Effect, Input, Output, operation
from wvo_mcp.orchestration.plan import export, roadmap
from wvo_mcp.ports import Recorded

_SHOWN = 100


class RoadmapSync(Input):
    allow_cancel: bool = Field(
        default=False, description="Also cancel tasks that the roadmap guard holds back.", json_schema_extra=PEOPLE_ONLY
    )


class Synced(Output):
    tasks: int = Field(description="Tasks in the file.")
    created: list[str]
    updated: list[str]
    cancelled: list[str]
    restored: list[str]
    created_count: int
    sync_ratio: float
    unchanged: bool
    waiting: list[str] = Field(description="Tasks whose cancellation waits for a person, at most 100.")
    waiting_count: int
    guard: str | None = Field(description="Why it waits.")
    warnings: list[str]


@operation(toolset="plan", effect=Effect.WRITE, outside=True, idempotent=True)
async def roadmap_sync(ctx: Context, ask: RoadmapSync) -> Synced:
    """Merge state/roadmap.yaml into the task store now; progress is kept. Servers also do this at start and when the file
    changes."""
    report = await roadmap.sync_file(
        ctx.services.store, ctx.services.roadmap, ctx.caller, allow_cancel=ask.allow_cancel
    )
    return Synced(
        tasks=report.tasks,
        created=report.created[:_SHOWN],
        updated=report.updated[:_SHOWN],
        cancelled=report.cancelled[:_SHOWN],
        restored=report.restored[:_SHOWN],
        created_count=len(report.created),
        sync_ratio=report.sync_ratio,
        unchanged=report.unchanged,
        waiting=report.waiting[:_SHOWN],
        waiting_count=len(report.waiting),
        guard=report.guard,
        warnings=report.warnings[:_SHOWN],
    )


class RoadmapExport(Input):
    dry_run: bool = Field(default=False, description="Show what would be written; write nothing.")


class Exported(Output):
    changed: list[str]
    added: list[str]
    left_out: list[str] = Field(description="Open tasks without an epic: the file has no place for them.")
    written: bool
    commit: str | None = Field(description="The commit that keeps it, where the workspace is a git repository.")
    note: str | None = Field(description="Why it was not committed.")


@operation(toolset="plan", effect=Effect.WRITE, outside=True, idempotent=True)
async def roadmap_export(ctx: Context, ask: RoadmapExport) -> Exported:
    """Write changes from the store back to state/roadmap.yaml. Comments and order are kept."""
    store, files, caller = ctx.services.store, ctx.services.roadmap, ctx.caller
    if ask.dry_run:
        parsed = await roadmap.read_file(store, files, caller)
        found, kept = await store.write(caller, lambda tx: export.after_sync(tx, parsed), keep=False), Recorded()
    else:
        await roadmap.sync_file(store, files, caller)
        parsed = await roadmap.read_file(store, files, caller)
        found = await store.read(caller, lambda tx: export.pending_changes(tx, parsed))
        kept = await _written(ctx, found, parsed.digest)
    return Exported(
        changed=found.changed[:_SHOWN],
        added=found.added[:_SHOWN],
        left_out=found.left_out[:_SHOWN],
        written=found.anything and not ask.dry_run,
        commit=kept.commit,
        note=kept.note,
    )


async def _written(ctx: Context, found: export.Export, digest: str) -> Recorded:
    """The file, its history, and the store. A crash after the first leaves a file that any later sync takes up."""
    services, kept = ctx.services, Recorded()
    if not found.anything:
        return kept
    await services.roadmap.write(found.changes, digest)
    if services.history is not None:
        kept = await services.history.record(found.changes, export.message(found))
    await roadmap.sync_file(services.store, services.roadmap, ctx.caller)
    return kept
