"""What is simulated: the agents, the limits, how long work takes, and what goes wrong."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from random import Random

from wvo_mcp.domain.durations import Durations, learned
from wvo_mcp.domain.lease import Policy


def draw(durations: Durations, rng: Random, complexity: int) -> float:
    """Seconds, between the values that were seen."""
    values = durations.values[complexity]
    place = rng.random() * (len(values) - 1)
    low = int(place)
    return values[low] + (place - low) * (values[min(low + 1, len(values) - 1)] - values[low])


@dataclass(frozen=True, slots=True)
class PoolAgent:
    """A simulated agent; with `speed` 2 it needs half the time."""

    id: str
    capabilities: tuple[str, ...] = ()
    provider: str | None = None
    speed: float = 1.0


@dataclass(frozen=True, slots=True)
class Attempt:
    """How an attempt goes: `ends` is done, failed or killed."""

    ends: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Scenario:
    """Everything that the outcome depends on, apart from the plan and the order of its queue."""

    agents: tuple[PoolAgent, ...]
    policy: Policy
    durations: Durations = field(default_factory=lambda: learned([]))
    seed: int = 1
    failure: float = 0.05
    """Chance that an attempt fails: it is tried again with backoff while attempts are left."""
    death: float = 0.01
    """Chance that the agent's server is killed during an attempt: the lease ends after the grace."""
    away_seconds: float = 900.0
    """How long a killed agent stays away."""
    horizon: timedelta = timedelta(days=3_650)

    def attempt(self, rng: Random, task_id: str, token: int, complexity: int, speed: float) -> Attempt:
        """The same for every order of work: it depends on the seed, the task and the number of the attempt alone."""
        rng.seed(f"{self.seed}:{task_id}:{token}")
        seconds = max(1.0, draw(self.durations, rng, complexity) / speed)
        number = rng.random()
        if number < self.death:
            return Attempt("killed", seconds * rng.random())
        if number < self.death + self.failure:
            return Attempt("failed", seconds * rng.uniform(0.3, 1.0))
        return Attempt("done", seconds)


class VirtualClock:
    """`ports.Clock` that moves only by `move`."""

    def __init__(self, start: datetime) -> None:
        self._start = start
        self._now = start

    def now(self) -> datetime:
        return self._now

    def steady(self) -> float:
        return (self._now - self._start).total_seconds()

    def boot(self) -> str:
        return "simulation"

    def move(self, at: datetime) -> None:
        self._now = at


class VirtualServers:
    """`ports.Liveness`: every session's server lives until it is killed."""

    def __init__(self) -> None:
        self._gone: set[str] = set()

    def alive(self, session_id: str) -> bool:
        return session_id not in self._gone

    def kill(self, session_id: str) -> None:
        self._gone.add(session_id)
