"""The toolset `plan`: the roadmap file."""

from collections.abc import Generator
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from wvo_mcp.domain.text import Id
from wvo_mcp.errors import InvalidInput
from wvo_mcp.operations.inputs import PEOPLE_ONLY, DryRun, Input, LongRunning, Output, first
from wvo_mcp.operations.operation import Audience, Context, Effect, operation
from wvo_mcp.orchestration.plan import export, roadmap
from wvo_mcp.ports import Recorded, RoadmapFiles, RoadmapHistory, WatchedStore
from wvo_mcp.ports.world import Exchange

if TYPE_CHECKING:
    from wvo_mcp.domain.imports.draft import Reading


_SHOWN = 100


class RoadmapSync(Input):
    allow_cancel: bool = Field(
        default=False, description="Also cancel tasks that the roadmap guard holds back.", json_schema_extra=PEOPLE_ONLY
    )


Ids = Annotated[list[str], first(_SHOWN)]


class Synced(Output):
    tasks: int = Field(description="Tasks in the file.")
    created: Ids
    updated: Ids
    cancelled: Ids
    restored: Ids
    created_count: int
    sync_ratio: float
    unchanged: bool
    waiting: Ids = Field(description="Tasks whose cancellation waits for a person, at most 100.")
    waiting_count: int
    guard: str | None = Field(description="Why it waits.")
    warnings: Ids


@operation(toolset="plan", effect=Effect.WRITE, manages_own_transactions=True, idempotent=True)
async def roadmap_sync(ctx: Context, params: RoadmapSync, store: WatchedStore, files: RoadmapFiles) -> Synced:
    """Merge state/roadmap.yaml into the task store now; progress is kept. Servers also do this at start and when the file
    changes."""
    report = await roadmap.sync_file(store, files, ctx.caller, allow_cancel=params.allow_cancel)
    return Synced.of(report, created_count=len(report.created), waiting_count=len(report.waiting))


class Exported(Output):
    changed: Ids
    added: Ids
    left_out: Ids = Field(description="Open tasks without an epic: the file has no place for them.")
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
    return Exported.of(found, kept, written=found.anything and not params.dry_run)


# Late imports below: no other call needs the readers, and every command would wait for them at its start.

Path = Annotated[str, Field(min_length=1, max_length=1_000)]


class ImportTasks(DryRun, LongRunning):
    text: str | None = Field(default=None, max_length=20_000_000, description="Content to import, instead of `path`.")
    path: Path | None = Field(default=None, description="File in the project.")
    format: Literal["auto", "markdown", "jsonl", "taskmaster", "beads"] = Field(
        default="auto", description="Format of the content."
    )
    epic_id: Id | None = Field(default=None, description="Epic for all imported tasks.")


class ImportedTask(Output):
    id: str
    title: Annotated[str, first(120)]
    line: int
    parent_id: str | None
    depends_on: Annotated[list[str], first(20)]


class ImportReport(Output):
    format: str
    created: list[ImportedTask] = Field(description="At most 100.")
    created_count: int
    existing_count: int = Field(description="Tasks that are there already, and were left as they are.")
    existing: Ids
    done_count: int = Field(
        validation_alias="done", description="Done or closed in the file: left out, and nothing waits for them."
    )
    dropped_count: int = Field(
        validation_alias="dropped", description="Cancelled or deleted in the file: left out as well."
    )
    blocked_count: int = Field(description="Of the created ones, blocked as they are in the file.")
    written: bool
    warnings: list[str]


@operation(toolset="plan", effect=Effect.WRITE, idempotent=True)
async def import_tasks(ctx: Context, params: ImportTasks, store: WatchedStore, files: Exchange) -> ImportReport:
    """Import tasks from a markdown checklist, JSONL, Task Master's tasks.json or Beads' issues.jsonl. Existing tasks are not
    changed, so importing again is safe."""
    from wvo_mcp.domain.imports.reader import read
    from wvo_mcp.orchestration.plan import importing

    if (params.text is None) == (params.path is None):
        raise InvalidInput("text", "give either text or path")
    ctx.progress.report(0.0, "reading")

    raw = params.text if params.path is None else await files.read(params.path)

    def reading() -> "Generator[None, None, Reading]":
        yield
        return read(raw or "", params.format)

    found = await ctx.progress.in_thread_slices(reading())
    intake = await store.read(ctx.caller, lambda tx: importing.planned(tx, found, params.epic_id))
    new = intake.new
    if not params.dry_run and (new or found.epics or found.milestones):
        made = set(await importing.take_in(store, ctx.caller, intake, ctx.progress))
        new = [item for item in new if item.fields.id in made]
    return ImportReport.of(
        found,
        intake,
        created=[ImportedTask.of(item.fields, line=item.line) for item in new[:_SHOWN]],
        created_count=len(new),
        existing_count=len(intake.existing),
        blocked_count=sum(item.state == "blocked" for item in new),
        written=not params.dry_run and bool(new),
    )


class ExportTasks(Input):
    path: Path = Field(description=".jsonl file in the project; overwritten if it exists.")


class ExportedTasks(Output):
    path: str
    tasks: int
    epics: int
    milestones: int
    bytes: int


@operation(
    toolset="plan", effect=Effect.DESTRUCTIVE, audience=Audience.PEOPLE, manages_own_transactions=True, idempotent=True
)
async def export_tasks(ctx: Context, params: ExportTasks, store: WatchedStore, files: Exchange) -> ExportedTasks:
    """Export the open plan to a JSONL file that import_tasks reads: epics, milestones, tasks and dependencies."""
    from wvo_mcp.orchestration.plan import importing

    counted: dict[str, int] = {}
    size = await files.write(params.path, importing.lines(store, ctx.caller, counted))
    return ExportedTasks.of({**counted, "path": params.path, "bytes": size})
