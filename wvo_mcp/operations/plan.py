"""The toolset `plan`: the roadmap file."""

from pydantic import Field

from wvo_mcp.operations.operation import Context, Effect, Input, Output, operation
from wvo_mcp.orchestration.plan import export, roadmap
from wvo_mcp.ports import Recorded

_SHOWN = 100


class RoadmapSync(Input):
    pass


class Synced(Output):
    tasks: int = Field(description="Tasks in the file.")
    created: list[str]
    updated: list[str]
    cancelled: list[str]
    restored: list[str]
    created_count: int
    sync_ratio: float
    unchanged: bool
    warnings: list[str]


@operation(toolset="plan", effect=Effect.WRITE, outside=True, idempotent=True)
async def roadmap_sync(ctx: Context, ask: RoadmapSync) -> Synced:
    """Merge state/roadmap.yaml into the task store now, keeping all progress. It also happens by itself at start and
    when the file changes."""
    report = await roadmap.sync_file(ctx.services.store, ctx.services.roadmap, ctx.caller)
    return Synced(
        tasks=report.tasks,
        created=report.created[:_SHOWN],
        updated=report.updated[:_SHOWN],
        cancelled=report.cancelled[:_SHOWN],
        restored=report.restored[:_SHOWN],
        created_count=len(report.created),
        sync_ratio=report.sync_ratio,
        unchanged=report.unchanged,
        warnings=report.warnings[:_SHOWN],
    )


class RoadmapExport(Input):
    dry_run: bool = Field(default=False, description="Only tell what would be written.")


class Exported(Output):
    changed: list[str]
    added: list[str]
    left_out: list[str] = Field(description="Open tasks without an epic: the file has no place for them.")
    written: bool
    commit: str | None = Field(description="The commit that keeps it, where the workspace is a git repository.")
    note: str | None = Field(description="Why it was not committed.")


@operation(toolset="plan", effect=Effect.WRITE, outside=True, idempotent=True)
async def roadmap_export(ctx: Context, ask: RoadmapExport) -> Exported:
    """Write what agents and people changed in the store back into state/roadmap.yaml; comments and order are kept."""
    services = ctx.services
    await roadmap.sync_file(services.store, services.roadmap, ctx.caller)
    parsed = await roadmap.read_file(services.store, services.roadmap, ctx.caller)
    found = await services.store.read(ctx.caller, lambda tx: export.pending_changes(tx, parsed))
    kept = Recorded()
    anything = bool(found.changed or found.added)
    if anything and not ask.dry_run:
        await services.roadmap.write(found.changes, parsed.digest)
        if services.history is not None:
            kept = await services.history.record(found.changes, export.message(found))
        await services.store.write(ctx.caller, lambda tx: export.adopt(tx, found.added))
        await roadmap.sync_file(services.store, services.roadmap, ctx.caller)
    return Exported(
        changed=found.changed[:_SHOWN],
        added=found.added[:_SHOWN],
        left_out=found.left_out[:_SHOWN],
        written=anything and not ask.dry_run,
        commit=kept.commit,
        note=kept.note,
    )
