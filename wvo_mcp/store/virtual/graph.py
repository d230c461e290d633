"""The graph of the virtual store: paths, unlock counts, scores. Counts are exact: nothing is left to a later refresh."""

from collections.abc import Callable, Iterable, Iterator, Sequence

from wvo_mcp.domain.dependency import in_order, path_between
from wvo_mcp.domain.instant import instant
from wvo_mcp.domain.task import Status
from wvo_mcp.domain.wsjf import UNLOCK_CAP, explain_by_count
from wvo_mcp.store.virtual.world import Record, World


class VirtualGraph:
    """`ports.GraphRepository`."""

    def __init__(self, world: World) -> None:
        self._world = world

    async def path(self, start: str, goal: str) -> list[str] | None:
        return path_between(start, goal, self._waits_for)

    def _waits_for(self, ids: Sequence[str]) -> Iterator[tuple[str, str]]:
        world = self._world
        for node in ids:
            for other in (*world.needs.get(node, ()), *world.parts.get(node, ()), *world.waits.get(node, ())):
                yield node, other

    async def added(self, task_ids: Sequence[str]) -> None:
        new = set(task_ids)
        counts = self._counted(task_ids)
        old = {other for node in task_ids for other in self._world.needs.get(node, ()) if other not in new}
        for record in self._above(old):
            counts[record.task.id] = self._recount(record.task.id)
        self._store(counts)

    def _counted(self, task_ids: Sequence[str]) -> dict[str, int]:
        """Of new tasks, on which only new ones wait: each set of what is below is made of those of its dependents, up to
        the cap, and dropped as soon as nobody needs it any more."""
        world = self._world
        inside = set(task_ids)
        users = {node: sum(other in inside for other in world.needs.get(node, ())) for node in task_ids}
        below: dict[str, set[str] | None] = {}
        counts: dict[str, int] = {}
        for node in in_order({node: world.needed_by.get(node, ()) for node in task_ids}):
            reached: set[str] | None = set()
            for other in world.needed_by.get(node, ()):
                theirs = below[other]
                users[other] -= 1
                if not users[other]:
                    del below[other]  # the last that asks may have it
                    if theirs is not None and reached is not None and len(theirs) > len(reached):
                        reached, theirs = theirs, reached
                if theirs is None:
                    reached = None
                elif reached is not None:
                    reached |= theirs
                    if world.records[other].open:
                        reached.add(other)
                    reached = None if len(reached) >= UNLOCK_CAP else reached
            counts[node] = UNLOCK_CAP if reached is None else len(reached)
            if users[node]:
                below[node] = reached
        return counts

    def _above(self, start: Iterable[str]) -> list[Record]:
        """The start and all that it waits for, directly or not, but what lies behind a wall of finished work."""
        world = self._world
        found: dict[str, Record] = {}
        frontier = list(start)
        while frontier:
            node = frontier.pop()
            record = world.records[node]
            if node not in found and not _walled(record):
                found[node] = record
                frontier += world.needs.get(node, ())
        return list(found.values())

    async def opened(self, task_id: str) -> None:
        self._store({task_id: self._recount(task_id)})
        self._mark_over_open(task_id)
        self._shift(task_id, +1)

    async def settled(self, task_id: str, was_done: bool) -> None:
        world = self._world
        if was_done and not all(_walled(world.records[other]) for other in world.needs.get(task_id, ())):
            record = world.records[task_id]
            record.over_open = 1
            record.behind = True
        self._shift(task_id, -1)

    async def relinked(self, task_ids: Sequence[str]) -> None:
        for task_id in task_ids:
            if not _walled(self._world.records[task_id]):
                self._mark_over_open(task_id)
        above = self._above(task_ids)
        self._store({one.task.id: self._recount(one.task.id) for one in above if one.open})

    def _mark_over_open(self, task_id: str) -> None:
        frontier = list(self._world.needed_by.get(task_id, ()))
        while frontier:
            node = frontier.pop()
            record = self._world.records[node]
            if record.task.status is Status.DONE and not record.over_open:
                record.over_open = 1
                record.behind = True
                frontier += self._world.needed_by.get(node, ())

    def _shift(self, task_id: str, by: int) -> None:
        """One open task more or less below everything above it."""
        needs = self._world.needs.get(task_id)
        if not needs:
            return

        def fresh(record: Record) -> int:
            if by < 0 and record.unlock >= UNLOCK_CAP:
                return self._recount(record.task.id)
            return max(0, min(UNLOCK_CAP, record.unlock + by))

        self._store({one.task.id: fresh(one) for one in self._above(needs) if one.open})

    def _recount(self, task_id: str) -> int:
        world = self._world
        seen: set[str] = set()
        frontier = [task_id]
        count = 0
        while frontier:
            for other in world.needed_by.get(frontier.pop(), ()):
                if other not in seen:
                    seen.add(other)
                    frontier.append(other)
                    count += world.records[other].open
                    if count >= UNLOCK_CAP:
                        return UNLOCK_CAP
        return count

    def _store(self, counts: dict[str, int]) -> None:
        for task_id, count in counts.items():
            record = self._world.records[task_id]
            if record.unlock != count:
                record.unlock = count
                record.behind = True
        self._rescore(counts)

    async def rescore(self, task_ids: Sequence[str]) -> None:
        self._rescore(task_ids)

    def _rescore(self, task_ids: Iterable[str]) -> None:
        world = self._world
        for task_id in task_ids:
            record = world.records[task_id]
            task = record.task
            milestone = None if task.milestone_id is None else world.milestones.get(task.milestone_id)
            due = None if milestone is None else milestone["due_at"]
            why = explain_by_count(
                priority=task.priority,
                business_value=task.business_value,
                complexity=task.complexity,
                unlock_count=record.unlock,
                due_at=None if due is None else instant(due),
                now=world.now,
            )
            world.scored(record, why.score)

    async def refresh(self, limit: int) -> int:
        return 0

    async def stale(self) -> bool:
        return False

    async def rescore_due(self, after: str | None, limit: int) -> str | None:
        world = self._world
        due = {name for name, one in world.milestones.items() if one["due_at"] is not None}
        wanted: Callable[[Record], bool] = lambda one: one.open and one.task.milestone_id in due  # noqa: E731
        found = sorted(one.task.id for one in world.records.values() if wanted(one) and one.task.id > (after or ""))
        self._rescore(found[:limit])
        return found[limit - 1] if len(found) >= limit else None


def _walled(record: Record) -> bool:
    """Everything above is done: nothing there counts what waits for it."""
    return record.task.status is Status.DONE and not record.over_open
