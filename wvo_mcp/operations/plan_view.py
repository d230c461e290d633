"""The plan as people look at it: its graph, what holds it up, and how it goes down. Commands and pages, never tools."""

from collections.abc import Mapping
from typing import Annotated, Any

import anyio.to_thread
from pydantic import Field

from wvo_mcp.domain.forecast import GroupForecast
from wvo_mcp.domain.instant import Instant, later
from wvo_mcp.domain.text import Id
from wvo_mcp.errors import InvalidInput
from wvo_mcp.operations.inputs import Input, LongRunning, OrNull, Output, first
from wvo_mcp.operations.operation import Audience, Context, Effect, operation
from wvo_mcp.operations.results import fitting
from wvo_mcp.orchestration.plan import progress
from wvo_mcp.orchestration.plan.graphs import PlanGraphs
from wvo_mcp.ports import WatchedStore

_TITLE = 60
_PATH_SHOWN = 50
_HELD_SHOWN = 20
_FORECAST = ("p50_at", "p90_at", "chance", "open", "stuck")


class PlanGraphAsk(LongRunning):
    unfolded: list[Id] = Field(
        default_factory=list[Id], max_length=50, description="Epics whose tasks are shown one by one."
    )
    cursor: str | None = Field(default=None, max_length=20, description="Where to go on (next_cursor).")


class GraphNode(Output):
    key: str = Field(description="Names the node in waits_for.")
    kind: str = Field(default="task", description="task, epic, or rest: the epics that there is no room for.")
    id: OrNull = Field(default=None, description="Of the task or epic.")
    title: Annotated[str, first(_TITLE)] = ""
    state: str = Field(
        description="Status; waiting: pending, and others come first. Of an epic: what people should see."
    )
    epic: OrNull = None
    critical: int = Field(default=0, description="Place on the critical path, from 1.")
    counts: dict[str, int] = Field(default={}, description="Open tasks of an epic by state.")
    waits_for: list[str] = Field(default=[], description="Keys of nodes; 60 at most.")
    left_out: int = Field(default=0, description="Tasks of an unfolded epic, or epics, that there is no room for.")


class PlanGraphShown(Output):
    at: Instant = Field(description="When the plan was read: of a large one up to a minute ago.")
    open: int = Field(description="Tasks that are neither done nor cancelled.")
    folded: bool = Field(default=False, description="More than 300 open tasks: each epic is one node.")
    unfolded: list[str] = Field(default=[], description="Epics whose tasks are shown.")
    nodes: list[GraphNode]
    next_cursor: str | None = None


@operation(toolset="plan", effect=Effect.READ, audience=Audience.PEOPLE)
async def plan_graph(ctx: Context, params: PlanGraphAsk, store: WatchedStore, graphs: PlanGraphs) -> PlanGraphShown:
    """Show the open plan as a graph: what waits for what, and which part of it is critical. A plan of more than 300 open tasks
    is shown by epics, of which --unfolded names those to be shown task by task."""
    from wvo_mcp.orchestration.plan.graph import EPIC, MOST_NODES  # large, and no server needs it before somebody looks

    begin = _offset(params.cursor)
    graph = await graphs.current(store, ctx.caller)
    unfolded = [name for name in params.unfolded if name in graph.epics]
    view = await anyio.to_thread.run_sync(graph.view, unfolded)
    tasks = [node.id for node in view if node.kind == "task"]
    titles = await store.read(ctx.caller, lambda tx: tx.outlook.titles(tasks))
    if any(node.kind == "epic" for node in view):
        rows = await store.read(ctx.caller, lambda tx: tx.tasks.epics())
        titles |= {EPIC + str(row["id"]): row["title"] for row in rows}
    nodes = fitting(GraphNode.of(node, title=titles.get(node.key, "")) for node in view[begin:])
    end = begin + len(nodes)
    return PlanGraphShown(
        at=graph.now,
        open=len(graph.states),
        folded=len(graph.states) > MOST_NODES,
        unfolded=unfolded,
        nodes=nodes,
        next_cursor=str(end) if end < len(view) else None,
    )


def _offset(cursor: str | None) -> int:
    if cursor is None:
        return 0
    if not (cursor.isascii() and cursor.isdigit()):
        raise InvalidInput("cursor", "give the next_cursor of an earlier page, unchanged")
    return int(cursor)


class ChainStep(Output):
    id: str
    title: Annotated[str, first(_TITLE)]
    state: str
    seconds: float = Field(description="Expected: the median of what was seen, less what has passed.")


class HeldUpTask(Output):
    id: str
    title: Annotated[str, first(_TITLE)]
    state: str
    next: list[str] = Field(description="Tasks that wait for it directly; 5 at most.")
    behind: int = Field(description="How many wait behind it in all; counted up to 1,000.")


class PlanChains(Output):
    at: Instant = Field(description="When the plan was read: of a large one up to a minute ago.")
    path: list[ChainStep] = Field(description="The critical path, first task first; 50 at most.")
    length: int
    finish_at: Instant = Field(description="At the earliest, with unlimited agents, around the clock.")
    held_up: list[HeldUpTask] = Field(
        description="What does not go on by itself, by how much waits behind it; 20 at most."
    )


@operation(toolset="plan", effect=Effect.READ, audience=Audience.PEOPLE)
async def plan_chains(ctx: Context, params: LongRunning, store: WatchedStore, graphs: PlanGraphs) -> PlanChains:
    """List the chains of the open plan: the critical path in its order, and blocked or failed tasks with what waits behind
    them."""
    graph = await graphs.current(store, ctx.caller)
    path, held = graph.chain.path[:_PATH_SHOWN], await anyio.to_thread.run_sync(graph.held_up, _HELD_SHOWN)
    tasks = graph.work.tasks
    ids = [*(tasks[index].id for index in path), *(one.id for one in held)]
    titles = await store.read(ctx.caller, lambda tx: tx.outlook.titles(ids))
    return PlanChains(
        at=graph.now,
        path=[
            ChainStep(
                id=tasks[index].id,
                title=titles.get(tasks[index].id, ""),
                state=graph.states[index],
                seconds=round(graph.expected[index], 1),
            )
            for index in path
        ],
        length=len(graph.chain.path),
        finish_at=later(graph.now, graph.chain.total),
        held_up=[HeldUpTask.of(one, title=titles.get(one.id, "")) for one in held],
    )


class BurnDownAsk(Input):
    days: int = Field(
        default=28, ge=1, le=84, description="Length of the window; up to 3 days it is shown by the hour."
    )


class BurnDownShown(Output):
    at: Instant
    hourly: bool
    times: list[Instant] = Field(description="Begin of each hour or day (UTC), oldest first; the last is not over.")
    open: list[int] = Field(description="Neither done nor cancelled at its end.")
    added: list[int] = Field(description="Created, restored or reopened in it.")
    completed: list[int]
    cancelled: list[int]
    cut: bool = Field(
        default=False, description="More than 20,000 events of a kind: the window begins later than asked for."
    )


@operation(toolset="plan", effect=Effect.READ, audience=Audience.PEOPLE)
async def burn_down(ctx: Context, params: BurnDownAsk) -> BurnDownShown:
    """Show how the open work went down: tasks open, added, completed and cancelled by the day, or by the hour."""
    found = await progress.burn_down(ctx.tx, params.days)
    return BurnDownShown.of(found, at=ctx.tx.now)


class MilestoneLine(Output):
    id: str
    title: Annotated[str, first(200)]
    epic_id: OrNull = None
    due_at: Instant | None = None
    p50_at: Instant | None = Field(default=None, description="As the last forecast of this server has it.")
    p90_at: Instant | None = None
    chance: float | None = Field(default=None, description="To be done when it is due (0-1).")
    open: int | None = Field(default=None, description="Open tasks then.")
    stuck: int | None = Field(default=None, description="Of these never done without a person.")


class MilestonesShown(Output):
    at: Instant
    milestones: list[MilestoneLine] = Field(description="By due date; those without one last.")
    count: int
    forecast_at: Instant | None = Field(default=None, description="When this server last made a forecast.")
    p50_at: Instant | None = Field(default=None, description="Of the whole plan, as it was forecast.")
    p90_at: Instant | None = None


@operation(toolset="plan", effect=Effect.READ, audience=Audience.PEOPLE)
async def milestones(ctx: Context, graphs: PlanGraphs) -> MilestonesShown:
    """List milestones by their due dates, with what the last forecast of this server says of each."""
    rows = sorted(
        await ctx.tx.tasks.milestones(), key=lambda row: (row["due_at"] is None, row["due_at"] or "", row["id"])
    )
    last = graphs.forecast
    known: Mapping[str, GroupForecast] = {} if last is None else last.milestones

    def line(row: Mapping[str, Any]) -> MilestoneLine:
        seen = known.get(row["id"])
        told = {} if seen is None else {name: getattr(seen, name) for name in _FORECAST}
        return MilestoneLine.of({**row, **told})

    return MilestonesShown(
        at=ctx.tx.now,
        milestones=fitting(map(line, rows)),
        count=len(rows),
        forecast_at=last and last.at,
        p50_at=last and last.p50_at,
        p90_at=last and last.p90_at,
    )
