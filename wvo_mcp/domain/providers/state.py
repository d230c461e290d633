"""What a decision looks at: what all servers share of the providers, and what this machine knows of them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property

from wvo_mcp.domain.providers.breaker import Breaker
from wvo_mcp.domain.providers.catalogue import Catalogue, Mode, Place

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
    """What all servers share, as of `now`. Raises are keyed (scope, name, period), names of tiers `provider/tier`."""

    now: datetime
    mode: Mode | None = None
    uses: Mapping[tuple[str, str], Use] = field(default_factory=dict[tuple[str, str], Use])
    breakers: Mapping[tuple[str, str], Breaker] = field(default_factory=dict[tuple[str, str], Breaker])
    raises: Mapping[tuple[str, str, str], int] = field(default_factory=dict[tuple[str, str, str], int])
    agent_id: str = ""
    agent: Use = NOTHING

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
