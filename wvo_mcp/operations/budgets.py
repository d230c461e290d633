"""Budgets in people's hands: what is left of each window, and letting work go on beyond a limit. Never a tool."""

from datetime import timedelta
from typing import Any, Literal

from pydantic import AliasChoices, Field

from wvo_mcp.domain.instant import Instant, duration
from wvo_mcp.domain.lease import Role
from wvo_mcp.domain.providers.state import DAY, HOUR
from wvo_mcp.domain.text import Label, Text
from wvo_mcp.errors import InvalidInput
from wvo_mcp.operations.inputs import Input, Output
from wvo_mcp.operations.operation import Audience, Context, Effect, operation
from wvo_mcp.operations.providers import MOST, Budget
from wvo_mcp.orchestration.routing import budgets
from wvo_mcp.orchestration.routing.windows import all_windows
from wvo_mcp.ports.providers import Providers

_LONGEST = timedelta(days=40)


def _length(text: str) -> timedelta:
    """Raises InvalidInput."""
    length = duration(text)
    if length is None or length > _LONGEST:
        raise InvalidInput("duration", "give a duration such as 30m, 2h, 1d or 1d12h, at most 40 days")
    return length


class BudgetRaise(Input):
    scope: Literal["provider", "tier", "agent", "task"] = Field(description="What the budget belongs to.")
    name: Label = Field(description="Name of the provider, provider/tier, agent or task.")
    hourly: int | None = Field(default=None, ge=1, le=MOST, description="Extra tokens per 60 minutes.")
    daily: int | None = Field(default=None, ge=1, le=MOST, description="Extra tokens per day (UTC).")
    duration: str | None = Field(
        default=None,
        validation_alias=AliasChoices("duration", "for"),
        description="Duration, e.g. 30m, 2h, 1d; default: an hour, or the rest of the day.",
    )
    reason: Text | None = Field(default=None, description="Reason, kept in the history.")


class RaisedWindow(Output):
    period: str
    tokens: int
    until: Instant


class Raised(Output):
    raised: list[RaisedWindow]
    windows: list[Budget] = Field(description="As they are now.")
    resolved: bool = Field(description="The alert that asked for it is over.")


@operation(toolset="people", effect=Effect.WRITE, audience=Audience.PEOPLE, role=Role.ADMIN)
async def budget_raise(ctx: Context, params: BudgetRaise, providers: Providers) -> Raised:
    """Raise a token limit for a limited time: wvo-mcp budget raise provider claude --hourly 500000."""
    await ctx.tx.sessions.ensure()
    if params.hourly is None and params.daily is None:
        raise InvalidInput("hourly", "give --hourly or --daily tokens, or both")
    wanted = {HOUR: params.hourly, DAY: params.daily}
    lasting = None if params.duration is None else _length(params.duration)
    made = await budgets.allow(
        ctx.tx,
        providers.current(),
        params.scope,
        params.name,
        {period: tokens for period, tokens in wanted.items() if tokens is not None},
        lasting,
        params.reason or "",
    )
    return Raised.of(made)


class RaiseLine(Output):
    scope: str
    name: str
    period: str
    tokens: int
    until: Instant
    by_agent: str
    reason: str
    at: Instant


class Budgets(Output):
    at: Instant
    windows: list[Budget]
    agents: list[dict[str, Any]] = Field(description="Who used most today: agent_id, hour, day, cost.")
    raises: list[RaiseLine]


@operation(toolset="people", effect=Effect.READ, audience=Audience.PEOPLE)
async def budget_show(ctx: Context, providers: Providers) -> Budgets:
    """Show token budgets: what is left, when each resets, which agents used most today, and active raises."""
    windows = await all_windows(ctx.tx, providers.current())
    used = await ctx.tx.routing.by_agent(20)
    return Budgets(
        at=ctx.tx.now,
        windows=[Budget.of(window) for window in windows],
        agents=[{"agent_id": name, "hour": use.hour, "day": use.day, "cost": round(use.cost, 4)} for name, use in used],
        raises=[RaiseLine.of(row) for row in await ctx.tx.routing.allowed()],
    )
