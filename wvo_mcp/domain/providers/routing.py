"""Which model should do a task: one pure decision over the catalogue, what is known of the providers, and the task.

The same task and the same state give the same choice, on every server.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from wvo_mcp.domain.providers.breaker import Breaker, BreakerState, Verdict
from wvo_mcp.domain.providers.catalogue import Catalogue, Mode, Place, Provider, Tier
from wvo_mcp.domain.providers.crew import crew, part_of
from wvo_mcp.domain.providers.signals.reading import FailureKind
from wvo_mcp.domain.providers.state import (
    NOTHING,
    UNKNOWN,
    Presence,
    RoutingState,
    Use,
    Window,
    tightest,
    uses_by_place,
    windows_of_provider,
    windows_of_work,
)
from wvo_mcp.domain.task import Task, TaskType


class Why(StrEnum):
    """Why a candidate was rejected."""

    DISABLED = "disabled"
    TIER = "tier"
    CAPABILITY = "capability"
    MODE = "mode"
    LOCALITY = "locality"
    ABSENT = "absent"
    BREAKER = "breaker"
    BUDGET = "budget"
    MONEY = "money"
    """A cap in US dollars forbids a launch."""


PASSING = frozenset({Why.MODE, Why.LOCALITY, Why.ABSENT, Why.BREAKER, Why.BUDGET, Why.MONEY})
"""Obstacles that may pass: the task waits. Otherwise nothing that is configured ever suits it, and
it is worked on without a route."""


@dataclass(frozen=True, slots=True)
class RouteRequest:
    """What is to be routed. `sticky` is who worked on the task before, `own` the kind of provider that the asking agent
    runs on, `used` what the task took so far. `running` work goes on whatever its budget says. `attached`: the agent
    does the work itself unless it may not; without `own` it is not known what it runs on. `waiting`: a session of this
    provider waits to go on with it."""

    complexity: int
    type: TaskType
    capabilities: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    task_id: str | None = None
    sticky: tuple[str, str] | None = None
    own: str | None = None
    used: Use = NOTHING
    running: bool = False
    attached: bool = False
    waiting: str | None = None

    @classmethod
    def of(cls, task: Task, own: str | None = None, *, attached: bool = False) -> "RouteRequest":
        return cls(task.complexity, task.type, task.capabilities, task.labels, task.id, own=own, attached=attached)

    def is_own(self, provider: Provider) -> bool:
        return self.own is not None and self.own in (provider.name, provider.kind.value, provider.place.value)


@dataclass(frozen=True, slots=True)
class Rejected:
    provider: str
    tier: str
    why: Why
    reason: str
    until: datetime | None = None
    lasting: bool = False
    """Nothing is gained by waiting: a program that is not installed does not come by itself."""
    tried: bool = False
    """A probe runs: it may have its answer long before `until`."""
    full: tuple[Window, ...] = ()
    """The windows without room for the estimate, for a budget."""
    estimate: int = 0


@dataclass(frozen=True, slots=True)
class Chosen:
    """`estimate` in tokens, to be reserved; `probes` are the breakers (provider, tier) that this attempt tries out."""

    provider: str
    tier: Tier
    model: str
    estimate: int
    cost: float
    probes: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class RouteDecision:
    """`reason` is one sentence for people; `withheld`: nothing may take the task now, and something may later."""

    chosen: Chosen | None
    reason: str
    tier: Tier
    mode: Mode
    rejected: tuple[Rejected, ...] = ()
    withheld: bool = False
    elsewhere: bool = True
    """The choice is an order: the agent that claims does not do the work, or may not."""
    worker: tuple[str, str] | None = None
    """Provider and tier that do the work, as far as that is known: the attempt is theirs."""

    @property
    def until(self) -> datetime | None:
        """The soonest known end of an obstacle."""
        times = [one.until for one in self.rejected if one.until is not None and one.why in PASSING]
        return min(times) if times else None


_FORBIDDING = frozenset({Why.CAPABILITY, Why.LOCALITY, Why.MODE, Why.BREAKER, Why.BUDGET})
"""What keeps a provider that is there from a task."""


@dataclass(frozen=True, slots=True)
class _Candidate:
    """`room`: what is left of the tightest window of the provider and its tier, 0 to 1."""

    provider: Provider
    room: float
    choice: Chosen


_Preference = tuple[Callable[[_Candidate], bool], str]
"""What is better, and the words for it; empty for what needs no explanation."""


def decide(
    catalogue: Catalogue, presence: Mapping[str, Presence], state: RoutingState, request: RouteRequest
) -> RouteDecision:
    """The choice for one task, with what was rejected and why."""
    band = catalogue.band(request.complexity)
    mode = state.mode or catalogue.mode
    judged = [_judged(catalogue, presence.get(one.name, UNKNOWN), state, request, one) for one in catalogue.providers]
    candidates = [one for one in judged if isinstance(one, _Candidate)]
    rejected = tuple(one for one in judged if isinstance(one, Rejected))
    own = [one for one in catalogue.providers if request.attached and request.is_own(one)]
    if not candidates or _waits(catalogue, state, request, rejected):
        return _none(band.tier, mode, rejected, request, own)
    mine = [one for one in candidates if one.provider in own]
    wanted = _preferences(catalogue, presence, state, request, candidates)

    def order(one: _Candidate) -> tuple[object, ...]:
        unmet = [not holds(one) for holds, _ in wanted]
        choice = one.choice
        return (*unmet, round(choice.cost, 4), choice.tier is not band.tier, -round(one.room, 2), choice.provider)

    best = min(mine or candidates, key=order)
    because = [words for holds, words in wanted if words and holds(best)]
    chosen = best.choice
    reason = _sentence(chosen, because or [f"it is the best of {len(mine or candidates)}"], mode, request, rejected)
    elsewhere, worker = True, (chosen.provider, chosen.tier.value)
    if request.attached and own:
        elsewhere = not mine
        if elsewhere:
            worker = (own[0].name, own[0].tier_for(band.tier) or "") if len(own) == 1 else None
    elif request.attached:
        there = presence.get(best.provider.name, UNKNOWN).found is not False
        elsewhere, worker = there and any(one.why in _FORBIDDING for one in rejected), None
    return RouteDecision(chosen, reason, band.tier, mode, rejected, elsewhere=elsewhere, worker=worker)


def _waits(catalogue: Catalogue, state: RoutingState, request: RouteRequest, rejected: Collection[Rejected]) -> bool:
    """Is it better to wait for the provider whose session has begun the task than to begin anew with another? Not for a
    login, which only a person can give back."""
    whole = state.breakers.get((request.waiting or "", ""))
    if whole is not None and whole.kind == FailureKind.AUTH and whole.state is not BreakerState.CLOSED:
        return False
    stopped = [one for one in rejected if one.provider == request.waiting and one.why is Why.BREAKER]
    return any(one.until is not None and one.until - state.now <= catalogue.patience for one in stopped)


def _judged(
    catalogue: Catalogue, seen: Presence, state: RoutingState, request: RouteRequest, provider: Provider
) -> _Candidate | Rejected:
    """One provider: as a candidate for the task, or why it is none."""
    wanted = catalogue.band(request.complexity).tier
    tier = provider.tier_for(wanted)
    if tier is None:
        return Rejected(provider.name, wanted, Why.TIER, f"it has no tier {wanted} or above")
    unfit = _unfit(catalogue, provider, tier, state.mode or catalogue.mode, seen, request)
    if unfit is not None:
        return unfit
    probes: list[tuple[str, str]] = []
    for name in ("", tier.value):
        breaker = state.breakers.get((provider.name, name))
        verdict = Verdict.PASS if breaker is None else breaker.verdict(state.now, request.task_id)
        if breaker is not None and verdict is Verdict.STOP:
            return _stopped(provider, tier, breaker)
        if verdict is Verdict.PROBE:
            probes.append((provider.name, name))
    forbidden = state.unaffordable.get((provider.name, tier.value))
    if forbidden is not None:
        return Rejected(provider.name, tier, Why.MONEY, forbidden)
    estimate = catalogue.estimates[tier]
    windows = windows_of_provider(state, provider, [tier])
    work = windows_of_work(catalogue, state, request.task_id or "", request.used)
    full = [] if request.running else [one for one in windows + work if not one.has_room(estimate)]
    if full:
        first = full[0]
        used_up = f"the {first.period}'s budget of {first.scope} {first.name} is used up ({first.limit:,} tokens)"
        return Rejected(provider.name, tier, Why.BUDGET, used_up, first.resets_at, full=tuple(full), estimate=estimate)
    window = tightest(windows)
    room = 1.0 if window is None else 1 - (window.used + window.reserved) / max(1, window.limit)
    model = provider.tiers[tier]
    cost = model.cost.of(estimate * 3 // 4, estimate // 4)
    return _Candidate(provider, room, Chosen(provider.name, tier, model.name, estimate, cost, tuple(probes)))


def _unfit(
    catalogue: Catalogue, provider: Provider, tier: Tier, mode: Mode, seen: Presence, request: RouteRequest
) -> Rejected | None:
    def no(why: Why, reason: str, *, lasting: bool = False) -> Rejected:
        return Rejected(provider.name, tier, why, reason, lasting=lasting)

    lacking = [name for name in request.capabilities if name not in provider.capabilities]
    missing = catalogue.model_capabilities.intersection(lacking) if lacking else ()
    # An agent that asks is there, whatever this machine has, and may be of any program when it does not say of which.
    asking = request.is_own(provider) or (request.attached and request.own is None and provider.place is Place.CLOUD)
    if not provider.enabled and not (request.attached and request.is_own(provider)):
        return no(Why.DISABLED, "it is turned off in providers.yaml")
    if missing:
        return no(Why.CAPABILITY, f"it lacks {', '.join(sorted(missing))}")
    if provider.place is Place.CLOUD and not catalogue.local_labels.isdisjoint(request.labels):
        return no(Why.LOCALITY, "the task's data must stay on this machine")
    if mode is not Mode.HYBRID and mode.value != provider.place.value:
        return no(Why.MODE, f"the mode is {mode}")
    if asking:
        return None
    if seen.found is False:
        lasting = provider.place is Place.CLOUD
        return no(Why.ABSENT, seen.note or ("it is not here" if lasting else "it does not answer"), lasting=lasting)
    if seen.logged_in is False:
        return no(Why.ABSENT, "it has no login", lasting=True)
    if seen.models is not None and provider.tiers[tier].name not in seen.models:
        return no(Why.ABSENT, f"it does not have the model {provider.tiers[tier].name}")
    return None


def _stopped(provider: Provider, tier: Tier, breaker: Breaker) -> Rejected:
    until = breaker.free_at
    when = "" if until is None else f" until {until:%Y-%m-%d %H:%M} UTC"
    kind = (breaker.kind or "failing").replace("_", " ")
    tried = "; one task tries it" if breaker.probe_task is not None else ""
    reason = f"its breaker is {breaker.state.replace('_', '-')}{when} ({kind}{tried})"
    return Rejected(provider.name, tier, Why.BREAKER, reason, until, tried=breaker.state is BreakerState.HALF_OPEN)


def _preferences(
    catalogue: Catalogue,
    presence: Mapping[str, Presence],
    state: RoutingState,
    request: RouteRequest,
    candidates: Collection[_Candidate],
) -> list[_Preference]:
    """The weightiest first."""
    band = catalogue.band(request.complexity)
    hybrid = (state.mode or catalogue.mode) is Mode.HYBRID
    by_type = catalogue.types.get(request.type)
    attempts = {one.name: state.providers.get(one.name, NOTHING).attempts for one in catalogue.providers}
    total = max(1, sum(attempts.values()))
    by_share: Place | None = None
    if by_type is None and hybrid:  # the place that is furthest behind its target
        done = uses_by_place(catalogue, state)
        by_share = max(Place, key=lambda place: catalogue.shares.get(place, 0) - 100 * done[place].attempts / total)
    part, here = part_of(request.labels), {one.provider.name for one in candidates}
    by_part = None if part is None else crew([one for one in catalogue.providers if one.name in here]).get(part)
    # Where a price is not known, only its name says what a higher tier costs.
    priced = all(one.choice.cost or one.provider.place is Place.LOCAL for one in candidates)

    def found(one: _Candidate) -> bool | None:
        return presence.get(one.provider.name, UNKNOWN).found

    def is_behind(one: _Candidate) -> bool:
        share = one.provider.share
        return share is not None and 100 * attempts[one.provider.name] < share * total

    return [
        (
            lambda one: request.sticky is not None and request.sticky[0] == one.provider.name,
            "it worked on this task before",
        ),
        (lambda one: one.provider.name == by_part, f"it does {part} here"),
        # Right after its start a server has not looked yet, and most machines have no local models.
        (lambda one: one.provider.place is not Place.LOCAL or found(one) is not None, ""),
        (lambda one: one.provider.name in band.prefer, "it is preferred for this complexity"),
        (lambda one: hybrid and one.provider.place is by_type, f"{request.type} goes to {_PLACES.get(by_type)}"),
        (lambda one: priced or one.choice.tier is band.tier, ""),
        (lambda one: one.provider.place is by_share, f"the share of {by_share} work is behind its target"),
        (is_behind, "it is behind its own share"),
        (lambda one: request.is_own(one.provider), "the agent runs on it"),
        (lambda one: found(one) is not False, ""),
    ]


_PLACES = {None: "", Place.CLOUD: "the cloud", Place.LOCAL: "local models"}


def _sentence(
    chosen: Chosen, because: list[str], mode: Mode, request: RouteRequest, rejected: Collection[Rejected]
) -> str:
    shown = _FORBIDDING if request.attached else (Why.BREAKER, Why.BUDGET, Why.MONEY)
    others = "".join([f"; not {one.provider}: {one.reason}" for one in rejected if one.why in shown][:3])
    tries = " (it tries whether the provider has recovered)" if chosen.probes else ""
    to = f"{chosen.provider} {chosen.tier} for {_task(request)} in {mode} mode"
    return f"{to}, because {' and '.join(because)}{tries}{others}."


def _task(request: RouteRequest) -> str:
    kind = "" if request.type is TaskType.OTHER else f"{request.type} "
    return f"a {kind}task of complexity {request.complexity}"


def _none(
    tier: Tier, mode: Mode, rejected: tuple[Rejected, ...], request: RouteRequest, own: Collection[Provider]
) -> RouteDecision:
    withheld = any(one.why in PASSING and not one.lasting for one in rejected)
    mine = {one.name for one in own}
    if mine and all(one.why is Why.TIER for one in rejected if one.provider in mine):
        withheld = False  # none that is better is here, and none is sure to come
    names = [f"{one.provider}: {one.reason}" for one in rejected if one.why in PASSING or not withheld]
    reasons = "; ".join(names[:5]) or "no provider is configured"
    reason = f"No provider may do {_task(request)} (tier {tier}) in {mode} mode: {reasons}."
    return RouteDecision(None, reason, tier, mode, rejected, withheld)
