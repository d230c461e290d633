"""The toolset `plan`: what lies ahead."""

from typing import TYPE_CHECKING, Literal

import anyio.to_thread
from pydantic import Field

from wvo_mcp.domain.forecast import CutAdvice, GroupForecast
from wvo_mcp.domain.instant import Instant, later
from wvo_mcp.domain.text import Id
from wvo_mcp.operations.inputs import Input, LongRunning, Output
from wvo_mcp.operations.operation import Context, Effect, operation
from wvo_mcp.ports import WatchedStore

if TYPE_CHECKING:
    from wvo_mcp.domain.workload import Chain
    from wvo_mcp.orchestration.outlook import Forecast, Outlook

# Late imports below: what looks ahead is large, and every command and every server would wait for it at its start.

_SHOWN = 50
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
        stuck = sum(ahead.work.tasks[place].stuck for place in chain.earliest)
        return ahead, expected, chain, _beside(chain), stuck

    ahead, expected, chain, near, stuck = await anyio.to_thread.run_sync(
        work_out
    )  # it may take a second, and others are served
    shown = [*chain.path[:_SHOWN], *near]
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
        path=[step(place) for place in chain.path[:_SHOWN]],
        length=len(chain.path),
        total_seconds=round(chain.total, 1),
        finish_at=later(ahead.now, chain.total),
        near=[step(place) for place in near],
        tasks=len(chain.earliest),
        stuck=stuck,
        seen=dict(ahead.durations.seen),
    )


def _beside(chain: "Chain") -> list[int]:
    """Off the path, with little slack, the tightest first."""
    on_path = set(chain.path)
    tight = (p for p in chain.earliest if p not in on_path and chain.slack(p) < chain.total * _NEAR_SHARE)
    return sorted(tight, key=lambda place: (chain.slack(place), place))[:_NEAR]


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
    open: int = Field(description="Tasks that were simulated.")
    stuck: int = Field(description="Left out: failed, behind a cancelled task, or behind one of these.")
    milestones: list[GroupForecast]
    epics: list[GroupForecast]
    cut: list[CutAdvice]
    agents: int
    runs: int
    seed: int
    seen: dict[int, int] = Field(description="Done tasks learned from, by complexity.")
    busy_share: float | None = Field(description="Share of the last 28 days in which any agent worked.")
    assumptions: list[str]


@operation(toolset="plan", effect=Effect.READ)
async def forecast(ctx: Context, params: ForecastAsk, store: WatchedStore) -> ForecastReport:
    """Forecast completion dates (p50, p90) of the plan, each milestone and each epic, the chance of meeting each due date, and
    what to cut where it is low."""
    from wvo_mcp.orchestration import outlook

    limit = ctx.policy.wip_limit
    agents = params.agents or limit
    seen = await outlook.read(store, ctx.caller)
    question = outlook.Question(
        agents=agents,
        # A forecast for more agents than the limit allows assumes that the limit is raised.
        wip_limit=max(limit, agents),
        agent_wip_limit=ctx.policy.agent_wip_limit,
        seed=params.seed,
        runs=params.runs,
        observed_hours=params.hours == "observed",
        wanted=params.wanted,
    )
    found = await ctx.progress.in_thread_slices(
        outlook.forecast(seen, question), lambda step: ctx.progress.report(*step)
    )
    return ForecastReport(
        at=found.outlook.now,
        p50_at=found.p50_at,
        p90_at=found.p90_at,
        open=found.counted,
        stuck=found.stuck,
        milestones=found.milestones[:_SHOWN],
        epics=found.epics[:_SHOWN],
        cut=found.cuts,
        agents=agents,
        runs=found.runs,
        seed=params.seed,
        seen=dict(found.outlook.durations.seen),
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
