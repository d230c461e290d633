"""What a decision is asked, what it looks at, and what it answers."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from functools import cached_property
from typing import Any

from wvo_mcp.domain.providers.breaker import Breaker
from wvo_mcp.domain.providers.catalogue import Catalogue, Mode, Place, Provider, Tier
from wvo_mcp.domain.task import Task, TaskType

MODE_FACT = "routing_mode"
"""The fact of the store that remembers the mode that somebody chose."""


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


PASSING = frozenset({Why.MODE, Why.LOCALITY, Why.ABSENT, Why.BREAKER, Why.BUDGET})
"""What stands in the way now and may not later: the task waits. Otherwise nothing that is configured ever suits it, and
it is worked on without a route."""


@dataclass(frozen=True, slots=True)
class Presence:
    """What this machine knows of a provider: `found` None when it was not looked for. `models` are those it offers.
    `logged_in`: is somebody, or is there a key? None where that cannot be told without asking the provider."""

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
        sums: dict[str, list[Any]] = {}
        for (provider, _), use in self.uses.items():
            sum_ = sums.setdefault(provider, [0, 0, 0.0, 0, 0])
            sum_[0] += use.hour
            sum_[1] += use.day
            sum_[2] += use.cost
            sum_[3] += use.attempts
            sum_[4] += use.reserved
        return {provider: Use(*sum_) for provider, sum_ in sums.items()}


def uses_by_place(catalogue: Catalogue, state: RoutingState) -> dict[Place, Use]:
    """Use of all providers of the cloud, and of all that are local."""
    uses = dict.fromkeys(Place, NOTHING)
    for provider in catalogue.providers:
        uses[provider.place] += state.providers.get(provider.name, NOTHING)
    return uses


@dataclass(frozen=True, slots=True)
class Ask:
    """What is to be routed. `sticky` is who worked on the task before, `own` the kind of provider that the asking agent
    runs on, `used` what the task took so far. `running` work goes on whatever its budget says. `attached`: the agent
    does the work itself unless it may not; without `own` nobody knows what it runs on."""

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

    @classmethod
    def of(cls, task: Task, own: str | None = None, *, attached: bool = False) -> "Ask":
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
class Decision:
    """`reason` is one sentence for people; `withheld`: nothing may take the task now, and something may later."""

    chosen: Chosen | None
    reason: str
    tier: Tier
    mode: Mode
    rejected: tuple[Rejected, ...] = ()
    withheld: bool = False
    elsewhere: bool = True
    """The choice is an order: who asked does not do the work, or may not."""
    worker: tuple[str, str] | None = None
    """Provider and tier that do the work, as far as that is known: the attempt is theirs."""

    @property
    def until(self) -> datetime | None:
        """The soonest known time at which one of those that stand in the way is over."""
        times = [one.until for one in self.rejected if one.until is not None and one.why in PASSING]
        return min(times) if times else None
