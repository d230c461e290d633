"""The toolset `providers`: which model does what, what it may use, and its state."""

from dataclasses import fields, replace
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from wvo_mcp.domain.instant import Instant
from wvo_mcp.domain.providers.catalogue import Mode, Place, Tier
from wvo_mcp.domain.providers.routing import RouteDecision, RouteRequest
from wvo_mcp.domain.providers.state import uses_by_place
from wvo_mcp.domain.redaction import redact
from wvo_mcp.domain.task import TaskType
from wvo_mcp.domain.text import Id, Label, Text, near, storable
from wvo_mcp.errors import InvalidInput, NotFound
from wvo_mcp.operations.inputs import Dollars, Input, OrNull, Output, Replayable, Token
from wvo_mcp.operations.operation import Context, Effect, operation
from wvo_mcp.orchestration.routing import reporting
from wvo_mcp.orchestration.routing.overview import overview
from wvo_mcp.orchestration.routing.router import Route, Router, choose_mode, mode_since
from wvo_mcp.ports import Transaction, WatchedStore
from wvo_mcp.ports.providers import Providers

MOST = 1_000_000_000_000
_OUTPUT_BYTES = 65_536
Redacted = Annotated[str, AfterValidator(redact)]
Percent = Annotated[float, AfterValidator(lambda value: round(value, 1))]

# One choice, spelled out, so that an error lists all of them and names the field.
Outcome = Literal[
    "ok", "capacity", "rate_limit", "quota", "auth", "outage", "refusal", "context", "permission"
]  # fmt: skip
_TOKENS = Field(default=None, ge=0, le=MOST, description="Number of tokens.")


def _fits(text: str) -> str:
    if len(text.encode(errors="replace")) > _OUTPUT_BYTES:
        raise ValueError("at most 64 KB: give the last lines")
    return storable(text)


class ProviderReport(Replayable):
    provider: Label | None = Field(default=None, description="Provider name or kind; default: the task's route.")
    tier: Tier | None = Field(default=None, description="Tier used (or give the model).")
    model: Label | None = Field(default=None, description="Model used.")
    task_id: Id | None = Field(default=None, description="Task that the run was for.")
    lease_token: Token
    tokens_in: int | None = Field(default=None, ge=0, le=MOST, description="Input tokens, cached ones excluded.")
    tokens_out: int | None = _TOKENS
    tokens_cached: int | None = _TOKENS
    cost: float | None = Field(default=None, ge=0, le=1e9, allow_inf_nan=False, description="Cost in US dollars.")
    outcome: Outcome | None = Field(default=None, description="Inferred if omitted.")
    exit_code: int | None = Field(default=None, ge=-(2**31), le=2**31, description="Exit code of the program.")
    http_status: int | None = Field(default=None, ge=100, le=599, description="HTTP status of the response.")
    retry_after: float | None = Field(
        default=None, ge=0, le=31_622_400, allow_inf_nan=False, description="Seconds to wait."
    )
    resets_at: Instant | None = Field(default=None, description="Reset time of the limit.")
    output: Annotated[str, AfterValidator(_fits)] = Field(
        default="", description="Output of the program; tokens and failures are parsed from it."
    )
    error: Text = Field(default="", description="Error text.")
    agent_id: Id | None = Field(default=None, description="Agent that ran it; default: you.")

    @property
    def on_behalf_of(self) -> str | None:
        return self.agent_id


class Counted(Output):
    tokens: int = Field(validation_alias="counted", description="As the budgets count them.")
    tokens_in: int
    tokens_out: int
    tokens_cached: int
    cost: Dollars
    settled: bool = Field(description="Taken from the reservation of the task's attempt.")


class Budget(Output):
    scope: str
    name: str
    period: str
    used: int
    reserved: int
    limit: int
    raised: int
    left: int
    reported: bool = Field(description="False: nothing was today; what is used is not known.")
    resets_at: Instant | None


class Failure(Output):
    kind: str
    message: Redacted
    retry_after: float | None
    resets_at: Instant | None


class BreakerLine(Output):
    tier: OrNull = Field(description="Null: the whole provider.")
    state: str
    kind: OrNull
    until: Instant | None = Field(validation_alias="free_at")
    reason: Annotated[OrNull, AfterValidator(lambda text: text and redact(text))]


class Reported(Output):
    provider: str
    tier: OrNull
    model: OrNull
    counted: Counted
    budget: Budget | None = Field(description="The tightest window that it counts in.")
    classification: Failure | None
    breaker: BreakerLine | None
    route: Route | None = Field(description="After a failure: who should go on.")
    explanation: str | None = None
    retry_after: int | None = Field(default=None, description="Seconds until there is a route again.")


@operation(toolset="providers", effect=Effect.WRITE)
async def provider_report(ctx: Context, params: ProviderReport, providers: Providers) -> Reported:
    """Report a model run once: its tokens, cost and outcome. After a failure of the task you hold, `route` says which provider
    should continue; null: wait retry_after seconds, or release the task."""
    await ctx.tx.sessions.ensure()
    given = reporting.UsageReport(**{one.name: getattr(params, one.name) for one in fields(reporting.UsageReport)})
    made = await reporting.report(ctx.tx, ctx.policy, providers, given)
    spent = made.spent
    return Reported.of(
        made,
        provider=spent.provider,
        tier=spent.tier,
        model=spent.model,
        counted=Counted.of(spent, settled=made.settled),
        classification=made.classification,
    )


class ProviderUse(Output):
    """Of the hour and the day (UTC)."""

    tokens_hour: int = Field(validation_alias="hour")
    tokens_day: int = Field(validation_alias="day")
    cost_day: Annotated[Dollars, AfterValidator(lambda value: round(value, 4))] = Field(validation_alias="cost")
    attempts_day: int = Field(validation_alias="attempts")
    share: Percent = Field(description="Of all attempts of the day, in percent.")
    target: Percent | None


class ProviderLine(ProviderUse):
    name: str
    kind: str
    place: Place
    enabled: bool
    found: bool | None = Field(description="On this machine; null: not looked for.")
    logged_in: bool | None = Field(description="Or has a key; null: unknown.")
    note: OrNull
    tiers: dict[str, str] = Field(description="Tier: model.")
    state: str = Field(description="Of its breaker; closed: nothing is known against it.")
    breakers: list[BreakerLine] = Field(description="Those that are not closed.")
    windows: list[Budget] = Field(description="Budgets, in tokens.")
    reported: bool = Field(description="False: no use was today; the tokens below are not known.")
    reserved: int


class ProvidersReport(Output):
    at: Instant
    mode: Mode
    problem: str | None = Field(description="What is wrong with providers.yaml.")
    providers: list[ProviderLine]
    totals: dict[Place, ProviderUse]


@operation(toolset="providers", effect=Effect.READ, manages_own_transactions=True)
async def provider_status(ctx: Context, store: WatchedStore, providers: Providers) -> ProvidersReport:
    """Show each provider: models, breaker, budgets with reset times, cost and attempts of today, share against target."""
    catalogue = providers.current()
    if not providers.presence():  # a command begins without having looked
        await providers.look()
    presence = providers.presence()
    seen = await store.read(ctx.caller, lambda tx: overview(tx, catalogue, presence))
    attempts = sum(use.attempts for use in seen.uses.values())
    return ProvidersReport(
        at=seen.state.now,
        mode=seen.mode,
        problem=providers.problem() or providers.unaccepted(),
        providers=[
            ProviderLine.of(
                one,
                one.provider,
                one.seen,
                one.use,
                tiers={tier.value: model.name for tier, model in one.provider.tiers.items()},
                state="closed" if one.stopped is None else one.stopped.state,
            )
            for one in seen.providers
        ],
        totals={
            place: ProviderUse.of(
                use, share=100 * use.attempts / max(1, attempts), target=catalogue.shares.get(place, 0.0)
            )
            for place, use in seen.uses.items()
        },
    )


class AuthAsk(Input):
    provider: Label | None = Field(default=None, description="Only this provider.")


class Auth(Output):
    provider: str
    kind: str
    place: Place
    enabled: bool
    installed: bool = Field(description="Or answering, where it is a server.")
    program: str | None = Field(description="Path or address.")
    version: str | None
    logged_in: bool | None = Field(description="Or keyed; null: unknown.")
    how: Redacted = Field(description="How this was found; never a secret.")
    models: list[str] = Field(description="That a local server has.")


class AuthStatus(Output):
    providers: list[Auth]
    problem: str | None = Field(description="What is wrong with providers.yaml.")


@operation(toolset="providers", effect=Effect.EXTERNAL, manages_own_transactions=True, idempotent=True)
async def auth_status(ctx: Context, params: AuthAsk, providers: Providers) -> AuthStatus:
    """Show for each provider whether it is installed, its version, and whether it has a login or an API key."""
    known = {one.name: one for one in providers.current().providers}
    wanted = [one for name, one in known.items() if params.provider in (None, name)]
    if params.provider is not None and not wanted:
        raise NotFound("provider", params.provider, near(params.provider, known), field="provider")
    found = await providers.check(wanted)
    return AuthStatus(
        providers=[Auth.of(found[one.name], one, installed=found[one.name].program is not None) for one in wanted],
        problem=providers.problem() or providers.unaccepted(),
    )


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
    explanation: str = Field(validation_alias="reason")
    tier: str = Field(description="What the complexity asks for.")
    mode: Mode
    waits: bool = Field(validation_alias="withheld", description="Nothing may take it now; something may later.")
    until: Instant | None = None
    estimate: int | None = Field(default=None, description="Tokens.")
    cost: Dollars | None = Field(default=None, description="US dollars, estimated.")
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

    async def decide(tx: Transaction) -> RouteDecision | None:
        router = Router(tx, providers, params.agent_id or ctx.caller.agent_id)
        if params.task_id is not None:
            return await router.decide(await tx.tasks.get(params.task_id))
        wanted = tuple(params.capabilities), tuple(params.labels)
        kind = params.type or TaskType.OTHER
        return await router.judge(RouteRequest(params.complexity or 5, kind, *wanted, own=ctx.caller.provider))

    # The route of a worker launched now; not whether the calling agent may do it itself.
    decision = await store.read(replace(ctx.caller, worker=True), decide)
    assert decision is not None  # noqa: S101 - there are providers
    until = decision.until if decision.withheld else None
    return Routed.of(decision, decision.chosen, route=Route.of(decision), until=until)


class RoutingMode(Replayable):
    mode: Mode | None = Field(default=None, description="New mode; omit to show it.")


class Side(Output):
    attempts: int = Field(description="Today (UTC).")
    share: Percent | None = Field(description="Percent of all attempts.")
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
    if params.mode is not None:
        await choose_mode(ctx.tx, params.mode)
    state = await ctx.tx.routing.state(ctx.caller.agent_id)
    uses = uses_by_place(catalogue, state)
    total = sum(use.attempts for use in uses.values())
    return ModeOfRouting(
        mode=state.mode or catalogue.mode,
        since=await mode_since(ctx.tx),
        shares={
            place: Side.of(
                use,
                share=100 * use.attempts / total if total else None,
                target=catalogue.shares.get(place, 0.0),
            )
            for place, use in uses.items()
        },
    )
