"""provider_report: what an attempt took, and how its provider did."""

from dataclasses import fields
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from wvo_mcp.domain.instant import Instant
from wvo_mcp.domain.providers.breaker import Breaker
from wvo_mcp.domain.providers.catalogue import Tier
from wvo_mcp.domain.redaction import redact
from wvo_mcp.domain.text import Id, Label, Text, storable
from wvo_mcp.operations.core.claiming import Route
from wvo_mcp.operations.inputs import Output, Replayable, Token
from wvo_mcp.operations.operation import Context, Effect, operation
from wvo_mcp.orchestration.routing import reporting
from wvo_mcp.ports.providers import Providers

MOST = 1_000_000_000_000
_OUTPUT_BYTES = 65_536

# One choice, spelled out, so that an error lists all of them and names the field.
Outcome = Literal[
    "ok", "capacity", "rate_limit", "quota", "auth", "outage", "refusal", "context", "permission"
]  # fmt: skip
_TOLD = Field(default=None, ge=0, le=MOST, description="Number of tokens.")


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
    tokens_out: int | None = _TOLD
    tokens_cached: int | None = _TOLD
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
    tokens: int = Field(description="As the budgets count them.")
    tokens_in: int
    tokens_out: int
    tokens_cached: int
    cost: float = Field(description="US dollars.")
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
    message: str
    retry_after: float | None
    resets_at: Instant | None


class BreakerLine(Output):
    tier: str | None = Field(description="Null: the whole provider.")
    state: str
    kind: str | None
    until: Instant | None
    reason: str | None

    @classmethod
    def seen(cls, one: Breaker) -> "BreakerLine":
        return cls(
            tier=one.tier or None,
            state=one.state.value,
            kind=one.kind or None,
            until=one.free_at,
            reason=redact(one.reason) or None,
        )


class Reported(Output):
    provider: str
    tier: str | None
    model: str | None
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
    signal, spent = made.signal, made.spent
    return Reported(
        provider=spent.provider,
        tier=spent.tier or None,
        model=spent.model or None,
        counted=Counted(
            tokens=spent.counted,
            tokens_in=spent.tokens_in,
            tokens_out=spent.tokens_out,
            tokens_cached=spent.tokens_cached,
            cost=round(spent.cost, 6),
            settled=made.settled,
        ),
        budget=None if made.budget is None else Budget(**made.budget.shown()),
        classification=None
        if signal is None
        else Failure(
            kind=signal.kind.value,
            message=redact(signal.message),
            retry_after=signal.retry_after,
            resets_at=signal.resets_at,
        ),
        breaker=None if made.breaker is None else BreakerLine.seen(made.breaker),
        route=None if made.route is None else Route(**made.route.shown()),
        explanation=made.explanation,
        retry_after=made.retry_after,
    )
