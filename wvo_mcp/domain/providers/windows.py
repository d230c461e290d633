"""Budgets as people read them: how much of which window is used, and when there is room again."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from wvo_mcp.domain.instant import instant, iso
from wvo_mcp.domain.providers.catalogue import Catalogue, Limits, Provider, Tier
from wvo_mcp.domain.providers.state import NOTHING, RoutingState, Use

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

    def shown(self) -> dict[str, Any]:
        return {
            "scope": self.scope,
            "name": self.name,
            "period": self.period,
            "used": self.used,
            "reserved": self.reserved,
            "limit": self.limit,
            "raised": self.raised,
            "left": self.left,
            "reported": self.reported,
            "resets_at": None if self.resets_at is None else iso(self.resets_at),
        }


def windows_of(scope: str, name: str, limits: Limits, use: Use, state: RoutingState) -> list[Window]:
    """The windows of one scope that have a limit; hours without their `resets_at`."""
    found: list[Window] = []
    for period, limit, used in ((HOUR, limits.hourly, use.hour), (DAY, limits.daily, use.day)):
        if limit is not None:
            raised = state.raises.get((scope, name, period), 0)
            ends = midnight_after(state.now) if period == DAY else None
            found.append(Window(scope, name, period, limit + raised, raised, used, use.reserved, use.reported, ends))
    return found


def in_the_way(
    catalogue: Catalogue, state: RoutingState, provider: Provider, tier: Tier, task_id: str = "", used: Use = NOTHING
) -> list[Window]:
    """All windows that an attempt must have room in; of the task, `used` is what it took so far."""
    name, both = provider.name, f"{provider.name}/{tier}"
    of_tier = state.uses.get((name, tier.value), NOTHING)
    return [
        *windows_of("provider", name, provider.limits, state.providers.get(name, NOTHING), state),
        *windows_of("tier", both, provider.tiers[tier].limits, of_tier, state),
        *windows_of("agent", state.agent_id, catalogue.agent_limits, state.agent, state),
        *windows_of("task", task_id, catalogue.task_limits, used, state),
    ]


def windows_of_providers(catalogue: Catalogue, state: RoutingState) -> list[Window]:
    """Of every provider and every tier of it, in the order of the file."""
    found: list[Window] = []
    for provider in catalogue.providers:
        use = state.providers.get(provider.name, NOTHING)
        found += windows_of("provider", provider.name, provider.limits, use, state)
        for tier, model in provider.tiers.items():
            use = state.uses.get((provider.name, tier.value), NOTHING)
            found += windows_of("tier", f"{provider.name}/{tier}", model.limits, use, state)
    return found


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
