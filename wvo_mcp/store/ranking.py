"""How scores are kept (contract, section 4): one algorithm over few reads and writes, of which each kind of store has its own.

A change makes anew the bundles of what it touches, and then of what stands above, nearest first: a task tells those that it
waits for only when its bundle has moved by more than `DEAF` since it last told them, or its longest path has changed. What
exceeds the budget is marked, and the leader goes on from the marks. A completion makes anew only what shares a dependent
with the finished task, and tells nobody. When the path takes another step, the scores of what waits for no dependency
follow, a stretch of tasks at a time; others follow when they become ready.
"""

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from wvo_mcp.domain.dependency import in_order
from wvo_mcp.domain.task import Task
from wvo_mcp.domain.wsjf import MOST_AWAITED, TAIL_CAP, Dependent, bundle, path_step, score

DEAF = 0.05
"""A bundle that moved by no more than this part is not told upward."""
DATED = 0.02
"""A task that time made more urgent by no more than this part of its worth is left as it is."""
BUDGET = 1_000
"""A change makes at most so many tasks anew beside those that it names."""
STRETCH = 1_000
"""So many tasks, by order of creation, are looked at in one transaction after the path took a step."""

SHARED = tuple(1 << n for n in range(MOST_AWAITED.bit_length()))
"""A task that waits for so many is shared among fewer than with one more."""


@dataclass(slots=True)
class Node:
    """An open task and what is kept of it; `weight` and `size` are its own, `value` and `extent` those of its bundle."""

    id: str
    seq: int
    weight: float
    size: int
    awaits: int
    value: float
    extent: float
    heard_value: float
    heard_size: float
    tail: int
    score: float

    @property
    def kept(self) -> tuple[float, ...]:
        return (self.value, self.extent, self.heard_value, self.heard_size, self.tail, self.score)


class Ear(NamedTuple):
    """An open dependent, as those above it know it."""

    id: str
    seq: int
    heard_value: float
    heard_size: float
    awaits: int
    tail: int


@dataclass(slots=True)
class Below:
    """The open dependents of a task; of a crowd only the best, and the longest tail of all, as they were at the read."""

    best: list[Ear] = field(default_factory=list[Ear])
    tail: int = 0


class Scored(NamedTuple):
    """What the score of an open task is made of."""

    id: str
    awaits: int
    value: float
    extent: float
    tail: int
    score: float
    seq: int = 0
    ready: bool = False
    """It waited for a task just finished by a dependency, and nothing holds it back any more."""
    freed: bool = False
    """It was blocked, and all that it waited for is done."""


@dataclass(slots=True)
class Pace:
    """What all scores of a store have in common: so many agents may work at once, and the step of the path's q."""

    agents: int
    step: int
    rescored: int
    """Scores of tasks up to this `seq` follow the present step; -1 when all do."""


class Ranking(ABC):
    """The part of `ports.GraphRepository` that keeps scores."""

    budget: int = BUDGET
    stretch: int = STRETCH

    @property
    @abstractmethod
    def pace(self) -> Pace: ...

    @property
    def step(self) -> int:
        return self.pace.step

    # What a store reads and writes.

    @abstractmethod
    def nodes(self, ids: Sequence[str]) -> list[Node]:
        """Those of the tasks that are open."""

    @abstractmethod
    def below(self, ids: Sequence[str]) -> Mapping[str, Below]:
        """By task, where there is anything below."""

    @abstractmethod
    def awaited(self, ids: Sequence[str]) -> list[tuple[str, str]]:
        """(task, open task that it waits for): dependencies, children, and of a blocked one what it waits for."""

    def sharing(self, ids: Sequence[str]) -> list[str]:
        """Open tasks that these wait for, but for those whose bundle holds none of them, however it is shared."""
        return self._above(ids)

    @abstractmethod
    def users(self, ids: Sequence[str]) -> list[tuple[str, str, int]]:
        """(task, open dependent of it, number of open tasks that this one waits for)."""

    @abstractmethod
    def behind(self, task: Task) -> tuple[list[Scored], int]:
        """Open dependents of a task just finished, as far as they were blocked, wait for no dependency any more or for as many
        tasks as one of `SHARED`; and the complexity of all open tasks."""

    @abstractmethod
    def between(self, after: int, until: int) -> tuple[list[Scored], bool]:
        """Open tasks with no unmet dependency and `after` < seq <= `until`, and whether any task comes later."""

    @abstractmethod
    def open_size(self) -> int:
        """The complexity of all open tasks."""

    @abstractmethod
    def keep(self, nodes: Sequence[Node], telling: Sequence[Node]) -> None:
        """`telling` are those of them that the tasks above are to know otherwise than before."""

    @abstractmethod
    def keep_scores(self, scores: Sequence[tuple[str, float]]) -> None: ...

    @abstractmethod
    def keep_pace(self) -> None: ...

    @abstractmethod
    def mark(self, ids: Collection[str]) -> None: ...

    # Changes.

    async def added(self, task_ids: Sequence[str]) -> None:
        new = set(task_ids)
        below: dict[str, list[str]] = {one: [] for one in reversed(task_ids)}
        joined: dict[str, int] = {}
        for one, user, _ in self.users(task_ids):
            if user in new:
                below[one].append(user)
            else:
                joined[user] = joined.get(user, 0) + 1
        self._follow_pace(self.open_size())
        self._spread(in_order(below), self._sharing(joined))

    async def opened(self, task_id: str) -> None:
        self._follow_pace(self.open_size())
        sharing = [user for _, user, awaits in self.users([task_id]) if awaits - 1 in SHARED]
        self._spread([task_id], self._above([task_id, *sharing]))

    async def finished(self, task: Task) -> tuple[list[str], list[str]]:
        behind, open_size = self.behind(task)
        self._follow_pace(open_size)
        fresh = self._keep_scores(behind)
        if changed := [one.id for one in behind if one.awaits in SHARED]:
            self._renew(self.sharing(changed))
        if task.unmet_deps or task.open_children:
            self._spread([], self._above([task.id]))
        ready = sorted((one for one in behind if one.ready), key=lambda one: (-fresh[one.id], one.seq))
        return [one.id for one in ready], sorted(one.id for one in behind if one.freed)

    async def cancelled(self, task: Task) -> None:
        self._follow_pace(self.open_size())
        left = {} if task.parent_id is None else {task.parent_id: 1}
        self._spread([], [*self._above([task.id]), *self._sharing(left)])

    async def relinked(self, task_id: str, others: Sequence[str]) -> None:
        self._spread([task_id], [*others, *self._sharing({task_id: len(others)})])

    async def moved(self, task_id: str, parents: Collection[str]) -> None:
        self._spread([task_id], self._sharing(dict.fromkeys(parents, 1)))

    async def rescore(self, task_ids: Sequence[str]) -> None:
        self._follow_pace(self.open_size())
        self._spread(task_ids, [])

    def _above(self, ids: Sequence[str]) -> list[str]:
        return list(dict.fromkeys(other for _, other in self.awaited(ids)))

    def _sharing(self, changed: Mapping[str, int]) -> list[str]:
        """What these tasks wait for, unless they are left out of bundles now as they were with so many fewer."""
        near = self.nodes(list(changed)) if changed else []
        shared = [one.id for one in near if one.awaits - changed[one.id] <= MOST_AWAITED]
        return self._above(shared) if shared else []

    # Making anew.

    def _spread(self, start: Sequence[str], then: Sequence[str]) -> None:
        """Make all of `start` anew in this order, then the others, and upward as far as anything is told."""
        named = set(start)
        left = self.budget
        due = list(dict.fromkeys([*start, *then]))
        while due:
            over = [one for one in due if one not in named][left:]
            if over:
                self.mark(over)
                due = [one for one in due if one not in set(over)]
            left -= sum(one not in named for one in due)
            named = set[str]()
            due = self._round(due)

    def _round(self, ids: Sequence[str]) -> list[str]:
        """Make these anew, one after the other; whom they tell, but for those that came later in the round."""
        place = {one: number for number, one in enumerate(ids)}
        telling: list[str] = []
        changed: list[Node] = []
        louder: list[Node] = []
        crowded: set[str] = set()
        for node, before, below in self._read(ids):
            self._make(node, below)
            if below.tail:
                crowded.add(node.id)
            heard = _differ(node.value, node.heard_value) or _differ(node.extent, node.heard_size)
            if heard:
                node.heard_value, node.heard_size = node.value, node.extent
            if node.kept != before:
                changed.append(node)
                if heard or node.tail != before[4]:
                    louder.append(node)
                if (heard and node.awaits <= MOST_AWAITED) or node.tail != before[4]:
                    telling.append(node.id)
        if changed:
            self.keep(changed, louder)
        told = self.awaited(telling) if telling else []
        return list(dict.fromkeys(b for a, b in told if place.get(b, -1) < place[a] or b in crowded))

    def _renew(self, ids: Sequence[str]) -> None:
        """Make these anew and tell nobody."""
        if not ids:
            return
        changed: list[Node] = []
        longer: set[str] = set()
        for node, before, below in self._read(ids[: self.budget]):
            self._make(node, below)
            if node.tail != before[4]:
                longer.add(node.id)
            if node.kept != before:
                changed.append(node)
        if changed:
            self.keep(changed, [node for node in changed if node.id in longer])
        if len(ids) > self.budget:
            self.mark(ids[self.budget :])

    def _read(self, ids: Sequence[str]) -> list[tuple[Node, tuple[float, ...], Below]]:
        """The open ones in this order, each with what was kept of it and what is below; those among them know each other."""
        nodes = {node.id: node for node in self.nodes(ids)}
        below = self.below(list(nodes))
        self._present = nodes
        return [(nodes[one], nodes[one].kept, below.get(one, Below())) for one in ids if one in nodes]

    def _make(self, node: Node, below: Below) -> None:
        ears = [self._present.get(ear.id, ear) for ear in below.best]
        longest = max((one.tail for one in ears), default=0)
        node.tail = min(TAIL_CAP, node.size + max(longest, below.tail))
        node.value, node.extent = bundle(
            node.weight,
            node.size,
            [Dependent(one.heard_value, one.heard_size, one.awaits, one.seq) for one in ears],
        )
        node.score = score(node.value, node.extent, node.tail, self.step)

    # What follows from time, from marks and from the whole.

    def _grown(self, ids: Sequence[str]) -> list[str]:
        """Those of the tasks that have become so much more urgent that they are to be made anew."""
        found: list[str] = []
        for node, before, below in self._read(ids):
            self._make(node, below)
            if abs(node.value - before[0]) > DATED * node.weight:
                found.append(node.id)
        return found

    def _follow_pace(self, open_size: int) -> None:
        pace = self.pace
        step = path_step(pace.agents, open_size)
        if step == pace.step and pace.rescored < 0:
            return
        after = pace.rescored if step == pace.step else 0
        pace.step = step
        found, more = self.between(after, after + self.stretch)
        self._keep_scores(found)
        pace.rescored = after + self.stretch if more else -1
        self.keep_pace()

    def _keep_scores(self, found: Sequence[Scored]) -> dict[str, float]:
        fresh = {one.id: score(one.value, one.extent, one.tail, self.step) for one in found}
        changed = [(one.id, fresh[one.id]) for one in found if fresh[one.id] != one.score]
        if changed:
            self.keep_scores(changed)
        return fresh

    def _paced(self) -> bool:
        """Do all scores follow the present step, and the step what is open?"""
        return self.pace.rescored < 0 and self.pace.step == path_step(self.pace.agents, self.open_size())


def _differ(new: float, heard: float) -> bool:
    return abs(new - heard) > DEAF * heard
