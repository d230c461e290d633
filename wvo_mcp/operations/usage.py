"""What providers took, hour by hour, and what went to which. Commands and pages, never tools."""

from datetime import timedelta
from typing import Annotated

from pydantic import Field

from wvo_mcp.domain.instant import Instant, instant
from wvo_mcp.operations.inputs import Dollars, Input, OrNull, Output, first
from wvo_mcp.operations.operation import Audience, Context, Effect, operation

_ROUTES = 30


class UsageAsk(Input):
    hours: int = Field(default=48, ge=1, le=168, description="Length of the window.")


class HourlyUse(Output):
    name: str
    tokens: list[int] = Field(description="Of each hour, as budgets count them.")
    costs: list[Dollars]
    tokens_total: int
    cost_total: Dollars


class RoutedLine(Output):
    task_id: str
    agent_id: str
    provider: str = Field(description="Advised for the attempt.")
    tier: str
    model: OrNull
    reason: Annotated[str, first(200)]
    at: Instant
    ended_at: Instant | None = None
    worked: OrNull = Field(default=None, description="Provider that does the work, as far as known.")
    tokens: int = Field(default=0, validation_alias="reported")


class UsageByHour(Output):
    at: Instant
    times: list[Instant] = Field(description="Begin of each hour, oldest first; the last is not over.")
    providers: list[HourlyUse] = Field(description="The most expensive first; 20 at most.")
    routes: list[RoutedLine] = Field(description="Where the tasks that were claimed last were routed, newest first.")


@operation(toolset="providers", effect=Effect.READ, audience=Audience.PEOPLE)
async def provider_usage(ctx: Context, params: UsageAsk) -> UsageByHour:
    """Show tokens and cost of each provider by the hour, and which provider the last claims were routed to, and why."""
    tx = ctx.tx
    last = tx.now.replace(minute=0, second=0, microsecond=0)
    times = [last - timedelta(hours=back) for back in reversed(range(params.hours))]
    found: dict[str, tuple[list[int], list[float]]] = {}
    for hour, provider, tokens, cost in await tx.routing.by_hour(times[0]):
        place = int((instant(f"{hour}:00:00Z") - times[0]) / timedelta(hours=1))
        of = found.setdefault(provider, ([0] * len(times), [0.0] * len(times)))
        place = min(place, len(times) - 1)
        of[0][place] += tokens
        of[1][place] += cost
    uses = [
        HourlyUse(name=name, tokens=tokens, costs=costs, tokens_total=sum(tokens), cost_total=sum(costs))
        for name, (tokens, costs) in found.items()
    ]
    uses.sort(key=lambda one: (-one.cost_total, -one.tokens_total, one.name))
    routes = await tx.routing.routed_last(_ROUTES)
    return UsageByHour(at=tx.now, times=times, providers=uses[:20], routes=[RoutedLine.of(row) for row in routes])
