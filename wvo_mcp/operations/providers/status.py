"""provider_status: the state of every provider."""

from pydantic import Field

from wvo_mcp.domain.instant import Instant
from wvo_mcp.domain.providers.catalogue import Mode, Place
from wvo_mcp.domain.providers.state import Use
from wvo_mcp.operations.inputs import Output
from wvo_mcp.operations.operation import Context, Effect, operation
from wvo_mcp.operations.providers.reporting import BreakerLine, Budget
from wvo_mcp.orchestration.routing.overview import ProviderState, overview
from wvo_mcp.ports import WatchedStore
from wvo_mcp.ports.providers import Providers


class ProviderLine(Output):
    name: str
    kind: str
    place: Place
    enabled: bool
    found: bool | None = Field(description="On this machine; null: not looked for.")
    logged_in: bool | None = Field(description="Or has a key; null: unknown.")
    note: str | None
    tiers: dict[str, str] = Field(description="Tier: model.")
    state: str = Field(description="Of its breaker; closed: nothing is known against it.")
    breakers: list[BreakerLine] = Field(description="Those that are not closed.")
    windows: list[Budget] = Field(description="Budgets, in tokens.")
    reported: bool = Field(description="False: no use was today; the tokens below are not known.")
    tokens_hour: int
    tokens_day: int
    reserved: int
    cost_day: float = Field(description="US dollars.")
    attempts_day: int
    share: float = Field(description="Of all attempts of the day, in percent.")
    target: float | None


class Total(Output):
    tokens_hour: int
    tokens_day: int
    cost_day: float
    attempts_day: int
    share: float
    target: float


class ProvidersReport(Output):
    at: Instant
    mode: Mode
    problem: str | None = Field(description="What is wrong with providers.yaml.")
    providers: list[ProviderLine]
    totals: dict[str, Total]


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
        providers=[_line(one) for one in seen.providers],
        totals={
            place.value: _total(use, attempts, catalogue.shares.get(place, 0.0)) for place, use in seen.uses.items()
        },
    )


def _line(one: ProviderState) -> ProviderLine:
    return ProviderLine(
        name=one.provider.name,
        kind=one.provider.kind.value,
        place=one.provider.place,
        enabled=one.provider.enabled,
        found=one.found,
        logged_in=one.logged_in,
        note=one.note or None,
        tiers={tier.value: model.name for tier, model in one.provider.tiers.items()},
        state="closed" if one.stopped is None else one.stopped.state.value,
        breakers=[BreakerLine.seen(breaker) for breaker in one.breakers],
        windows=[Budget(**window.shown()) for window in one.windows],
        reported=one.use.reported,
        tokens_hour=one.use.hour,
        tokens_day=one.use.day,
        reserved=one.use.reserved,
        cost_day=round(one.use.cost, 4),
        attempts_day=one.use.attempts,
        share=round(one.share, 1),
        target=None if one.target is None else round(one.target, 1),
    )


def _total(use: Use, attempts: int, target: float) -> Total:
    return Total(
        tokens_hour=use.hour,
        tokens_day=use.day,
        cost_day=round(use.cost, 4),
        attempts_day=use.attempts,
        share=round(100 * use.attempts / attempts, 1) if attempts else 0.0,
        target=target,
    )
