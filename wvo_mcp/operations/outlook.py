"""The toolset `plan`: what lies ahead."""

from datetime import timedelta

import anyio.to_thread
from pydantic import Field

from wvo_mcp.domain.instant import Instant
from wvo_mcp.domain.text import Id
from wvo_mcp.domain.workload import Chain
from wvo_mcp.domain.workload import critical_path as longest
from wvo_mcp.operations.operation import Context, Effect, Input, Output, operation
from wvo_mcp.orchestration import outlook
from wvo_mcp.orchestration.outlook import Outlook

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
    finish_at: Instant = Field(description="At the earliest, with as many agents as one could wish, around the clock.")
    near: list[PathStep] = Field(description="Off the path with a slack below a tenth of the total, tightest first.")
    tasks: int = Field(description="Open tasks looked at.")
    stuck: int = Field(description="Of these failed, or behind a cancelled task.")
    seen: dict[int, int] = Field(description="Done tasks learned from, by complexity; below 20 an assumption fills up.")


@operation(toolset="plan", effect=Effect.READ, outside=True)
async def critical_path(ctx: Context, ask: CriticalPathAsk) -> CriticalPath:
    """Show the longest chain of open tasks by expected duration, and what has little slack beside it."""
    seen = await ctx.services.store.read(ctx.caller, outlook.read)

    def work_out() -> tuple[Outlook, list[float], Chain]:
        ahead = outlook.understood(seen)
        expected = ahead.expected()
        return ahead, expected, longest(ahead.work, expected, ahead.scope(ask.task_id, ask.milestone_id, ask.epic_id))

    ahead, expected, chain = await anyio.to_thread.run_sync(work_out)  # it may take a second, and others are served
    on_path = set(chain.path)
    near = sorted(
        (place for place in chain.earliest if place not in on_path and chain.slack(place) < chain.total * _NEAR_SHARE),
        key=lambda place: (chain.slack(place), place),
    )[:_NEAR]
    shown = [*chain.path[:_SHOWN], *near]
    ids = [ahead.work.tasks[place].id for place in shown]
    titles = await ctx.services.store.read(ctx.caller, lambda tx: tx.outlook.titles(ids))

    def step(place: int) -> PathStep:
        task = ahead.work.tasks[place]
        return PathStep(
            id=task.id,
            title=titles.get(task.id, "")[:200],
            complexity=task.complexity,
            seconds=round(expected[place], 1),
            earliest_start=ahead.now + timedelta(seconds=chain.earliest[place]),
            latest_start=ahead.now + timedelta(seconds=chain.earliest[place] + chain.slack(place)),
            slack_seconds=round(chain.slack(place), 1),
        )

    return CriticalPath(
        path=[step(place) for place in chain.path[:_SHOWN]],
        length=len(chain.path),
        total_seconds=round(chain.total, 1),
        finish_at=ahead.now + timedelta(seconds=chain.total),
        near=[step(place) for place in near],
        tasks=len(chain.earliest),
        stuck=sum(ahead.work.tasks[place].stuck for place in chain.earliest),
        seen=dict(ahead.durations.seen),
    )
