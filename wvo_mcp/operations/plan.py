"""The toolset `plan`: the roadmap file."""

from pydantic import Field

from wvo_mcp.operations.inputs import PEOPLE_ONLY, DryRun, Input, Output
from wvo_mcp.operations.operation import Context, Effect, operation
from wvo_mcp.orchestration.plan import export, roadmap
from wvo_mcp.ports import Recorded, RoadmapFiles, RoadmapHistory, WatchedStore

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


@operation(toolset="plan", effect=Effect.WRITE, manages_own_transactions=True, idempotent=True)
async def roadmap_sync(ctx: Context, params: RoadmapSync, store: WatchedStore, files: RoadmapFiles) -> Synced:
    """Merge state/roadmap.yaml into the task store now; progress is kept. Servers also do this at start and when the file
    changes."""
    report = await roadmap.sync_file(store, files, ctx.caller, allow_cancel=params.allow_cancel)
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


class Exported(Output):
    changed: list[str]
    added: list[str]
    left_out: list[str] = Field(description="Open tasks without an epic: the file has no place for them.")
    written: bool
    commit: str | None = Field(description="The commit that keeps it, where the workspace is a git repository.")
    note: str | None = Field(description="Why it was not committed.")


@operation(toolset="plan", effect=Effect.WRITE, manages_own_transactions=True, idempotent=True)
async def roadmap_export(
    ctx: Context, params: DryRun, store: WatchedStore, files: RoadmapFiles, history: RoadmapHistory
) -> Exported:
    """Write changes from the store back to state/roadmap.yaml. Comments and order are kept."""
    caller, kept = ctx.caller, Recorded()
    if params.dry_run:
        parsed = await roadmap.read_file(store, files, caller)
        found = await store.write(caller, lambda tx: export.after_sync(tx, parsed), keep=False)
    else:
        await roadmap.sync_file(store, files, caller)
        parsed = await roadmap.read_file(store, files, caller)
        found = await store.read(caller, lambda tx: export.pending_changes(tx, parsed))
        if found.anything:
            # A crash after the first leaves a file that any later sync takes up.
            await files.write(found.changes, parsed.digest)
            kept = await history.record(found.changes, export.message(found))
            await roadmap.sync_file(store, files, caller)
    return Exported(
        changed=found.changed[:_SHOWN],
        added=found.added[:_SHOWN],
        left_out=found.left_out[:_SHOWN],
        written=found.anything and not params.dry_run,
        commit=kept.commit,
        note=kept.note,
    )
