"""The toolset `plan`: tasks from and for other programs."""

from collections.abc import Generator
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from wvo_mcp.domain.text import Id
from wvo_mcp.errors import InvalidInput
from wvo_mcp.operations.inputs import DryRun, Input, LongRunning, Output
from wvo_mcp.operations.operation import Audience, Context, Effect, operation
from wvo_mcp.ports import WatchedStore
from wvo_mcp.ports.world import Exchange

if TYPE_CHECKING:
    from wvo_mcp.domain.imports.draft import Reading

# Late imports below: no other call needs the readers, and every command would wait for them at its start.

_SHOWN = 100
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
    title: str
    line: int
    parent_id: str | None
    depends_on: list[str]


class ImportReport(Output):
    format: str
    created: list[ImportedTask] = Field(description="At most 100.")
    created_count: int
    existing_count: int = Field(description="Tasks that are there already, and were left as they are.")
    existing: list[str]
    done_count: int = Field(description="Done or closed in the file: left out, and nothing waits for them.")
    dropped_count: int = Field(description="Cancelled or deleted in the file: left out as well.")
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
    ctx.progress.tell(0.0, "reading")

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
    return ImportReport(
        format=found.format,
        created=[
            ImportedTask(
                id=item.fields.id,
                title=item.fields.title[:120],
                line=item.line,
                parent_id=item.fields.parent_id,
                depends_on=item.fields.depends_on[:20],
            )
            for item in new[:_SHOWN]
        ],
        created_count=len(new),
        existing_count=len(intake.existing),
        existing=intake.existing[:_SHOWN],
        done_count=intake.done,
        dropped_count=intake.dropped,
        blocked_count=sum(item.state == "blocked" for item in new),
        written=not params.dry_run and bool(new),
        warnings=found.warnings,
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
    return ExportedTasks(
        path=params.path,
        tasks=counted["tasks"],
        epics=counted["epics"],
        milestones=counted["milestones"],
        bytes=size,
    )
