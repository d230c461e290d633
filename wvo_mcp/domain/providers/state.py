"""What a decision looks at: what all servers share of the providers, what this machine knows of them, and the windows of their
budgets: how much of each is used, and when there is room again."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import cached_property

from wvo_mcp.domain.instant import instant
from wvo_mcp.domain.providers.breaker import Breaker
from wvo_mcp.domain.providers.catalogue import Catalogue, Limits, Mode, Place, Provider, Tier

MODE_FACT = "routing_mode"
"""The fact of the store that remembers the mode that was chosen."""


@dataclass(frozen=True, slots=True)
class Presence:
    """What this machine knows of a provider: `found` None when it was not looked for. `models` are those it offers.
    `logged_in`: is there a login or a key? None where only the provider could say."""

    found: bool | None = None
    models: frozenset[str] | None = None
    note: str = ""
    logged_in: bool | None = None


UNKNOWN = Presence()


@dataclass(frozen=True, slots=True)
class Use:
    """Of one provider and tier, or of an agent or a task: tokens within the last 60 minutes, tokens and US dollars of the
    day, attempts of the day, tokens reserved by attempts under way."""

    hour: int = 0
    day: int = 0
    cost: float = 0.0
    attempts: int = 0
    reserved: int = 0

    @property
    def reported(self) -> bool:
        """Was anything, today or within the hour?"""
        return bool(self.hour or self.day or self.cost)

    def __add__(self, other: "Use") -> "Use":
        return Use(
            self.hour + other.hour,
            self.day + other.day,
            self.cost + other.cost,
            self.attempts + other.attempts,
            self.reserved + other.reserved,
        )


NOTHING = Use()


@dataclass(frozen=True)
class RoutingState:
    """What all servers share, as of `now`. Raises are keyed (scope, name, period), names of tiers `provider/tier`.
    `unaffordable`: why caps in dollars forbid the asking pool a launch, by provider and tier."""

    now: datetime
    mode: Mode | None = None
    uses: Mapping[tuple[str, str], Use] = field(default_factory=dict[tuple[str, str], Use])
    breakers: Mapping[tuple[str, str], Breaker] = field(default_factory=dict[tuple[str, str], Breaker])
    raises: Mapping[tuple[str, str, str], int] = field(default_factory=dict[tuple[str, str, str], int])
    agent_id: str = ""
    agent: Use = NOTHING
    unaffordable: Mapping[tuple[str, str], str] = field(default_factory=dict[tuple[str, str], str])

    @cached_property
    def providers(self) -> dict[str, Use]:
        """Use of each provider, all tiers together."""
        sums: dict[str, Use] = {}
        for (provider, _), use in self.uses.items():
            sums[provider] = sums[provider] + use if provider in sums else use
        return sums


def uses_by_place(catalogue: Catalogue, state: RoutingState) -> dict[Place, Use]:
    """Use of all providers of the cloud, and of all that are local."""
    uses = dict.fromkeys(Place, NOTHING)
    for provider in catalogue.providers:
        uses[provider.place] += state.providers.get(provider.name, NOTHING)
    return uses


HOUR = "hour"
DAY = "day"
_MINUTE_COUNTS = timedelta(minutes=61)
"""From its beginning, until all of it is an hour old."""


@dataclass(frozen=True, slots=True)
class Window:
    """Tokens. `limit` includes what people `raised` it by; `reserved` by attempts under way."""

    scope: str
    name: str
    period: str
    limit: int
    raised: int
    used: int
    reserved: int
    reported: bool = True
    """False: nothing was reported today: what is used is not known."""
    resets_at: datetime | None = None
    """Of a day its end; of an hour the time at which all that is used now has left it, where that was looked up."""

    @property
    def key(self) -> tuple[str, str, str]:
        return self.scope, self.name, self.period

    @property
    def left(self) -> int:
        return max(0, self.limit - self.used - self.reserved)

    @property
    def share(self) -> float:
        """Of the limit that is used, reservations not counted."""
        return self.used / self.limit if self.limit else 1.0

    def has_room(self, estimate: int) -> bool:
        """One that is larger than the whole limit may begin while nothing is used."""
        taken = self.used + self.reserved
        return taken < self.limit and (taken == 0 or taken + estimate <= self.limit)


def windows_of(scope: str, name: str, limits: Limits, use: Use, state: RoutingState) -> list[Window]:
    """The windows of one scope that have a limit; hours without their `resets_at`."""
    found: list[Window] = []
    for period, limit, used in ((HOUR, limits.hourly, use.hour), (DAY, limits.daily, use.day)):
        if limit is not None:
            raised = state.raises.get((scope, name, period), 0)
            ends = midnight_after(state.now) if period == DAY else None
            found.append(Window(scope, name, period, limit + raised, raised, used, use.reserved, use.reported, ends))
    return found


def windows_of_provider(state: RoutingState, provider: Provider, tiers: Iterable[Tier]) -> list[Window]:
    """Of the provider, and of these of its tiers."""
    found = windows_of("provider", provider.name, provider.limits, state.providers.get(provider.name, NOTHING), state)
    for tier in tiers:
        use = state.uses.get((provider.name, tier.value), NOTHING)
        found += windows_of("tier", f"{provider.name}/{tier}", provider.tiers[tier].limits, use, state)
    return found


def windows_of_work(catalogue: Catalogue, state: RoutingState, task_id: str, used: Use) -> list[Window]:
    """Of the agent that asks, and of the task, which took so much so far."""
    agent = windows_of("agent", state.agent_id, catalogue.agent_limits, state.agent, state)
    return agent + windows_of("task", task_id, catalogue.task_limits, used, state)


def windows_of_providers(catalogue: Catalogue, state: RoutingState) -> list[Window]:
    """Of every provider and every tier of it, in the order of the file."""
    return [window for one in catalogue.providers for window in windows_of_provider(state, one, one.tiers)]


def midnight_after(now: datetime) -> datetime:
    """The end of the calendar day, UTC."""
    return now.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)


def tightest(windows: Iterable[Window]) -> Window | None:
    """The one of which the greatest share is taken."""
    return max(windows, key=lambda one: (one.used + one.reserved) / max(1, one.limit), default=None)


def free_at(window: Window, minutes: Sequence[tuple[str, int]], estimate: int, now: datetime) -> datetime | None:
    """The first moment at which the estimate has room, when nothing else is used until then; `now` when it has. None while
    reservations fill it, whose end is not known. `minutes` are (minute, tokens), oldest first."""
    if window.has_room(estimate):
        return now
    if window.period == DAY:
        return midnight_after(now) if replace(window, used=0).has_room(estimate) else None
    gone = 0
    for minute, tokens in minutes:
        gone += tokens
        if replace(window, used=max(0, window.used - gone)).has_room(estimate):
            return left_at(minute)
    return None


def left_at(minute: str) -> datetime:
    """When a minute (`2027-01-15T23:59`) leaves the sliding hour."""
    return instant(minute + ":00Z") + _MINUTE_COUNTS
