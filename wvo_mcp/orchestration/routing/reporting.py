"""What an attempt took and how its provider did: counted, settled, fed to the breakers, and routed again after a failure."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import islice
from pathlib import Path

from wvo_mcp.domain.lease import Caller, Policy
from wvo_mcp.domain.providers.breaker import Breaker
from wvo_mcp.domain.providers.catalogue import Catalogue, Place, Provider, ProviderKind, Tier
from wvo_mcp.domain.providers.routing import RouteDecision
from wvo_mcp.domain.providers.signals.reading import FailureKind, Message, Part, Reading, Signal, Usage, plain
from wvo_mcp.domain.providers.signals.reading import signal as said
from wvo_mcp.domain.providers.state import Window, tightest
from wvo_mcp.domain.redaction import redact
from wvo_mcp.domain.task import Status, Task
from wvo_mcp.domain.text import near
from wvo_mcp.errors import IllegalTransition, InvalidInput, NotFound, StaleLease
from wvo_mcp.orchestration.routing import breakers
from wvo_mcp.orchestration.routing.breakers import REROUTED, note
from wvo_mcp.orchestration.routing.budgets import refused
from wvo_mcp.orchestration.routing.router import Route, Router
from wvo_mcp.orchestration.routing.windows import empty_at, windows_now
from wvo_mcp.orchestration.tasks import lifecycle
from wvo_mcp.ports import Store, Transaction
from wvo_mcp.ports.providers import Providers, Spent, TaskRoute

_ELSEWHERE = frozenset({FailureKind.REFUSAL, FailureKind.CONTEXT})
"""The provider works, and will not do this: another may."""


@dataclass(frozen=True, slots=True)
class UsageReport:
    """A report as it came in. Tokens and cost None: not given. `outcome` ok, the value of a FailureKind, or None."""

    provider: str | None = None
    tier: str | None = None
    model: str | None = None
    task_id: str | None = None
    lease_token: int | None = None
    agent_id: str | None = None
    tokens_in: int | None = None
    tokens_out: int | None = None
    tokens_cached: int | None = None
    cost: float | None = None
    outcome: str | None = None
    exit_code: int | None = None
    http_status: int | None = None
    retry_after: float | None = None
    resets_at: datetime | None = None
    output: str = ""
    error: str = ""

    @property
    def usage(self) -> Usage | None:
        given = (self.tokens_in, self.tokens_out, self.tokens_cached)
        if all(one is None for one in given) and self.cost is None:
            return None
        return Usage(self.tokens_in or 0, self.tokens_out or 0, self.tokens_cached or 0, self.cost, self.model)

    @property
    def word_alone(self) -> bool:
        """That a provider is well, and nothing of a run."""
        run = (self.task_id, self.exit_code, self.http_status, self.usage)
        return self.outcome == "ok" and not self.output and all(one is None for one in run)


@dataclass(frozen=True, slots=True)
class Report:
    """What became of it. `spent` with the cost, as reported or by the file; `settled`: taken from the task's reservation."""

    spent: Spent
    settled: bool
    budget: Window | None
    classification: Signal | None
    breaker: Breaker | None
    route: Route | None
    explanation: str | None
    retry_after: int | None


async def report(tx: Transaction, policy: Policy, providers: Providers, given: UsageReport) -> Report:
    """Raises NotFound, InvalidInput."""
    task = None if given.task_id is None else await tx.tasks.get(given.task_id)
    held = None if task is None else await _held(tx, policy, task, given.lease_token)
    route = None if task is None else await tx.routing.route(task.id)
    # The attempt under way that the report is about: the caller's own, or the one whose token it names.
    token = given.lease_token if held is None else held.lease_token
    running = route if route is not None and route.ended_at is None and token == route.lease_token else None
    agent_id = given.agent_id or (tx.caller.agent_id if held is None else held.assigned_to or tx.caller.agent_id)
    router = Router(tx, providers, agent_id)
    provider = _provider(router, given, route, tx.caller.provider)
    tier = _tier(provider, given, route)
    mine = None if route is None or (route.provider, route.tier) != (provider.name, tier) else route
    model_of_tier = provider.tiers.get(Tier(tier)) if tier else None
    reading, signal = _read(provider, given, tx.now)
    usage = given.usage or reading.usage or Usage(0, 0)
    usual = mine.model if mine is not None else "" if model_of_tier is None else model_of_tier.name
    model = redact(plain(given.model or usage.model or usual))
    catalogue = router.catalogue or Catalogue(())
    tokens = (usage.tokens_in, usage.tokens_out, usage.tokens_cached)
    counted, cost = catalogue.counted(*tokens), usage.cost
    if cost is None:
        priced = next((one for one in provider.tiers.values() if one.name == model), model_of_tier)
        cost = 0.0 if priced is None else priced.cost.of(*tokens)
    source = "report" if given.usage is not None else "output"
    named = given.lease_token if running is None else running.lease_token
    spent = Spent(agent_id, provider.name, tier, model, counted, *tokens, cost, source, given.task_id, named)
    if counted or cost or (running is not None and running.worked != provider.name):
        await tx.routing.record(spent)
    well = reading.finished or (given.http_status is not None and 200 <= given.http_status < 300)
    succeeded = signal is None and (given.outcome == "ok" or (given.outcome is None and well))
    breaker = None
    answered = signal is not None and signal.kind is FailureKind.PERMISSION and reading.finished
    # Of an attempt that is not the present one: that one's trial is not its own.
    of_another = route is not None and given.lease_token not in (None, route.lease_token)
    attempt = None if of_another else given.task_id
    if signal is not None and not answered:
        breaker = await breakers.failure(tx, router, provider.name, tier, signal, attempt, running)
    elif tx.caller.person and given.word_alone:
        await breakers.reset_by_person(tx, provider.name, given.tier or "")
    elif succeeded or answered or usage.tokens_out:  # a run that was denied something heard its provider out
        await breakers.success(tx, provider.name, tier, attempt, running, ended=succeeded or answered)
    failure = {} if signal is None else {"failure": signal.kind.value, "message": redact(signal.message)}
    await note(tx, spent, **failure)
    decision, taken, until = None, None, None
    if held is not None and signal is not None:
        decision, taken = await _rerouted(tx, router, held, running, provider, signal)
        if decision is not None and decision.chosen is None:
            until = await refused(tx, router, decision, alert=True)
    return Report(
        spent,
        settled=running is not None and bool(counted),
        budget=await _budget(tx, catalogue, provider, tier, agent_id),
        classification=signal,
        breaker=breaker,
        route=taken,
        explanation=None if decision is None or taken is not None else decision.reason,
        retry_after=None if until is None else max(1, int((until - tx.now).total_seconds()) + 1),
    )


async def _held(tx: Transaction, policy: Policy, task: Task, token: int | None) -> Task | None:
    """The task, when the caller holds it."""
    if task.status is not Status.IN_PROGRESS:
        return None
    try:
        return await lifecycle.held(tx, policy, task.id, token)
    except (StaleLease, IllegalTransition):
        return None


def _provider(router: Router, given: UsageReport, route: TaskRoute | None, own: str | None) -> Provider:
    """By its name, or by its kind when there is but one; else that of the task's route when it
    is known to have run, else the caller's own."""
    catalogue = router.catalogue
    wanted = given.provider
    if catalogue is None:
        if route is not None and wanted in (None, route.provider):
            return _unknown(route.provider)
        raise InvalidInput("provider", f"it cannot be looked up: {router.problem or 'no provider is configured'}")
    if wanted is None:
        if route is not None and route.worked is not None:  # else the route was advice, and its program may never run
            return catalogue.provider(route.provider) or _unknown(route.provider)
        if own is None:
            names = ", ".join(one.name for one in catalogue.providers)
            raise InvalidInput("provider", f"is needed, because it is not known which program ran; one of {names}")
        wanted = own
    named = catalogue.provider(wanted)
    alike = [one for one in catalogue.providers if wanted in (one.kind.value, one.place.value)]
    if named is None and len(alike) > 1 and route is not None:
        named = next((one for one in alike if one.name == route.provider), None)
    if named is not None or len(alike) == 1:
        return named or alike[0]
    if alike:
        names = ", ".join(one.name for one in alike)
        raise InvalidInput("provider", f"{wanted} may be any of {names}: give the name")
    names = [one.name for one in catalogue.providers]
    hint = "Use a name of providers.yaml (provider_status)."
    raise NotFound("provider", wanted, near(wanted, names, 5) or names[:10], field="provider", hint=hint)


def _unknown(name: str) -> Provider:
    """One that the file no longer has, or that cannot be read of it: what it took is counted all the same."""
    return Provider(name, ProviderKind.OPENAI, Place.CLOUD, {})


def _tier(provider: Provider, given: UsageReport, route: TaskRoute | None) -> str:
    """As reported; else that of the model, of the route, or the only one; '' when it cannot be given: such usage counts for the
    provider alone. Raises InvalidInput."""
    if given.tier is not None:
        if provider.tiers and Tier(given.tier) not in provider.tiers:
            raise InvalidInput("tier", f"{provider.name} has {', '.join(provider.tiers)}")
        return given.tier
    for tier, model in provider.tiers.items():
        if given.model is not None and model.name == given.model:
            return tier.value
    if route is not None and route.provider == provider.name:
        return route.tier
    return next(iter(provider.tiers)).value if len(provider.tiers) == 1 else ""


def _read(provider: Provider, given: UsageReport, now: datetime) -> tuple[Reading, Signal | None]:
    """What was printed, and why it failed: what the caller says counts, else the answer's status, else what was printed, else
    the error."""
    # Late: these take part of a start, and are needed with the first report.
    from wvo_mcp.domain.providers.signals.output import read_output
    from wvo_mcp.domain.providers.signals.sentences import from_http, from_text

    reading = Reading()
    if given.output or given.exit_code is not None:
        reading = read_output(provider.kind, given.output.split("\n"), now, exit_code=given.exit_code)
    if given.outcome == "ok":
        return reading, None
    seen = reading.signal
    if given.http_status is not None:
        seen = from_http(given.http_status, given.error or given.output, now) or seen
    if seen is None and given.error:
        seen = from_text(given.error, now)
    if given.outcome is not None:
        kind = FailureKind(given.outcome)
        if seen is None:
            seen = said(kind, " ".join(redact(given.error).split()) or f"reported as {kind.value.replace('_', ' ')}")
        seen = replace(seen, kind=kind)
    if seen is not None:
        after = seen.retry_after if given.retry_after is None else given.retry_after
        seen = replace(seen, retry_after=after, resets_at=given.resets_at or seen.resets_at)
    return reading, seen


async def _rerouted(
    tx: Transaction, router: Router, task: Task, running: TaskRoute | None, provider: Provider, signal: Signal
) -> tuple[RouteDecision | None, Route | None]:
    """The next route of the task after a failure, taken when it is another. PERMISSION: the same, with other flags."""
    avoid = provider.name if signal.kind in _ELSEWHERE else None
    decision = await router.again(task, avoid)
    if decision is None or decision.chosen is None:
        return decision, None
    chosen = decision.chosen
    same = running is not None and (running.provider, running.tier) == (chosen.provider, chosen.tier.value)
    if same and not chosen.probes:
        return decision, Route.of(decision)
    route = await router.take(task, task.lease_token, decision)
    if not same:
        before = None if running is None else {"provider": running.provider, "tier": running.tier}
        after = {"provider": chosen.provider, "tier": chosen.tier.value}
        because = {"because": signal.kind.value, "reason": decision.reason}
        await tx.events.append(REROUTED, task.id, {"from": before, "to": after, **because})
    return decision, route


async def _budget(tx: Transaction, catalogue: Catalogue, provider: Provider, tier: str, agent_id: str) -> Window | None:
    """The tightest window that the report counts in."""
    mine = {("provider", provider.name), ("tier", f"{provider.name}/{tier}"), ("agent", agent_id)}
    found = await windows_now(tx, catalogue, agent_id)
    window = tightest(one for one in found if (one.scope, one.name) in mine)
    return None if window is None else replace(window, resets_at=await empty_at(tx, window))


_AT_ONCE = 500
"""Messages in one transaction, so that no claim waits for a long transcript."""


async def count_transcripts(
    store: Store, caller: Caller, providers: Providers, paths: Sequence[Path], read: Callable[[Path, int], Part]
) -> int:
    """Tokens that were counted now, for the caller's agent. `read` returns what a file has after a number of bytes."""
    await providers.refresh()
    try:
        catalogue = providers.current()
    except InvalidInput:  # what was used is counted all the same
        catalogue = Catalogue(())
    counted = 0
    for path in paths:
        transcript = hashlib.sha256(str(path).encode(errors="replace")).hexdigest()[:32]
        begin = await store.read(caller, lambda tx, name=transcript: tx.routing.read_until(name))
        try:
            messages = iter(read(path, begin).messages.values())
        except OSError:
            continue
        while part := list(islice(messages, _AT_ONCE)):
            counted += await store.write(caller, lambda tx, name=transcript, of=part: _count(tx, catalogue, name, of))
    return counted


async def _count(tx: Transaction, catalogue: Catalogue, transcript: str, messages: list[Message]) -> int:
    fresh = await tx.routing.count_once(transcript, {one.id: one.ends for one in messages})
    models: dict[str, list[Message]] = {}
    for one in messages:
        if one.id in fresh:
            models.setdefault(one.model, []).append(one)
    if not models:
        return 0
    held = await tx.queue.held_by_agent(tx.caller.agent_id)
    attempt = (held[0].id, held[0].lease_token) if len(held) == 1 else (None, None)
    # A transcript does not name the account: the first that is turned on.
    alike = [one for one in catalogue.providers if one.kind is ProviderKind.CLAUDE]
    provider = min(alike, key=lambda one: not one.enabled, default=None)
    total = 0
    for model, used in models.items():
        tokens_in, tokens_out = sum(one.tokens_in for one in used), sum(one.tokens_out for one in used)
        cached = sum(one.tokens_cached for one in used)
        tier, cost = "", 0.0
        for level, known in () if provider is None else provider.tiers.items():
            # The file may name the program's own word for a model: `opus` for `claude-opus-5`.
            if known.name == model or known.name in model.split("-"):
                tier, cost = level.value, known.cost.of(tokens_in, tokens_out, cached)
                break
        counted = catalogue.counted(tokens_in, tokens_out, cached)
        name = "claude" if provider is None else provider.name
        tokens = (counted, tokens_in, tokens_out, cached)
        spent = Spent(tx.caller.agent_id, name, tier, redact(model), *tokens, cost, "output", *attempt)
        await tx.routing.record(spent)
        await note(tx, spent, messages=len(used), **{"from": "transcript"})
        total += counted
    return total
