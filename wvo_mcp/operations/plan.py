"""The toolset `plan`: the roadmap file, imports and exports, and what lies ahead.

Imports within functions: what reads files and what looks ahead is large, and every command and every server would wait for
it at its start.
"""

from collections.abc import Generator
from typing import TYPE_CHECKING, Annotated, Literal

import anyio.to_thread
from pydantic import Field

from wvo_mcp.domain.forecast import CutAdvice, GroupForecast, LastForecast
from wvo_mcp.domain.instant import Instant, later
from wvo_mcp.domain.text import Id
from wvo_mcp.errors import InvalidInput
from wvo_mcp.operations.inputs import PEOPLE_ONLY, DryRun, Input, LongRunning, Output, first
from wvo_mcp.operations.operation import Audience, Context, Effect, operation
from wvo_mcp.orchestration.plan import export, roadmap
from wvo_mcp.orchestration.plan.graphs import PlanGraphs
from wvo_mcp.ports import Recorded, RoadmapFiles, RoadmapHistory, Transaction, WatchedStore
from wvo_mcp.ports.world import Exchange

if TYPE_CHECKING:
    from wvo_mcp.domain.imports.draft import Reading
    from wvo_mcp.domain.workload import Chain
    from wvo_mcp.orchestration.outlook import Forecast, Outlook

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

        async def after_sync(tx: Transaction) -> export.Export:
            await roadmap.sync(tx, parsed)
            return await export.pending_changes(tx, parsed)

        found = await store.write(caller, after_sync, keep=False)
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


_PATH_SHOWN = 50
_NEAR = 10
_NEAR_SHARE = 0.1


class CriticalPathAsk(Input):
    task_id: Id | None = Field(default=None, description="Only what this task needs.")
    milestone_id: Id | None = Field(default=None, description="Only what this milestone needs.")
    epic_id: Id | None = Field(default=None, description="Only what this epic needs.")


class PathStep(Output):
    id: str
    title: str
    complexity: int
    seconds: float = Field(description="Expected: the median of what was seen, less what has passed.")
    earliest_start: Instant
    latest_start: Instant
    slack_seconds: float


class CriticalPath(Output):
    path: list[PathStep] = Field(description="The longest chain, first task first; 50 at most.")
    length: int
    total_seconds: float
    finish_at: Instant = Field(description="At the earliest, with unlimited agents, around the clock.")
    near: list[PathStep] = Field(description="Off the path with a slack below a tenth of the total, tightest first.")
    tasks: int = Field(description="Open tasks looked at.")
    stuck: int = Field(description="Of these failed, or behind a cancelled task.")
    seen: dict[int, int] = Field(description="Done tasks learned from, by complexity; below 20, defaults are added.")


@operation(toolset="plan", effect=Effect.READ, manages_own_transactions=True)
async def critical_path(ctx: Context, params: CriticalPathAsk, store: WatchedStore) -> CriticalPath:
    """Show the critical path: the chain of open tasks with the longest expected duration, and the tasks with little slack."""
    from wvo_mcp.domain.workload import critical_path as longest
    from wvo_mcp.orchestration import outlook

    seen = await outlook.read(store, ctx.caller)

    def work_out() -> "tuple[Outlook, list[float], Chain, list[int], int]":
        ahead = outlook.analyzed(seen)
        expected = ahead.expected()
        chain = longest(ahead.work, expected, ahead.scope(params.task_id, params.milestone_id, params.epic_id))
        on_path = set(chain.path)
        tight = (p for p in chain.earliest if p not in on_path and chain.slack(p) < chain.total * _NEAR_SHARE)
        near = sorted(tight, key=lambda place: (chain.slack(place), place))[:_NEAR]
        return ahead, expected, chain, near, sum(ahead.work.tasks[place].stuck for place in chain.earliest)

    # It may take a second, and others are served.
    ahead, expected, chain, near, stuck = await anyio.to_thread.run_sync(work_out)
    shown = [*chain.path[:_PATH_SHOWN], *near]
    ids = [ahead.work.tasks[place].id for place in shown]
    titles = await store.read(ctx.caller, lambda tx: tx.outlook.titles(ids))

    def step(place: int) -> PathStep:
        task = ahead.work.tasks[place]
        return PathStep(
            id=task.id,
            title=titles.get(task.id, "")[:200],
            complexity=task.complexity,
            seconds=round(expected[place], 1),
            earliest_start=later(ahead.now, chain.earliest[place]),
            latest_start=later(ahead.now, chain.earliest[place] + chain.slack(place)),
            slack_seconds=round(chain.slack(place), 1),
        )

    return CriticalPath(
        path=[step(place) for place in chain.path[:_PATH_SHOWN]],
        length=len(chain.path),
        total_seconds=round(chain.total, 1),
        finish_at=later(ahead.now, chain.total),
        near=[step(place) for place in near],
        tasks=len(chain.earliest),
        stuck=stuck,
        seen=dict(ahead.durations.seen),
    )


class ForecastAsk(LongRunning):
    agents: int | None = Field(default=None, ge=1, le=10_000, description="Number of agents; default: the WIP limit.")
    seed: int = Field(default=1, ge=0, le=2**31, description="Random seed.")
    runs: int | None = Field(default=None, ge=1, le=10_000, description="Runs; default 1,000, fewer for a large plan.")
    hours: Literal["all", "observed"] = Field(
        default="all", description="Working time: around the clock, or the share observed."
    )
    wanted: float = Field(
        default=0.8, gt=0, lt=1, description="Chance of meeting a due date below which cuts are proposed."
    )


class ForecastReport(Output):
    at: Instant
    p50_at: Instant | None
    p90_at: Instant | None
    open: int = Field(validation_alias="counted", description="Tasks that were simulated.")
    stuck: int = Field(description="Left out: failed, behind a cancelled task, or behind one of these.")
    milestones: Annotated[list[GroupForecast], first(_PATH_SHOWN)]
    epics: Annotated[list[GroupForecast], first(_PATH_SHOWN)]
    cut: list[CutAdvice] = Field(validation_alias="cuts")
    agents: int
    runs: int
    seed: int
    seen: dict[int, int] = Field(description="Done tasks learned from, by complexity.")
    busy_share: float | None = Field(description="Share of the last 28 days in which any agent worked.")
    assumptions: list[str]


@operation(toolset="plan", effect=Effect.READ)
async def forecast(ctx: Context, params: ForecastAsk, store: WatchedStore, graphs: PlanGraphs) -> ForecastReport:
    """Forecast completion dates (p50, p90) of the plan, each milestone and each epic, the chance of meeting each due date, and
    what to cut where it is low."""
    from wvo_mcp.orchestration import outlook

    limit = ctx.policy.wip_limit
    agents = params.agents or limit
    seen = await outlook.read(store, ctx.caller)
    steps = outlook.forecast(
        seen,
        # A forecast for more agents than the limit allows assumes that the limit is raised.
        min(agents * ctx.policy.agent_wip_limit, max(limit, agents)),
        seed=params.seed,
        runs=params.runs,
        observed_hours=params.hours == "observed",
        wanted=params.wanted,
    )
    found = await ctx.progress.in_thread_slices(steps, lambda step: ctx.progress.report(*step))
    known = {group.id: group for group in found.milestones}
    graphs.forecast = LastForecast(found.outlook.now, found.p50_at, found.p90_at, known)
    return ForecastReport.of(
        found,
        found.outlook.durations,
        at=found.outlook.now,
        agents=agents,
        seed=params.seed,
        busy_share=None if found.outlook.busy_share is None else round(found.outlook.busy_share, 3),
        assumptions=_assumptions(found, params, ctx.policy.agent_wip_limit),
    )


def _assumptions(found: "Forecast", params: ForecastAsk, at_once: int) -> list[str]:
    """What the figures rest on, in words."""
    from wvo_mcp.orchestration import outlook

    out = ["Assumes today's queue order, no new tasks and no further failures."]
    if params.hours == "all" or found.stretch == 1.0:
        known = "" if params.hours == "all" else " (too little was observed)"
        out.append(f"Agents work around the clock{known}; durations are those from claim to completion.")
    else:
        out.append(f"Work goes on for {1 / found.stretch:.0%} of the clock, as it was seen.")
    out.append("Ignores approvals, reviews, blocks, and conflicts over files and capabilities.")
    if at_once > 1:
        out.append(f"An agent has up to {at_once} tasks in progress at once, and each takes as long as it did so far.")
    few = [c for c in range(1, 11) if found.outlook.durations.seen.get(c, 0) < 20]
    if few:
        out.append(f"Fewer than 20 tasks of complexity {', '.join(map(str, few))} are done: defaults are added.")
    if params.runs is None and found.counted and found.runs < outlook.RUNS:
        out.append(f"The plan is large, so it was run {found.runs} times instead of {outlook.RUNS:,}.")
    return out
