"""The graph of the virtual store: paths, and what `Ranking` reads and writes. Nothing is left to a later refresh."""

import sys
from collections.abc import Collection, Iterator, Mapping, Sequence

from wvo_mcp.domain.dependency import path_between
from wvo_mcp.domain.instant import instant
from wvo_mcp.domain.task import Status, Task
from wvo_mcp.domain.wsjf import weight
from wvo_mcp.store.ranking import SHARED, Below, Ear, Node, Pace, Ranking, Scored
from wvo_mcp.store.virtual.world import TIMED, Record, World


class VirtualGraph(Ranking):
    """`ports.GraphRepository`."""

    budget = sys.maxsize
    stretch = sys.maxsize

    def __init__(self, world: World) -> None:
        self._world = world

    @property
    def pace(self) -> Pace:
        return self._world.pace

    async def path(self, start: str, goal: str) -> list[str] | None:
        return path_between(start, goal, self._waits_for)

    def _waits_for(self, ids: Sequence[str]) -> Iterator[tuple[str, str]]:
        world = self._world
        for node in ids:
            for other in (*world.needs.get(node, ()), *world.parts.get(node, ()), *world.waits.get(node, ())):
                yield node, other

    def _users(self, task_id: str) -> list[Record]:
        """Open dependents, each once."""
        world = self._world
        found = dict.fromkeys(world.needed_by.get(task_id, ()))
        if (parent := world.records[task_id].task.parent_id) is not None:
            found[parent] = None
        for waiting in world.waited_for.get(task_id, ()):
            if world.records[waiting].task.status is Status.BLOCKED:
                found[waiting] = None
        return [record for record in map(world.records.__getitem__, found) if record.open]

    def _awaits(self, record: Record) -> int:
        return record.unmet + record.children + self._still(record)

    def _still(self, record: Record) -> int:
        waits = self._world.waits.get(record.task.id, ()) if record.task.status is Status.BLOCKED else ()
        return sum(self._world.records[other].task.status is not Status.DONE for other in waits)

    def nodes(self, ids: Sequence[str]) -> list[Node]:
        return [self._node(one) for one in map(self._world.records.__getitem__, dict.fromkeys(ids)) if one.open]

    def _node(self, record: Record) -> Node:
        task = record.task
        milestone = None if task.milestone_id is None else self._world.milestones.get(task.milestone_id)
        due = None if milestone is None or milestone["due_at"] is None else instant(milestone["due_at"])
        return Node(
            task.id,
            task.seq,
            weight(task.priority, task.business_value, due, self._world.now),
            task.complexity,
            self._awaits(record),
            *record.kept,
            record.score,
        )

    def below(self, ids: Sequence[str]) -> Mapping[str, Below]:
        return {one: Below([self._ear(user) for user in self._users(one)]) for one in ids}

    def _ear(self, record: Record) -> Ear:
        _, _, heard_value, heard_size, tail = record.kept
        return Ear(record.task.id, record.task.seq, heard_value, heard_size, self._awaits(record), tail)

    def awaited(self, ids: Sequence[str]) -> list[tuple[str, str]]:
        records = self._world.records
        found: list[tuple[str, str]] = []
        for one in ids:
            others = dict.fromkeys([*self._world.needs.get(one, ()), *self._world.parts.get(one, ())])
            if records[one].task.status is Status.BLOCKED:
                others |= dict.fromkeys(self._world.waits.get(one, ()))
            found += [(one, other) for other in others if records[other].open]
        return found

    def users(self, ids: Sequence[str]) -> list[tuple[str, str, int]]:
        return [(one, user.task.id, self._awaits(user)) for one in ids for user in self._users(one)]

    def behind(self, task: Task) -> tuple[list[Scored], int]:
        world = self._world
        needed, waited = world.needed_by.get(task.id, ()), world.waited_for.get(task.id, ())
        found: list[Scored] = []
        for user in self._users(task.id):
            one, freed = self._scored(user), user.task.id in waited and not self._still(user)
            if one.awaits in SHARED or not user.unmet or freed:
                ready = one.id in needed and user.free and self._ungated(user)
                found.append(one._replace(seq=user.task.seq, ready=ready, freed=freed))
        return found, world.open_size

    def _ungated(self, record: Record) -> bool:
        at = record.task.not_before
        return record.gates == 0 or (record.gates == TIMED and at is not None and at <= self._world.now)

    def _scored(self, record: Record) -> Scored:
        value, extent, _, _, tail = record.kept
        return Scored(record.task.id, self._awaits(record), value, extent, tail, record.score)

    def between(self, after: int, until: int) -> tuple[list[Scored], bool]:
        return [self._scored(one) for one in self._world.records.values() if one.open and not one.unmet], False

    def open_size(self) -> int:
        return self._world.open_size

    def keep(self, nodes: Sequence[Node], telling: Sequence[Node]) -> None:
        for node in nodes:
            record = self._world.records[node.id]
            record.kept = (node.value, node.extent, node.heard_value, node.heard_size, node.tail)
            record.behind = True
            self._world.scored(record, node.score)

    def keep_scores(self, scores: Sequence[tuple[str, float]]) -> None:
        for task_id, score in scores:
            self._world.scored(self._world.records[task_id], score)

    def keep_pace(self) -> None:
        """It is kept where it is."""

    def mark(self, ids: Collection[str]) -> None:
        raise NotImplementedError("the virtual store knows no budget")

    def loaded(self) -> None:
        """Scores of tasks that came with their bundles follow the number of agents here."""
        self._follow_pace(self.open_size())

    async def refresh(self, limit: int) -> int:
        return 0

    async def stale(self) -> bool:
        return False

    async def rescore_due(self, after: str | None, limit: int) -> str | None:
        world = self._world
        due = {name for name, one in world.milestones.items() if one["due_at"] is not None}
        found = sorted(
            one.task.id
            for one in world.records.values()
            if one.open and one.task.milestone_id in due and one.task.id > (after or "")
        )
        self._spread(self._grown(found[:limit]), [])
        return found[limit - 1] if len(found) >= limit else None
