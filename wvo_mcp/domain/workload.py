"""The open tasks as a graph of indexes, and its longest chain."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field

from wvo_mcp.domain.dependency import find_cycle
from wvo_mcp.errors import DependencyCycle


@dataclass(frozen=True, slots=True)
class OpenTask:
    """What planning needs to know of a task that is neither done nor cancelled. Seconds count from now."""

    id: str
    complexity: int
    epic_id: str | None = None
    milestone_id: str | None = None
    value: float = 0.0
    """Business value, 0-20."""
    running: bool = False
    finished: bool = False
    """The work is done and waits for a decision."""
    stuck: bool = False
    """Failed, or behind a cancelled task: it will not be worked on until a person acts."""
    spent: float = 0.0
    release: float = 0.0


@dataclass(frozen=True, slots=True)
class Workload:
    """Open tasks in the order of the queue, best first; `waits` and `below` have indexes into `tasks`."""

    tasks: Sequence[OpenTask]
    waits: list[list[int]]
    """What each task waits for: dependencies, open children, tasks that a blocked one waits for."""
    below: list[list[int]]
    """The inverse: what waits for each."""
    parent: list[int] = field(default_factory=list[int])
    """The open parent of each, or -1."""

    def order(self, scope: Collection[int] | None = None) -> list[int]:
        """Each behind what it waits for; of a scope, which holds all that it needs, or of everything. Takes O(tasks +
        edges). Raises DependencyCycle that names one."""
        wanted: Collection[int] = range(len(self.tasks)) if scope is None else scope
        missing = [len(others) for others in self.waits]
        out = [index for index in sorted(wanted) if not missing[index]]
        for index in out:
            for other in self.below[index]:
                missing[other] -= 1
                if not missing[other] and other in wanted:
                    out.append(other)
        if len(out) < len(wanted):
            left = {index for index in wanted if missing[index]}
            cycle = find_cycle({index: [o for o in self.waits[index] if o in left] for index in sorted(left)})
            raise DependencyCycle([self.tasks[index].id for index in cycle or ()])
        return out

    def needed_for(self, targets: Iterable[int]) -> set[int]:
        """The targets and all that they wait for, directly or not."""
        seen = set(targets)
        todo = list(seen)
        while todo:
            new = [other for other in self.waits[todo.pop()] if other not in seen]
            seen.update(new)
            todo += new
        return seen


def workload(
    tasks: Sequence[OpenTask], edges: Iterable[tuple[str, str]], parents: Iterable[tuple[str, str]]
) -> Workload:
    """`edges` are (task, what it waits for), `parents` (child, its parent); those that lead out of `tasks` are left out."""
    indexes = {task.id: index for index, task in enumerate(tasks)}
    waits: list[list[int]] = [[] for _ in tasks]
    below: list[list[int]] = [[] for _ in tasks]
    parent = [-1] * len(tasks)

    linked: set[tuple[int, int]] = set()

    def link(waiting: int, other: int) -> bool:
        is_new = (waiting, other) not in linked
        if is_new:
            linked.add((waiting, other))
            waits[waiting].append(other)
            below[other].append(waiting)
        return is_new

    for task_id, other_id in edges:
        waiting, other = indexes.get(task_id), indexes.get(other_id)
        if waiting is not None and other is not None:
            link(waiting, other)
    for child_id, parent_id in parents:
        child, above = indexes.get(child_id), indexes.get(parent_id)
        # One that its parent depends on as well is waited for as any dependency is, also when it is cancelled.
        if child is not None and above is not None and link(above, child):
            parent[child] = above
    return Workload(tasks, waits, below, parent)


@dataclass(frozen=True, slots=True)
class Chain:
    """The longest chain by duration, and how much room everything else has. Seconds from now."""

    path: list[int]
    total: float
    earliest: dict[int, float]
    """When each task of the scope can begin at the earliest, with as many agents as one could wish."""
    latest: dict[int, float]
    """When it must begin at the latest for the whole to end at `total`."""

    def slack(self, index: int) -> float:
        return max(0.0, self.latest[index] - self.earliest[index])


def critical_path(work: Workload, durations: Sequence[float], targets: Iterable[int] | None = None) -> Chain:
    """The critical path method (Kelley and Walker, 1959), over what the targets need (None: over everything).

    Takes O(tasks + edges). Raises DependencyCycle; what the targets do not need is not read.
    """
    scope = None if targets is None else work.needed_for(targets)
    order = work.order(scope)
    earliest: dict[int, float] = {}
    before: dict[int, int] = {}
    ends: dict[int, float] = {}
    for index in order:
        start, cause = work.tasks[index].release, -1
        for other in work.waits[index]:
            if ends[other] > start:
                start, cause = ends[other], other
        earliest[index], before[index] = start, cause
        ends[index] = start + durations[index]
    if not order:
        return Chain([], 0.0, {}, {})
    last = max(order, key=lambda index: (ends[index], -index))
    total = ends[last]
    latest: dict[int, float] = {}
    for index in reversed(order):
        until = min((latest[other] for other in work.below[index] if other in latest), default=total)
        latest[index] = until - durations[index]
    path = [last]
    while before[path[-1]] >= 0:
        path.append(before[path[-1]])
    return Chain(path[::-1], total, earliest, latest)
