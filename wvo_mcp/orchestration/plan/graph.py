"""The open plan as a graph that people look at: a node for each task, or, where that is too many, for each epic."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from wvo_mcp.domain.task import Status
from wvo_mcp.domain.workload import Chain, Workload, critical_path
from wvo_mcp.orchestration import outlook

MOST_NODES = 300
"""A plan with more open tasks is shown by epics; and so many epics, or tasks of those that are unfolded, at most."""
MOST_EDGES = 60
"""What one node waits for is shown up to so many."""
EPIC = "epic:"
"""Before the name of an epic in the key of its node: no id of a task has a colon."""
REST = "epics"
"""Key of the node for the epics that there is no room for."""
WAITING = "waiting"
"""State of a pending task that waits for others; else the state is the task's status."""
_HELD_UP = frozenset({Status.BLOCKED.value, Status.FAILED.value, Status.AWAITING_APPROVAL.value})
_CHAINS = 200
_VIEWS = 4
"""A view is read in parts, and by several."""
_BEHIND = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """`waits_for` has keys of other nodes of the view, at most `MOST_EDGES`. `critical` is the place on the critical path, from
    1 (0: not on it; of an epic its first). `counts` are open tasks by state, for epics. `left_out`: tasks of an unfolded epic,
    or epics, that there was no room for."""

    key: str
    id: str
    kind: str
    state: str
    epic: str | None = None
    critical: int = 0
    counts: Mapping[str, int] = field(default_factory=dict[str, int])
    waits_for: Sequence[str] = ()
    left_out: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldUp:
    """A task that does not go on by itself, and what waits behind it: those directly, and how many in all (capped)."""

    id: str
    state: str
    next: Sequence[str]
    behind: int


@dataclass(frozen=True, slots=True)
class PlanGraph:
    """The open plan as it was read at `now`, after event `seq`."""

    now: datetime
    seq: int
    work: Workload
    states: Sequence[str]
    """Of each task, as `work.tasks` has them."""
    expected: Sequence[float]
    chain: Chain
    epics: Mapping[str, Sequence[int]]
    """The tasks of each epic; those without one are under the empty name."""
    _views: dict[tuple[str, ...], list[Node]] = field(default_factory=dict[tuple[str, ...], list[Node]])

    def view(self, unfolded: Collection[str]) -> list[Node]:
        """What is shown, tasks before epics. Small plans are never folded. Takes O(tasks) the first time."""
        key = tuple(sorted(unfolded))
        if key not in self._views:
            while len(self._views) >= _VIEWS:
                self._views.pop(next(iter(self._views)), None)
            self._views[key] = self._viewed(unfolded)
        return self._views[key]

    def _viewed(self, unfolded: Collection[str]) -> list[Node]:
        tasks = self.work.tasks
        if len(tasks) <= MOST_NODES:
            keys = {index: tasks[index].id for index in range(len(tasks))}
            return self._nodes(keys, [], {})
        keys: dict[int, str] = {}
        shown = self._largest(unfolded)
        left_out: dict[str, int] = {}
        alone = 0
        for name, members in self.epics.items():
            room = MOST_NODES - alone if name in unfolded else 0
            keys |= {index: tasks[index].id for index in members[:room]}
            keys |= dict.fromkeys(members[room:], EPIC + name if name in shown else REST)
            alone += len(members[:room])
            if name in unfolded and members[room:]:
                left_out[EPIC + name] = len(members) - room
        names = [EPIC + name for name in self.epics if name in shown]
        if len(shown) < len(self.epics):
            names.append(REST)
            left_out[REST] = len(self.epics) - len(shown)
        return self._nodes(keys, [name for name in names if name in set(keys.values())], left_out)

    def held_up(self, limit: int) -> list[HeldUp]:
        """What does not go on by itself, by how much waits behind it."""
        found = [self._held(index) for index, state in enumerate(self.states) if state in _HELD_UP][:_CHAINS]
        return sorted(found, key=lambda one: -one.behind)[:limit]

    def _held(self, start: int) -> HeldUp:
        seen, todo = {start}, [start]
        while todo and len(seen) <= _BEHIND:
            new = [other for other in self.work.below[todo.pop()] if other not in seen]
            seen.update(new)
            todo += new
        tasks = self.work.tasks
        next_ones = [tasks[other].id for other in self.work.below[start][:5]]
        return HeldUp(id=tasks[start].id, state=self.states[start], next=next_ones, behind=min(_BEHIND, len(seen) - 1))

    def _largest(self, unfolded: Collection[str]) -> set[str]:
        """The epics that are shown: what is unfolded and what is on the critical path, then the largest."""
        on_path = {self.work.tasks[index].epic_id or "" for index in self.chain.path}

        def place(name: str) -> tuple[bool, bool, int]:
            return (name not in unfolded, name not in on_path, -len(self.epics[name]))

        return set(sorted(self.epics, key=place)[:MOST_NODES])

    def _nodes(self, keys: Mapping[int, str], epics: Sequence[str], left_out: Mapping[str, int]) -> list[Node]:
        """`keys`: the node of each task."""
        waits: dict[str, dict[str, int]] = {}
        counts: dict[str, dict[str, int]] = {name: {} for name in epics}
        for index, key in keys.items():
            of = waits.setdefault(key, {})
            epic = self.work.tasks[index].epic_id
            for other in self.work.waits[index]:
                # Of an epic that is unfolded in part, edges between what is shown and the rest would hide all others.
                of_the_rest = EPIC in (key + keys[other]) and epic == self.work.tasks[other].epic_id
                if keys[other] != key and not of_the_rest:
                    of[keys[other]] = of.get(keys[other], 0) + 1
            if key in counts:
                state = self.states[index]
                counts[key][state] = counts[key].get(state, 0) + 1
        critical: dict[str, int] = {}
        for number, index in enumerate(self.chain.path, 1):
            critical.setdefault(keys[index], number)

        def edges(key: str) -> list[str]:
            # An edge of the critical path is never left out, and of the others those that stand for most.
            found = sorted(waits.get(key, {}).items(), key=lambda edge: (edge[0] not in critical, -edge[1]))
            return [other for other, _ in found[:MOST_EDGES]]

        own = [index for index, key in keys.items() if key not in counts]
        nodes = [
            Node(
                key=task.id,
                id=task.id,
                kind="task",
                state=self.states[index],
                epic=task.epic_id,
                critical=critical.get(task.id, 0),
                waits_for=edges(task.id),
            )
            for index, task in ((index, self.work.tasks[index]) for index in own)
        ]
        return nodes + [
            Node(
                key=key,
                id="" if key == REST else key.removeprefix(EPIC),
                kind="rest" if key == REST else "epic",
                state=_worst(counts[key]),
                critical=critical.get(key, 0),
                counts=counts[key],
                waits_for=edges(key),
                left_out=left_out.get(key, 0),
            )
            for key in epics
        ]


_WORST = ("failed", "blocked", "awaiting_approval", "in_progress", "in_review", "pending")


def _worst(counts: Mapping[str, int]) -> str:
    """What people should see of many."""
    return next((state for state in _WORST if counts.get(state)), WAITING)


def graph_of(seen: outlook.Readings, seq: int) -> PlanGraph:
    """Takes O(tasks + edges). Raises DependencyCycle."""
    ahead = outlook.analyzed(seen)
    status = {row.id: row.status for row in seen.rows}
    states = [
        WAITING if status[task.id] == Status.PENDING and ahead.work.waits[index] else status[task.id]
        for index, task in enumerate(ahead.work.tasks)
    ]
    epics: dict[str, list[int]] = {}
    for index, task in enumerate(ahead.work.tasks):
        epics.setdefault(task.epic_id or "", []).append(index)
    expected = ahead.expected()
    chain = critical_path(ahead.work, expected)
    return PlanGraph(seen.now, seq, ahead.work, states, expected, chain, dict(sorted(epics.items())))
