"""What the store ought to hold, in plain Python and by brute force: the model that the real one is compared with."""

from collections.abc import Iterable
from copy import copy
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from wvo_mcp.domain.lease import Caller, Policy

SETTLED = ("done", "cancelled")
MAX_EXPIRIES = 3
"""The machine works with this instead of ten, so that a short run gets there."""

PRIORITY = {"critical": 15, "high": 10, "medium": 5, "low": 1}


class Refused(Exception):
    """The store must refuse the call with one of these codes, and change nothing."""

    def __init__(self, *codes: str) -> None:
        super().__init__(*codes)
        self.codes = codes


@dataclass
class ModelTask:
    id: str
    created_at: datetime
    epic: str | None = None
    milestone: str | None = None
    parent: str | None = None
    priority: str = "medium"
    complexity: int = 5
    business_value: float | None = None
    files: tuple[str, ...] = ()
    capabilities: tuple[str, ...] = ()
    requires_approval: bool = False
    approved: bool = False
    not_before: datetime | None = None
    kept_for: str | None = None
    kept_until: datetime | None = None
    max_attempts: int = 3
    depends_on: set[str] = field(default_factory=set[str])
    waits: set[str] = field(default_factory=set[str])
    by_person: bool = False
    status: str = "pending"
    block_author: str | None = None
    agent: str | None = None
    session: str | None = None
    token: int = 0
    until: datetime | None = None
    length: int = 0
    started_at: datetime | None = None
    attempts: int = 0
    expiries: int = 0
    claimed_by: set[str] = field(default_factory=set[str])
    alarming: bool = False
    """Blocked because its lease expired too often."""
    scored_since: int = 0
    """Index into the model's `times`: its worth was computed then or later."""
    score: float = 0.0
    """As read from the store, where it agreed with the formula."""
    seq: int = 0
    """As read from the store."""

    def copy(self) -> "ModelTask":
        other = copy(self)
        other.depends_on, other.waits, other.claimed_by = {*self.depends_on}, {*self.waits}, {*self.claimed_by}
        return other


@dataclass
class ModelSession:
    agent: str
    durable: bool
    capabilities: tuple[str, ...]
    recorded: bool = False
    ended: bool = False
    dead: bool = False


class World:
    """Tasks, sessions and agents. Methods change it as the contract says, or raise Refused half-way: work on a copy."""

    def __init__(self, now: datetime, policy: Policy) -> None:
        self.now = now
        self.policy = policy
        self.times = [now]
        self.tasks: dict[str, ModelTask] = {}
        self.epics: dict[str, int | None] = {}
        self.milestones: dict[str, datetime | None] = {}
        self.sessions: dict[str, ModelSession] = {}
        self.offline: dict[str, bool] = {}
        """By agent on record."""
        self.paused = False

    def copy(self) -> "World":
        """One that can be changed without changing this one; `deepcopy` would take most of a run's time."""
        other = copy(self)
        other.times = [*self.times]
        other.tasks = {name: task.copy() for name, task in self.tasks.items()}
        other.sessions = {name: copy(session) for name, session in self.sessions.items()}
        other.epics, other.milestones, other.offline = {**self.epics}, {**self.milestones}, {**self.offline}
        return other

    # What follows from the rest.

    def unmet(self, task: ModelTask) -> set[str]:
        return {other for other in task.depends_on if self.tasks[other].status != "done"}

    def open_children(self, task: ModelTask) -> set[str]:
        return {t.id for t in self.tasks.values() if t.parent == task.id and t.status not in SETTLED}

    def timed(self, task: ModelTask) -> bool:
        return task.not_before is not None and task.not_before > self.now

    def shut(self, task: ModelTask) -> bool:
        """By a gate that holds for everybody."""
        return self.timed(task) or (task.requires_approval and not task.approved) or bool(self.open_children(task))

    def kept(self, task: ModelTask) -> bool:
        return task.kept_until is not None and task.kept_until > self.now

    def kept_for(self, task: ModelTask, agent: str) -> bool:
        return self.kept(task) and (agent == task.kept_for or agent.startswith(f"{task.kept_for}."))

    def gated(self, task: ModelTask) -> bool:
        return self.shut(task) or self.kept(task)

    def ready(self, task: ModelTask) -> bool:
        return task.status == "pending" and not self.unmet(task) and not self.gated(task)

    def in_progress(self, **where: str | None) -> list[ModelTask]:
        found = [t for t in self.tasks.values() if t.status == "in_progress"]
        return [t for t in found if all(getattr(t, name) == value for name, value in where.items())]

    def weight_at(self, task: ModelTask, at: datetime) -> float:
        value = PRIORITY[task.priority] if task.business_value is None else task.business_value
        due = None if task.milestone is None else self.milestones[task.milestone]
        return value + (0.0 if due is None else 10 / (1 + max(0.0, (due - at).total_seconds() / 86_400) / 7))

    def possible_weights(self, task: ModelTask) -> set[float]:
        return {self.weight_at(task, at) for at in self.times[task.scored_since :]}

    def scored(self, tasks: Iterable[ModelTask]) -> None:
        """Their worth is computed at this moment."""
        for task in tasks:
            task.scored_since = len(self.times) - 1

    def ranked(self) -> list[ModelTask]:
        """Pending tasks with nothing unmet, best first, gated ones included."""
        queue = [t for t in self.tasks.values() if t.status == "pending" and not self.unmet(t)]
        return sorted(queue, key=lambda t: (-t.score, t.seq))

    def circular(self) -> bool:
        """Does some task wait for itself: by dependencies, children or waiting_for?"""
        waits = {
            t.id: t.depends_on | t.waits | {c.id for c in self.tasks.values() if c.parent == t.id}
            for t in self.tasks.values()
        }
        while True:
            free = [task_id for task_id, on in waits.items() if not on & waits.keys()]
            if not free:
                return bool(waits)
            for task_id in free:
                del waits[task_id]

    def full(self, epic: str | None) -> bool:
        limit = None if epic is None else self.epics[epic]
        return limit is not None and len(self.in_progress(epic=epic)) >= limit

    def get(self, task_id: str) -> ModelTask:
        if task_id not in self.tasks:
            raise Refused("not_found")
        return self.tasks[task_id]

    # Sessions and agents.

    def record(self, caller: Caller) -> None:
        session = self.sessions[caller.session_id]
        session.recorded = True
        session.ended = False
        if caller.agent_id in self.offline:
            self.offline[caller.agent_id] = False

    def end(self, session_id: str) -> None:
        session = self.sessions[session_id]
        if not session.recorded:
            return
        session.ended = True
        grace = self.now + timedelta(seconds=self.policy.grace_seconds)
        for task in self.in_progress(session=session_id):
            assert task.until is not None
            task.until = min(task.until, grace)
        others = [s for s in self.sessions.values() if s.agent == session.agent and s.recorded and not s.ended]
        if session.agent in self.offline and not others:
            self.offline[session.agent] = True

    def end_the_dead(self, own: str) -> bool:
        """Were there any that hold a task?"""
        held = {t.session for t in self.in_progress() if t.session is not None} - {own}
        fallen = {session_id for session_id in held if not self.sessions[session_id].ended and self.gone(session_id)}
        return bool(fallen)

    def reap(self, own: str) -> None:
        self.end_the_dead(own)
        for task in self.in_progress():
            assert task.until is not None
            if task.until <= self.now:
                self.expire(task)

    def gone(self, session_id: str) -> bool:
        """Has the session ended? A killed one is ended by whoever asks."""
        session = self.sessions[session_id]
        if not session.ended and session.dead and not session.durable:
            self.end(session_id)
        return session.ended

    # Moves.

    def move(self, task: ModelTask, to: str, author: str = "holder") -> set[str]:
        """The ids that became ready by it."""
        if to != "pending":
            task.kept_for = task.kept_until = None
        if task.status == "in_progress":
            task.session = None
            task.until = None
            if to not in ("done", "in_review"):
                task.agent = None
        elif task.status == "in_review" and to != "done":
            task.agent = None
        if task.status == "blocked":
            task.waits = set()
            task.alarming = False
        if task.status in SETTLED:
            self.scored([task])
        task.status = to
        task.block_author = author if to == "blocked" else None
        if to != "done":
            return set()
        unlocked: set[str] = set()
        for other in [t for t in self.tasks.values() if task.id in t.waits]:
            if all(self.tasks[wait].status == "done" for wait in other.waits):
                self.move(other, "pending")
                unlocked |= {other.id} if self.ready(other) else set()
        related = [t for t in self.tasks.values() if task.id in t.depends_on or t.id == task.parent]
        return unlocked | {t.id for t in related if self.ready(t)}

    def keep(self, task: ModelTask, agent: str, seconds: int) -> None:
        task.kept_for, task.kept_until = agent, self.now + timedelta(seconds=seconds)

    def expire(self, task: ModelTask) -> None:
        task.expiries += 1
        if task.expiries < MAX_EXPIRIES:
            self.move(task, "pending")
        else:
            self.move(task, "blocked", "policy")
            task.alarming = True

    def fail(self, task: ModelTask, retry: bool) -> None:
        task.attempts += 1
        if retry and task.attempts < task.max_attempts:
            self.move(task, "pending")
            task.not_before = self.now + timedelta(seconds=min(3_600, 30 * 2 ** (task.attempts - 1)))
        else:
            self.move(task, "failed")

    def block(self, caller: Caller, task: ModelTask, waiting_for: list[str]) -> None:
        for other in waiting_for:
            self.get(other)
        task.waits = set(waiting_for)
        if waiting_for and self.circular():
            raise Refused("dependency_cycle")
        if waiting_for and all(self.tasks[other].status == "done" for other in waiting_for):
            raise Refused("invalid_input")
        self.move(task, "blocked", "person" if caller.person else "holder")

    def recover(self, task: ModelTask) -> None:
        if task.status == "failed":
            task.attempts = 0
            task.not_before = None
        if task.status == "blocked" and task.expiries >= MAX_EXPIRIES:
            task.expiries = 0
        if task.status in SETTLED:
            task.agent = None
            task.started_at = None
        if task.status == "done":
            task.approved = False
        self.move(task, "pending")
