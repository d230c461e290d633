"""route_task and routing_mode: which model should do a task, and which places may be used."""

from dataclasses import replace

from pydantic import Field

from wvo_mcp.domain.instant import Instant
from wvo_mcp.domain.providers.catalogue import Mode, Place
from wvo_mcp.domain.providers.routing import RouteDecision, RouteRequest
from wvo_mcp.domain.providers.state import uses_by_place
from wvo_mcp.domain.task import TaskType
from wvo_mcp.domain.text import Id, Label
from wvo_mcp.errors import InvalidInput
from wvo_mcp.operations.core.claiming import Route
from wvo_mcp.operations.inputs import Input, Output, Replayable
from wvo_mcp.operations.operation import Context, Effect, operation
from wvo_mcp.orchestration.routing import router
from wvo_mcp.ports import Transaction, WatchedStore
from wvo_mcp.ports.providers import Providers


class RouteTask(Input):
    task_id: Id | None = Field(default=None, description="Task; omit to describe one instead.")
    complexity: int | None = Field(default=None, ge=1, le=10, description="Complexity; default 5.")
    type: TaskType | None = Field(default=None, description="Kind of work.")
    capabilities: list[Label] = Field(default_factory=list[Label], max_length=20, description="Required capabilities.")
    labels: list[Label] = Field(default_factory=list[Label], max_length=50, description="Labels of the task.")
    agent_id: Id | None = Field(default=None, description="What the budget belongs to.")


class Turned(Output):
    provider: str
    tier: str
    why: str = Field(description="disabled, tier, capability, mode, locality, absent, breaker or budget.")
    reason: str
    until: Instant | None = None


class Routed(Output):
    route: Route | None
    explanation: str
    tier: str = Field(description="What the complexity asks for.")
    mode: Mode
    waits: bool = Field(description="Nothing may take it now; something may later.")
    until: Instant | None = None
    estimate: int | None = Field(default=None, description="Tokens.")
    cost: float | None = Field(default=None, description="US dollars, estimated.")
    rejected: list[Turned]


@operation(toolset="providers", effect=Effect.READ, manages_own_transactions=True)
async def route_task(ctx: Context, params: RouteTask, store: WatchedStore, providers: Providers) -> Routed:
    """Show which provider and model fit a task best now, why, and what was rejected: advice for launching an agent. Changes
    nothing; what you claim you do yourself, unless the claim names a route."""
    providers.current()  # raises for a file that was never readable
    described = params.complexity is not None or params.type is not None or params.capabilities or params.labels
    if params.task_id is not None and described:
        raise InvalidInput(
            "task_id", "name a task, or describe one by complexity, type, capabilities, labels: not both"
        )
    if not providers.presence():  # a command begins without having looked
        await providers.look()
    # The route of a worker launched now; not whether the calling agent may do it itself.
    asker = replace(ctx.caller, worker=True)
    return _routed(await store.read(asker, lambda tx: _decided(tx, ctx, params, providers)))


async def _decided(tx: Transaction, ctx: Context, params: RouteTask, providers: Providers) -> RouteDecision:
    one = router.Router(tx, providers, params.agent_id or ctx.caller.agent_id)
    if params.task_id is not None:
        decision = await one.decide(await tx.tasks.get(params.task_id))
    else:
        decision = await one.judge(
            RouteRequest(
                params.complexity or 5,
                params.type or TaskType.OTHER,
                tuple(params.capabilities),
                tuple(params.labels),
                own=ctx.caller.provider,
            )
        )
    assert decision is not None  # noqa: S101 - there are providers
    return decision


def _routed(decision: RouteDecision) -> Routed:
    chosen, route = decision.chosen, router.Route.of(decision)
    return Routed(
        route=None if route is None else Route(**route.shown()),
        explanation=decision.reason,
        tier=decision.tier,
        mode=decision.mode,
        waits=decision.withheld,
        until=decision.until if decision.withheld else None,
        estimate=None if chosen is None else chosen.estimate,
        cost=None if chosen is None else round(chosen.cost, 6),
        rejected=[
            Turned(provider=one.provider, tier=one.tier, why=one.why, reason=one.reason, until=one.until)
            for one in decision.rejected
        ],
    )


class RoutingMode(Replayable):
    mode: Mode | None = Field(default=None, description="New mode; omit to show it.")


class Side(Output):
    attempts: int = Field(description="Today (UTC).")
    share: float | None = Field(description="Percent of all attempts.")
    target: float = Field(description="Percent, in hybrid mode.")


class ModeOfRouting(Output):
    mode: Mode
    since: str | None = Field(description="Who chose it and when; null: as providers.yaml has it.")
    shares: dict[Place, Side]


@operation(toolset="providers", effect=Effect.WRITE, idempotent=True)
async def routing_mode(ctx: Context, params: RoutingMode, providers: Providers) -> ModeOfRouting:
    """Set which providers all servers use from now on: cloud, local or hybrid. Without mode: show the current mode and how
    work is distributed."""
    catalogue = providers.current()
    tx = ctx.tx
    if params.mode is not None:
        await router.choose_mode(tx, params.mode)
    state = await tx.routing.state(ctx.caller.agent_id)
    done = {place: use.attempts for place, use in uses_by_place(catalogue, state).items()}
    total = sum(done.values())
    return ModeOfRouting(
        mode=state.mode or catalogue.mode,
        since=await router.mode_since(tx),
        shares={
            place: Side(
                attempts=count,
                share=round(100 * count / total, 1) if total else None,
                target=catalogue.shares.get(place, 0.0),
            )
            for place, count in done.items()
        },
    )
