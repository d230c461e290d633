"""The figures of the toolset `ops`: what `/metrics` gives a collector, for agents and scripts."""

from typing import Any

from pydantic import Field

from wvo_mcp.domain.instant import Instant
from wvo_mcp.operations.inputs import Output
from wvo_mcp.operations.operation import Context, Effect, operation
from wvo_mcp.orchestration.figures import measure


class ModelUse(Output):
    provider: str
    tier: str | None
    tokens_hour: int
    tokens_day: int
    cost_day: float = Field(description="US dollars.")
    attempts_day: int
    reserved: int


class MetricsReport(Output):
    at: Instant
    tasks: dict[str, int] = Field(description="By status.")
    ready: int = Field(description="Tasks that may be claimed now, as in the view ready_tasks.")
    wip_limit: int
    wip_utilisation: float = Field(description="Tasks in progress over the limit.")
    agents: dict[str, int] = Field(description="By status.")
    created_last_hour: int = Field(description="At most 5,000 are counted.")
    completed_last_hour: int
    completed_per_5_min: list[int] = Field(description="The last two hours, oldest first.")
    alerts: list[dict[str, Any]] = Field(description="Open ones: kind, severity, n.")
    stale_tasks: int | None = Field(description="As the last health cycle saw it; null when there was none.")
    lease_expiries: int = Field(description="Ever.")
    models: list[ModelUse] = Field(
        description="Tokens within the last hour and of the day (UTC), by provider and tier."
    )
    breakers: list[dict[str, Any]] = Field(description="provider, tier, state of those that are not closed.")


@operation(toolset="ops", effect=Effect.READ)
async def metrics(ctx: Context) -> MetricsReport:
    """Show metrics: tasks, queue, agents, throughput, alerts."""
    figures = await measure(ctx.tx)
    counts = dict(figures.counts)
    del counts["ready"]
    return MetricsReport(
        at=ctx.tx.now,
        tasks=counts,
        ready=figures.claimable,
        wip_limit=ctx.policy.wip_limit,
        wip_utilisation=round(counts["in_progress"] / ctx.policy.wip_limit, 4),
        agents=dict(figures.agents),
        created_last_hour=figures.flow.created,
        completed_last_hour=figures.flow.completed,
        completed_per_5_min=list(figures.flow.series),
        alerts=[dict(row) for row in figures.alerts],
        stale_tasks=figures.stale,
        lease_expiries=figures.expiries,
        models=[
            ModelUse(
                provider=provider,
                tier=tier or None,
                tokens_hour=use.hour,
                tokens_day=use.day,
                cost_day=round(use.cost, 6),
                attempts_day=use.attempts,
                reserved=use.reserved,
            )
            for (provider, tier), use in sorted(figures.routing.uses.items())
        ],
        breakers=[
            {"provider": one.provider, "tier": one.tier or None, "state": one.state.value}
            for _, one in sorted(figures.routing.breakers.items())
        ],
    )
