"""What is to be routed, and the decision."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from wvo_mcp.domain.providers.catalogue import Mode, Provider, Tier
from wvo_mcp.domain.providers.state import NOTHING, Use
from wvo_mcp.domain.providers.windows import Window
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


PASSING = frozenset({Why.MODE, Why.LOCALITY, Why.ABSENT, Why.BREAKER, Why.BUDGET})
"""Obstacles that may pass: the task waits. Otherwise nothing that is configured ever suits it, and
it is worked on without a route."""


@dataclass(frozen=True, slots=True)
class RouteRequest:
    """What is to be routed. `sticky` is who worked on the task before, `own` the kind of provider that the asking agent
    runs on, `used` what the task took so far. `running` work goes on whatever its budget says. `attached`: the agent
    does the work itself unless it may not; without `own` it is not known what it runs on."""

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
