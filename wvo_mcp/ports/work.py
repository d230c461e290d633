"""Tasks, their queue, their graph, and the plan as a whole, within one transaction."""

# pyright: reportReturnType=false

from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple, Protocol

from wvo_mcp.domain.task import Status, Task

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class ClaimState:
    """How things stand for a claim, in one look."""

    holding: int
    """Tasks that the agent has in progress."""
    in_progress: int
    """Tasks that anybody has in progress."""
    paused: bool
    overdue: bool
    """A lease has run out, or the time of a not-before or of what is kept has come."""
    kept: bool = False
    """Is a task kept for the agent?"""
    addressed: bool = False
    """Does a message wait for whoever holds a task next?"""


@dataclass(frozen=True, slots=True)
class Outline:
    """Of a ready task what tells whether there are means for it. `cursor`, its position in the order of the queue, is opaque
    JSON; `lane` as `QueueRepository.pick` hands it out."""

    id: str
    cursor: tuple[Any, ...]
    complexity: int
    labels: tuple[str, ...]
    capabilities: tuple[str, ...]
    gates: int
    lane: Row


class TaskRepository(Protocol):
    """Tasks with their dependencies, epics and milestones. Kept counters follow from every change made here."""

    async def find(self, task_id: str) -> Task | None: ...

    async def get(self, task_id: str, field: str = "task_id") -> Task:
        """Raises NotFound with near matches, naming `field`."""

    async def known(self, task_ids: Iterable[str]) -> set[str]:
        """Those of the ids that exist."""

    async def statuses(self, task_ids: Iterable[str]) -> dict[str, Status]:
        """Those of the tasks that exist."""

    async def near(self, wanted: str) -> list[str]:
        """Up to five existing ids that look like `wanted`, best first. Bounded work at any size of store."""

    async def add(self, fields: Mapping[str, Any]) -> Task:
        """Insert a task; columns not given take their defaults. Labels are indexed."""

    async def change(self, task: Task, kind: str, fields: Mapping[str, Any], data: Mapping[str, Any]) -> Task:
        """Write the columns, raise version, append an event of `kind` with `data`. Statuses pass `check_move` first.

        Counters, lanes, the agent's row and parents follow. Raises IllegalTransition.
        """

    async def dependencies(self, task_id: str) -> list[Row]:
        """{id, status, title} of what it waits for, by id."""

    async def dependents(self, task_id: str, limit: int) -> list[Row]:
        """{id, status, unmet_deps, gates} of those that wait for it directly, by id, at most `limit`."""

    async def unmet(self, task_id: str) -> list[str]:
        """Ids of its dependencies that are not done."""

    async def add_dependencies(self, task_id: str, on: Sequence[str]) -> None:
        """Insert the edges that are new and keep `unmet_deps` of the task right."""

    async def remove_dependencies(self, task_id: str, on: Sequence[str]) -> None: ...

    async def settle_dependents(self, task_id: str, *, done: bool) -> None:
        """The task became done (or, with False, no longer is): every direct dependent counts one less (or more)."""

    async def open_children(self, task_id: str) -> list[str]: ...

    async def below(self, task_id: str) -> dict[str, str]:
        """Its parts, and theirs: the origin of each by its id."""

    async def waits(self, task_id: str) -> list[str]:
        """Not yet done tasks that a blocked task waits for."""

    async def set_waits(self, task_id: str, on: Sequence[str]) -> None: ...

    async def ensure_epic(self, epic_id: str, title: str | None = None, wip_limit: int | None = None) -> bool:
        """True when it was new; an existing one is left as it is."""

    async def epic(self, epic_id: str) -> Row | None:
        """{id, title, wip_limit, in_progress}."""

    async def change_epic(self, epic_id: str, fields: Mapping[str, Any]) -> None: ...

    async def epics(self) -> list[Row]: ...

    async def milestones(self) -> list[Row]: ...

    async def milestone(self, milestone_id: str) -> Row | None:
        """{id, epic_id, title, due_at}."""

    async def near_milestones(self, wanted: str) -> list[str]: ...

    async def put_milestone(self, milestone_id: str, fields: Mapping[str, Any]) -> None: ...

    async def of_milestone(self, milestone_id: str) -> list[str]: ...

    async def page(self, where: Mapping[str, Any], after: int, limit: int) -> list[Task]:
        """Tasks by `seq`, beginning behind `after`; `where` has any of status, epic_id,
        milestone_id, label, agent_id, query."""

    async def latest(self, where: Mapping[str, Any], before: int | None, limit: int) -> list[Task]:
        """As `page`, newest first, those before this seq."""

    async def statuses_of(self, where: Mapping[str, Any], limit: int) -> list[tuple[int, Status]]:
        """(seq, status) of the first of a page, in order of creation."""

    async def numbered(self, seqs: Sequence[int]) -> list[Task]:
        """Those with these seqs, in order of creation."""

    async def count(self, where: Mapping[str, Any], limit: int) -> int:
        """How many match, counted up to `limit`."""

    async def counts(self) -> dict[str, int]:
        """Kept counters: one per status, and `ready` (pending with no unmet dependency)."""


class QueueRepository(Protocol):
    """The ready queue and the leases."""

    async def ready(self, epics: Collection[str] | None, limit: int, skip: int = 0) -> list[Task]:
        """Pending tasks with no unmet dependency, best first, gated ones included, behind the first `skip`; of all epics
        and of none, or of the named ones."""

    async def outlines(
        self, epics: Collection[str] | None, limit: int, behind: Sequence[Any] | None = None
    ) -> list[Outline]:
        """The same tasks as `ready` in outline, behind a place in the order: its cost does not grow with what is
        before it."""

    async def waiting(self, epics: Collection[str] | None, limit: int, skip: int = 0) -> list[Task]:
        """Pending tasks with unmet dependencies, best first, behind the first `skip`."""

    async def pick(self, fits: Callable[[Row], Awaitable[bool]], epics: Collection[str] | None = None) -> Task | None:
        """The best task that no gate holds back, of a lane that `fits`, and of the named epics. A lane
        {id, epic_id, capabilities, files} is a set of tasks that the same circumstances shut out; each is asked for once
        at most."""

    async def prefetch_reads(self, agent_id: str) -> None:
        """A claim of this agent begins: `claim_state` and `pick` come next, and may be asked of the database at once."""

    async def claim_state(self, agent_id: str) -> ClaimState:
        """What a claim of this agent asks first."""

    async def kept(self, agent_id: str) -> list[Task]:
        """What is kept for the agent and could be claimed, best first, at most 20."""

    async def open_gates(self) -> None:
        """Lift the not-before gate, and that of what is kept, of every task whose time has come."""

    async def expired(self, *, lock: bool = False) -> list[Task]:
        """Tasks in progress whose lease has run out; `lock` passes over rows that others have locked."""

    async def held_sessions(self) -> list[str]:
        """Sessions, not yet ended and not durable, that have a task in progress."""

    async def held_by_agent(self, agent_id: str) -> list[Task]: ...

    async def holding(self, agent_id: str) -> int:
        """How many tasks the agent has in progress."""

    async def held_by_session(self, session_id: str) -> list[Task]: ...

    async def scopes(self) -> list[Row]:
        """{id, files} of the tasks that name files and are in progress, or whose work is about to land."""

    async def orphan_of(self, agent_id: str) -> Task | None:
        """The oldest task in progress of this agent whose session has ended."""

    async def renew(self, session_id: str) -> int:
        """Every live lease of the session gets its full length again; how many."""

    async def cut(self, session_id: str, grace_seconds: int) -> int:
        """No lease of the session lasts longer than the grace from now; how many were cut."""

    async def next_change(self) -> datetime | None:
        """When the next lease or not-before ends, or the time of what is kept."""


class GraphRepository(Protocol):
    """Whole-graph questions; bounded, so that no call takes long at any size."""

    async def path(self, start: str, goal: str) -> list[str] | None:
        """A way from `start` to `goal` along what is waited for (dependencies, open children, waiting_for)."""

    @property
    def step(self) -> int:
        """The step of the longest path's q that scores are made with."""

    async def added(self, task_ids: Sequence[str]) -> None:
        """New tasks are there with their edges: score them, and what they wait for."""

    async def opened(self, task_id: str) -> None:
        """A task was done or cancelled and is open again."""

    async def finished(self, task: Task) -> tuple[list[str], list[str]]:
        """The task became done, and its dependents know. Which of them are ready by it, best first; and which blocked tasks
        waited for nothing else."""

    async def cancelled(self, task: Task) -> None: ...

    async def relinked(self, task_id: str, others: Sequence[str]) -> None:
        """The task has come to wait for the others, or no longer waits for them."""

    async def moved(self, task_id: str, parents: Collection[str]) -> None:
        """The task has another parent; `parents` are the one that it had and the one that it has."""

    async def rescore(self, task_ids: Sequence[str]) -> None:
        """The worth or size of these tasks has changed, or a due date."""

    async def refresh(self, limit: int) -> int:
        """Recompute up to `limit` marked tasks; how many are still marked."""

    async def stale(self) -> bool:
        """Is any task marked, or has any score to follow the path's step?"""

    async def rescore_due(self, after: str | None, limit: int) -> str | None:
        """Rescore open tasks that time made more urgent; where to go on (to be given as `after`), or None at the end."""


class OpenRow(NamedTuple):
    """A task that is neither done nor cancelled, as its columns have it; times as ISO text."""

    id: str
    parent_id: str | None
    epic_id: str | None
    milestone_id: str | None
    status: str
    priority: str
    complexity: int
    business_value: float | None
    not_before: str | None
    started_at: str | None
    score: float
    seq: int


class OutlookRepository(Protocol):
    """The whole plan, in parts of a bounded size, so that no caller waits behind a long transaction."""

    async def last_seq(self) -> int: ...

    async def open_tasks(self, after: int, until: int) -> list[OpenRow]:
        """Those with a `seq` behind `after` and up to `until`."""

    async def edges(self, after: tuple[str, str], limit: int) -> list[tuple[str, str]]:
        """(task, what it depends on), in this order, behind `after`."""

    async def waits(self) -> list[tuple[str, str]]:
        """(blocked task, what it waits for)."""

    async def cancelled(self) -> set[str]: ...

    async def finished(self, limit: int) -> list[tuple[int, str, str]]:
        """(complexity, started_at, finished_at) of done tasks that an agent had claimed, newest tasks first."""

    async def titles(self, task_ids: list[str]) -> dict[str, str]: ...


@dataclass(frozen=True, slots=True)
class Prefetched:
    """A task that could be claimed when the leader last looked, and since when it is in the queue."""

    task_id: str
    queued_at: datetime


class PrefetchRepository(Protocol):
    async def entries(self) -> list[str]:
        """The ids of the queue, best first."""

    async def current(self) -> list[Prefetched]:
        """The entries that are still ready, best first: a leader that has ended takes nothing out any more."""

    async def replace(self, task_ids: Sequence[str]) -> None:
        """The queue is these from now on, in this order; what stays keeps its age."""

    async def capabilities(self, limit: int) -> list[frozenset[str]]:
        """What each agent that is there can do, those heard last."""
