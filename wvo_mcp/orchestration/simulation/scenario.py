"""What is simulated: the agents, the limits, how long work takes, and what goes wrong."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from random import Random
from typing import Any

from wvo_mcp.domain.durations import Durations, learned
from wvo_mcp.domain.lease import Policy
from wvo_mcp.domain.task import Origin, Status, Task
from wvo_mcp.orchestration.plan.roadmap import COLUMNS
from wvo_mcp.orchestration.tasks import lifecycle
from wvo_mcp.orchestration.tasks.editing import Draft, create
from wvo_mcp.ports import Transaction


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

    def attempt(self, rng: Random, task_id: str, token: int, complexity: int, speed: float) -> tuple[str, float]:
        """How it ends (done, failed or killed) and after how many seconds. The same for every order of work: it depends on the
        seed, the task and the number of the attempt alone."""
        rng.seed(f"{self.seed}:{task_id}:{token}")
        seconds = max(1.0, draw(self.durations, rng, complexity) / speed)
        number = rng.random()
        if number < self.death:
            return "killed", seconds * rng.random()
        if number < self.death + self.failure:
            return "failed", seconds * rng.uniform(0.3, 1.0)
        return "done", seconds


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


_COLUMNS = [*(name for name in COLUMNS if name != "parent_id"), "approved_at", "attempts", "expiries"]


@dataclass(frozen=True, slots=True)
class PlanRows:
    """Tasks by `seq`; edges are (task, what it depends on); `waits`: what blocked tasks wait for."""

    tasks: Sequence[Task]
    edges: Sequence[tuple[str, str]]
    epics: Sequence[Mapping[str, Any]]
    milestones: Sequence[Mapping[str, Any]]
    waits: Mapping[str, Sequence[str]]


async def rows(tx: Transaction) -> PlanRows:
    """All of the store."""
    tasks = await tx.state.roadmap_tasks()
    blocked = [task.id for task in tasks if task.status is Status.BLOCKED]
    return PlanRows(
        tasks=tasks,
        edges=await tx.state.dependency_edges(),
        epics=await tx.tasks.epics(),
        milestones=await tx.tasks.milestones(),
        waits={task_id: await tx.tasks.waits(task_id) for task_id in blocked},
    )


async def load(tx: Transaction, plan: PlanRows) -> None:
    """What is not done, into an empty store. Work in progress has not begun: its holders are no part of a simulation."""
    for epic in plan.epics:
        await tx.tasks.ensure_epic(epic["id"], epic["title"], epic["wip_limit"])
    for milestone in plan.milestones:
        await tx.tasks.put_milestone(milestone["id"], {"title": milestone["title"], "due_at": milestone["due_at"]})
    kept = {task.id: task for task in plan.tasks if task.status is not Status.DONE}
    depends_on: dict[str, list[str]] = {}
    for task_id, other in plan.edges:
        if other in kept:
            depends_on.setdefault(task_id, []).append(other)
    drafts: list[Draft] = []
    for task in kept.values():
        fields = {name: getattr(task, name) for name in _COLUMNS}
        parent_id = task.parent_id if task.parent_id in kept else None
        drafts.append(Draft(task.id, fields, depends_on.get(task.id, ()), parent_id))
    await create(tx, drafts, Origin.ROADMAP)
    for task in kept.values():
        if task.status not in (Status.PENDING, Status.IN_PROGRESS):
            begun = await tx.tasks.change(
                await tx.tasks.get(task.id), "task.claimed", {"status": Status.IN_PROGRESS}, {}
            )
            await lifecycle.move(tx, begun, task.status, f"task.{task.status}")
    for task_id, others in plan.waits.items():
        await tx.tasks.set_waits(task_id, [other for other in others if other in kept])
        await tx.graph.relinked(task_id, others)
