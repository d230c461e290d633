"""A day of traffic: who works, what there is to do, which providers there are, and what befalls these."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from random import Random

from wvo_mcp.domain.providers.catalogue import (
    TIERS,
    Catalogue,
    Cost,
    Limits,
    Model,
    Place,
    Provider,
    ProviderKind,
    Tier,
)
from wvo_mcp.domain.providers.routing import Presence
from wvo_mcp.domain.providers.signals import FailureKind, Signal
from wvo_mcp.domain.task import TaskType
from wvo_mcp.orchestration.simulation.scenario import VirtualClock
from wvo_mcp.ports.providers import Standing

DAY = timedelta(days=1)
_LOOK_SECONDS = 30
"""So old is what a server knows of local servers, at most."""
_COMPLEXITIES = (1, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 8, 9, 10)
_TYPES = {
    TaskType.GENERATION: 45,
    TaskType.PARSING: 10,
    TaskType.VALIDATION: 10,
    TaskType.REVIEW: 10,
    TaskType.OTHER: 25,
}
_BY_HOUR = (0, 0, 0, 0, 0, 1, 3, 6, 10, 12, 11, 8, 7, 10, 11, 9, 6, 4, 2, 1, 1, 0, 0, 0)
"""How much of the day's work comes in each hour."""


@dataclass(frozen=True, slots=True)
class Demand:
    """A task that comes `at` milliseconds of the day; `tokens` is what it really takes; `fails`: does its first attempt
    fail for a reason of its own?"""

    id: str
    at: int
    complexity: int
    type: TaskType
    labels: tuple[str, ...]
    tokens: int
    fails: bool


@dataclass(frozen=True, slots=True)
class Trouble:
    """What befalls a provider from `start` to `end`, in minutes of the day. An attempt that runs then, or begins then, ends
    `seconds` later with this failure, by this chance. `told`: the provider says when it is over."""

    provider: str
    kind: FailureKind
    start: int
    end: int
    seconds: float = 2.0
    chance: float = 1.0
    told: bool = False

    def during(self, at: int) -> bool:
        """`at` in milliseconds."""
        return self.start * 60_000 <= at < self.end * 60_000


@dataclass(frozen=True, slots=True)
class Helper:
    """One of the agents."""

    id: str
    provider: str | None


@dataclass(frozen=True, slots=True)
class Call:
    """An attempt that runs: `token` of its lease, `begun` in milliseconds of the day."""

    helper: Helper
    demand: Demand
    token: int
    provider: Provider
    tier: Tier
    number: int
    begun: int


@dataclass(frozen=True, slots=True)
class Day:
    """`speeds` in tokens per minute. An account refuses calls above `slack` times its hourly limit: that limit is its
    plan's, a little below which people stay; the daily one is what they want to spend."""

    start: datetime
    catalogue: Catalogue
    agents: tuple[Helper, ...]
    demands: tuple[Demand, ...]
    troubles: tuple[Trouble, ...]
    speeds: Mapping[tuple[str, Tier], int]
    seed: int
    slack: float = 1.1

    def struck(self, provider: str, at: int) -> Trouble | None:
        """What makes every call to the provider fail at this time."""
        return next((t for t in self.troubles if t.provider == provider and t.chance == 1.0 and t.during(at)), None)

    def fate(self, demand: Demand, provider: str, attempt: int, begins: int, ends: int) -> tuple[int, Trouble] | None:
        """When and by what an attempt is ended by its provider, if it is. Lots depend on the seed, the task, the attempt and
        the trouble alone."""
        first: tuple[int, Trouble] | None = None
        for number, trouble in enumerate(self.troubles):
            start, end = trouble.start * 60_000, trouble.end * 60_000
            if trouble.provider != provider or start >= ends or end <= begins:
                continue
            chance = Random(f"{self.seed}:{demand.id}:{attempt}:{number}")  # noqa: S311 - lots, not secrets
            if chance.random() >= trouble.chance:
                continue
            over = min(ends, end) if trouble.chance < 1 else max(begins, start)
            at = round(chance.uniform(max(begins, start), over)) + round(trouble.seconds * 1000)
            if first is None or at < first[0]:
                first = (at, trouble)
        return first

    def signal(self, trouble: Trouble) -> Signal:
        """What the provider says."""
        over = self.start + timedelta(minutes=trouble.end)
        return Signal(trouble.kind, f"{trouble.kind}", None, over if trouble.told else None, None)


def sample(seed: int, start: datetime, *, tasks: int = 700) -> Day:
    """30 agents, four providers, work in the day's hours, and everything that may go wrong in one day."""
    catalogue = _catalogue()
    kinds = ("claude",) * 12 + ("codex",) * 8 + ("gemini",) * 5 + (None,) * 5
    agents = tuple(Helper(f"agent-{number:02}", kind) for number, kind in enumerate(kinds, 1))
    return Day(start, catalogue, agents, _demands(seed, tasks, catalogue), _TROUBLES, _SPEEDS, seed)


def boundless(day: Day) -> Day:
    """The same without limits of the day."""
    providers = tuple(replace(one, limits=replace(one.limits, daily=None)) for one in day.catalogue.providers)
    return replace(day, catalogue=replace(day.catalogue, providers=providers))


_TROUBLES = (
    Trouble("claude", FailureKind.OUTAGE, 10 * 60, 12 * 60, seconds=30),
    Trouble("codex", FailureKind.RATE_LIMIT, 14 * 60 + 10, 15 * 60 + 25, told=True),
    Trouble("gemini", FailureKind.AUTH, 13 * 60, 14 * 60),
    Trouble("claude", FailureKind.CAPACITY, 8 * 60 + 20, 8 * 60 + 30, seconds=40, chance=0.7),
    Trouble("claude", FailureKind.CAPACITY, 15 * 60, 15 * 60 + 12, seconds=40, chance=0.7),
    Trouble("gemini", FailureKind.CAPACITY, 9 * 60 + 45, 9 * 60 + 52, seconds=40, chance=0.7),
    Trouble("claude", FailureKind.CAPACITY, 16 * 60 + 40, 16 * 60 + 48, seconds=40, chance=0.7),
    Trouble("ollama", FailureKind.OUTAGE, 0, 7 * 60, seconds=1),
    Trouble("ollama", FailureKind.OUTAGE, 11 * 60 + 30, 12 * 60 + 45, seconds=1),
    Trouble("ollama", FailureKind.OUTAGE, 16 * 60, 16 * 60 + 25, seconds=1),
    Trouble("ollama", FailureKind.OUTAGE, 22 * 60, 24 * 60, seconds=1),
)
_SPEEDS = {
    (name, tier): round(speed * part)
    for name, speed in (("claude", 5_500), ("codex", 5_000), ("gemini", 6_500), ("ollama", 3_000))
    for tier, part in zip(TIERS, (1.2, 1.0, 0.8), strict=True)
}


def _catalogue() -> Catalogue:
    def provider(
        name: str, kind: ProviderKind, place: Place, prices: tuple[tuple[float, float], ...], limits: Limits
    ) -> Provider:
        models = {
            tier: Model(f"{name}-{tier}", Cost(cost_in, cost_out, cost_in / 10))
            for tier, (cost_in, cost_out) in zip(TIERS, prices, strict=False)
        }
        return Provider(name, kind, place, models, limits=limits)

    def millions(hourly: int, daily: int | None = None) -> Limits:
        return Limits(hourly * 1_000_000, None if daily is None else daily * 1_000_000)

    cloud, local = Place.CLOUD, Place.LOCAL
    return Catalogue(
        (
            provider("claude", ProviderKind.CLAUDE, cloud, ((1, 5), (3, 15), (5, 25)), millions(6, 28)),
            provider("codex", ProviderKind.CODEX, cloud, ((0.5, 4), (1.5, 10), (4, 20)), millions(5, 20)),
            provider("gemini", ProviderKind.GEMINI, cloud, ((0.3, 2.5), (1.25, 10), (2, 12)), millions(4, 12)),
            provider("ollama", ProviderKind.OLLAMA, local, ((0, 0), (0, 0)), millions(2)),
        )
    )


def _demands(seed: int, count: int, catalogue: Catalogue) -> tuple[Demand, ...]:
    chance = Random(f"{seed}:day")  # noqa: S311 - lots, not secrets
    found: list[Demand] = []
    times = sorted(
        round((hour + chance.random()) * 3_600_000) for hour in chance.choices(range(24), weights=_BY_HOUR, k=count)
    )
    for number, at in enumerate(times, 1):
        complexity = chance.choice(_COMPLEXITIES)
        estimate = catalogue.estimates[catalogue.band(complexity).tier]
        tokens = round(estimate * min(2.5, max(0.3, chance.lognormvariate(-0.05, 0.4))))
        kind = chance.choices(tuple(_TYPES), weights=tuple(_TYPES.values()))[0]
        home = complexity <= 7 and chance.random() < 0.05
        labels = ("data:local",) if home else ()
        found.append(Demand(f"D{number:04}", at, complexity, kind, labels, tokens, chance.random() < 0.05))
    return tuple(found)


class DayProviders:
    """`ports.Providers` of that day's machine: it is looked for local servers every half minute."""

    def __init__(self, day: Day, clock: VirtualClock) -> None:
        self._day = day
        self._clock = clock
        self._local = [one.name for one in day.catalogue.providers if one.place is Place.LOCAL]

    async def refresh(self) -> None:
        """There is no file."""

    def current(self) -> Catalogue:
        return self._day.catalogue

    def problem(self) -> str | None:
        return None

    def unaccepted(self) -> str | None:
        return None

    def presence(self) -> Mapping[str, Presence]:
        seconds = int((self._clock.now() - self._day.start).total_seconds())
        looked = (seconds - seconds % _LOOK_SECONDS) * 1000
        return {name: Presence(found=self._day.struck(name, looked) is None) for name in self._local}

    async def look(self) -> None:
        """Nothing changes by it: it is looked all the time."""

    async def examine(self, provider: Provider) -> Standing:
        return Standing(provider.name, None, None, None, "simulated")
