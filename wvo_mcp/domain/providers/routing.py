"""Which model should do a task: one pure decision over the catalogue, what is known of the providers, and the task.

The same task and the same state give the same choice, on every server.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime

from wvo_mcp.domain.instant import iso
from wvo_mcp.domain.providers.asking import (
    NOTHING,
    PASSING,
    UNKNOWN,
    Ask,
    Chosen,
    Decision,
    Presence,
    Rejected,
    RoutingState,
    Why,
    uses_by_place,
)
from wvo_mcp.domain.providers.breaker import Verdict
from wvo_mcp.domain.providers.catalogue import Catalogue, Mode, Model, Place, Provider, Tier
from wvo_mcp.domain.providers.windows import in_the_way, tightest
from wvo_mcp.domain.task import TaskType

_FORBIDDING = frozenset({Why.CAPABILITY, Why.LOCALITY, Why.MODE, Why.BREAKER, Why.BUDGET})
"""What keeps a provider that is there from a task."""


@dataclass(frozen=True, slots=True)
class _Candidate:
    provider: Provider
    tier: Tier
    model: Model
    estimate: int
    cost: float
    probes: tuple[tuple[str, str], ...]


def decide(catalogue: Catalogue, presence: Mapping[str, Presence], state: RoutingState, ask: Ask) -> Decision:
    """The choice for one task, with what was rejected and why."""
    band = catalogue.band(ask.complexity)
    mode = state.mode or catalogue.mode
    wanted = frozenset(ask.capabilities) & catalogue.model_capabilities if ask.capabilities else frozenset[str]()
    at_home = not catalogue.local_labels.isdisjoint(ask.labels)
    candidates: list[_Candidate] = []
    rejected: list[Rejected] = []
    for provider in catalogue.providers:
        tier = provider.tier_for(band.tier)
        if tier is None:
            rejected.append(Rejected(provider.name, band.tier, Why.TIER, f"it has no tier {band.tier} or above"))
            continue
        refusal = _unfit(provider, tier, mode, wanted, presence.get(provider.name, UNKNOWN), ask, at_home=at_home)
        if refusal is not None:
            rejected.append(refusal)
            continue
        estimate = catalogue.estimates[tier]
        probes, refusal = _breakers(provider, tier, state, ask)
        refusal = refusal or _budget(catalogue, provider, tier, estimate, state, ask)
        if refusal is not None:
            rejected.append(refusal)
            continue
        model = provider.tiers[tier]
        cost = model.cost.of(estimate * 3 // 4, estimate // 4)
        candidates.append(_Candidate(provider, tier, model, estimate, cost, probes))
    own = [one for one in catalogue.providers if ask.attached and ask.is_own(one)]
    if not candidates:
        return _none(band.tier, mode, tuple(rejected), ask, own)
    mine = [one for one in candidates if one.provider in own]
    order = _Order(catalogue, presence, state, ask, mode, band.prefer, candidates)
    best = order.best(mine or candidates)
    reason = order.sentence(best, mine or candidates, rejected)
    chosen = Chosen(best.provider.name, best.tier, best.model.name, best.estimate, best.cost, best.probes)
    there = presence.get(best.provider.name, UNKNOWN).found is not False
    elsewhere, worker = True, (chosen.provider, chosen.tier.value)
    if ask.attached and own:
        elsewhere = not mine
        if elsewhere:
            worker = (own[0].name, own[0].tier_for(band.tier) or "") if len(own) == 1 else None
    elif ask.attached:
        elsewhere, worker = there and any(one.why in _FORBIDDING for one in rejected), None
    return Decision(chosen, reason, band.tier, mode, tuple(rejected), elsewhere=elsewhere, worker=worker)


def _unfit(
    provider: Provider, tier: Tier, mode: Mode, wanted: frozenset[str], seen: Presence, ask: Ask, *, at_home: bool
) -> Rejected | None:
    def no(why: Why, reason: str, *, lasting: bool = False) -> Rejected:
        return Rejected(provider.name, tier, why, reason, lasting=lasting)

    # An agent that asks is there, whatever this machine has, and may be of any program when it does not say of which.
    asking = ask.is_own(provider) or (ask.attached and ask.own is None and provider.place is Place.CLOUD)
    if not provider.enabled and not (ask.attached and ask.is_own(provider)):
        return no(Why.DISABLED, "it is turned off in providers.yaml")
    if wanted - provider.capabilities:
        return no(Why.CAPABILITY, f"it lacks {', '.join(sorted(wanted - provider.capabilities))}")
    if at_home and provider.place is Place.CLOUD:
        return no(Why.LOCALITY, "the task's data must stay on this machine")
    if mode is not Mode.HYBRID and mode.value != provider.place.value:
        return no(Why.MODE, f"the mode is {mode}")
    if seen.found is False and not asking:
        lasting = provider.place is Place.CLOUD
        return no(Why.ABSENT, seen.note or ("it is not here" if lasting else "it does not answer"), lasting=lasting)
    if seen.logged_in is False and not asking:
        return no(Why.ABSENT, "nobody is logged in to it", lasting=True)
    if seen.models is not None and not asking and provider.tiers[tier].name not in seen.models:
        return no(Why.ABSENT, f"it does not have the model {provider.tiers[tier].name}")
    return None


def _breakers(
    provider: Provider, tier: Tier, state: RoutingState, ask: Ask
) -> tuple[tuple[tuple[str, str], ...], Rejected | None]:
    probes: list[tuple[str, str]] = []
    for name in ("", tier.value):
        breaker = state.breakers.get((provider.name, name))
        if breaker is None:
            continue
        verdict = breaker.verdict(state.now, ask.task_id)
        if verdict is Verdict.STOP:
            until = breaker.free_at
            when = "" if until is None else f" until {_clock(until)}"
            kind = (breaker.kind or "failing").replace("_", " ")
            tried = "; one task tries it" if breaker.probe_task is not None else ""
            reason = f"its breaker is {breaker.state.replace('_', '-')}{when} ({kind}{tried})"
            return (), Rejected(provider.name, tier, Why.BREAKER, reason, until)
        if verdict is Verdict.PROBE:
            probes.append((provider.name, name))
    return tuple(probes), None


def _budget(
    catalogue: Catalogue, provider: Provider, tier: Tier, estimate: int, state: RoutingState, ask: Ask
) -> Rejected | None:
    if ask.running:
        return None
    for window in in_the_way(catalogue, state, provider, tier, ask.task_id or "", ask.used):
        if not window.has_room(estimate):
            whose = f"{window.scope} {window.name}"
            reason = f"the {window.period}'s budget of {whose} is used up ({window.limit:,} tokens)"
            return Rejected(provider.name, tier, Why.BUDGET, reason, window.resets_at)
    return None


def _room(catalogue: Catalogue, provider: Provider, tier: Tier, state: RoutingState) -> float:
    """What is left of the tightest window of a provider and its tier, 0 to 1."""
    windows = (one for one in in_the_way(catalogue, state, provider, tier) if one.scope in ("provider", "tier"))
    window = tightest(windows)
    return 1.0 if window is None else 1 - (window.used + window.reserved) / window.limit


class _Order:
    """What is better: first what must be kept to, then what was asked for, then what it costs."""

    def __init__(
        self,
        catalogue: Catalogue,
        presence: Mapping[str, Presence],
        state: RoutingState,
        ask: Ask,
        mode: Mode,
        prefer: tuple[str, ...],
        candidates: Collection[_Candidate],
    ) -> None:
        self._catalogue = catalogue
        self._presence = presence
        self._state = state
        self._ask = ask
        self._mode = mode
        self._prefer = prefer
        self._by_type = catalogue.types.get(ask.type)
        self._by_share = self._side(catalogue, state) if self._by_type is None and mode is Mode.HYBRID else None
        self._behind = self._lagging(catalogue, state)
        self._wanted = catalogue.band(ask.complexity).tier
        # Where somebody's price is not known, what a higher tier costs is told by its name alone.
        self._priced = all(one.cost or one.provider.place is Place.LOCAL for one in candidates)

    @staticmethod
    def _lagging(catalogue: Catalogue, state: RoutingState) -> frozenset[str]:
        """Providers that have a share of their own and not as much of the day's attempts."""
        wanted = [one for one in catalogue.providers if one.share is not None]
        if not wanted:
            return frozenset()
        done = {one.name: state.providers.get(one.name, NOTHING).attempts for one in catalogue.providers}
        total = max(1, sum(done.values()))
        return frozenset(one.name for one in wanted if 100 * done[one.name] < (one.share or 0) * total)

    @staticmethod
    def _side(catalogue: Catalogue, state: RoutingState) -> Place:
        """The place that is furthest behind its target."""
        done = {place: use.attempts for place, use in uses_by_place(catalogue, state).items()}
        total = sum(done.values())
        return max(Place, key=lambda place: catalogue.shares.get(place, 0) - 100 * done[place] / max(1, total))

    def best(self, candidates: list[_Candidate]) -> _Candidate:
        keys = [self._key(one) for one in candidates]
        least = min(keys)
        equals = [one for one, key in zip(candidates, keys, strict=True) if key == least]
        if len(equals) == 1:
            return equals[0]
        return min(
            equals,
            key=lambda one: (-round(_room(self._catalogue, one.provider, one.tier, self._state), 2), one.provider.name),
        )

    def _key(self, one: _Candidate) -> tuple[object, ...]:
        provider = one.provider
        higher = one.tier is not self._wanted
        return (
            self._ask.sticky is None or self._ask.sticky[0] != provider.name,
            # Right after its start a server has not looked yet, and most machines have no local models.
            provider.place is Place.LOCAL and self._presence.get(provider.name, UNKNOWN).found is None,
            provider.name not in self._prefer,
            self._mode is Mode.HYBRID and self._by_type is not None and provider.place is not self._by_type,
            not self._priced and higher,
            self._by_share is not None and provider.place is not self._by_share,
            provider.name not in self._behind,
            not self._ask.is_own(provider),
            self._presence.get(provider.name, UNKNOWN).found is False,
            round(one.cost, 4),
            higher,
        )

    def sentence(self, best: _Candidate, candidates: list[_Candidate], rejected: list[Rejected]) -> str:
        ask, provider = self._ask, best.provider
        because: list[str] = []
        if ask.sticky is not None and ask.sticky[0] == provider.name:
            because.append("it worked on this task before")
        if provider.name in self._prefer:
            because.append("it is preferred for this complexity")
        if self._mode is Mode.HYBRID and self._by_type is provider.place:
            because.append(f"{ask.type} goes {_to(provider.place)}")
        if self._by_share is provider.place:
            because.append(f"the share of {provider.place} work is behind its target")
        if provider.name in self._behind:
            because.append("it is behind its own share")
        if not because and ask.is_own(provider):
            because.append("the agent runs on it")
        if not because:
            others = len(candidates) - 1
            because.append(f"it is the best of {len(candidates)} that could" if others else "nothing else could")
        told = _FORBIDDING if ask.attached else (Why.BREAKER, Why.BUDGET)
        out = [f"{one.provider}: {one.reason}" for one in rejected if one.why in told]
        less = f"; not {'; not '.join(out[:3])}" if out else ""
        tried = " (it tries whether the provider has recovered)" if best.probes else ""
        return (
            f"{provider.name} {best.tier} for {_task(ask)} in {self._mode} mode,"
            f" because {' and '.join(because)}{tried}{less}."
        )


def _task(ask: Ask) -> str:
    kind = "" if ask.type is TaskType.OTHER else f"{ask.type} "
    return f"a {kind}task of complexity {ask.complexity}"


def _to(place: Place) -> str:
    return "to the cloud" if place is Place.CLOUD else "to local models"


def _none(tier: Tier, mode: Mode, rejected: tuple[Rejected, ...], ask: Ask, own: Collection[Provider] = ()) -> Decision:
    withheld = any(one.why in PASSING and not one.lasting for one in rejected)
    mine = {one.name for one in own}
    if mine and all(one.why is Why.TIER for one in rejected if one.provider in mine):
        withheld = False  # nobody better is here, and none is sure to come
    names = [f"{one.provider}: {one.reason}" for one in rejected if one.why in PASSING or not withheld]
    what = f"{_task(ask)} (tier {tier}) in {mode} mode"
    said = "; ".join(names[:5]) or "no provider is configured"
    return Decision(None, f"Nothing takes {what}: {said}.", tier, mode, rejected, withheld)


def _clock(at: datetime) -> str:
    return iso(at)[:16].replace("T", " ") + " UTC"
