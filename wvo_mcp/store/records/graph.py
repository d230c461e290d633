"""How scores are kept (contract, section 4): one algorithm over few reads and writes.

A change recomputes the bundles of what it touches, and then of what is above, nearest first: a task reports to those that it
waits for only when its bundle has moved by more than `DEAF` since its last report, or its longest path has changed. What
exceeds the budget is marked, and the leader goes on from the marks. A completion recomputes only what shares a dependent
with the finished task, and reports nothing. When the path takes another step, the scores of what waits for no dependency
follow, a stretch of tasks at a time; others follow when they become ready.
"""

import json
from collections.abc import Collection, Mapping, Sequence

from wvo_mcp.domain.dependency import in_order, path_between
from wvo_mcp.domain.task import Task
from wvo_mcp.domain.wsjf import MOST_AWAITED, TAIL_CAP, Dependent, bundle, path_step, score
from wvo_mcp.store.records.bundles import AGENTS, EDGES, Below, Bundles, Node, Scored, edges
from wvo_mcp.store.sql import parts

DEAF = 0.05
"""A bundle that moved by no more than this part is not reported upward."""
DATED = 0.02
"""A task that time made more urgent by no more than this part of its worth is left as it is."""
BUDGET = 1_000
"""A change recomputes at most so many tasks beside those that it names."""
STRETCH = 1_000
"""So many tasks, by order of creation, are looked at in one transaction after the path took a step."""

PATH_BUDGET = 200_000
"""A cycle check looks at so many tasks at most; larger graphs above one task are not known."""


class Graph(Bundles):
    """`ports.GraphRepository`, for one transaction."""

    budget: int = BUDGET
    stretch: int = STRETCH

    @property
    def step(self) -> int:
        return self.pace.step

    async def path(self, start: str, goal: str) -> list[str] | None:
        return path_between(start, goal, self._waits_for, PATH_BUDGET)

    def _waits_for(self, ids: Sequence[str]) -> list[tuple[str, str]]:
        found: list[tuple[str, str]] = []
        for part, marks in parts(ids):
            found += self._rows.execute(f"SELECT waiter, awaited FROM {edges('waiter', marks)}", [*part, *part, *part])
        return found

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
        sharing = [
            user for _, user, awaits in self.users([task_id]) if _among(awaits) != _among(max(1, awaits - EDGES))
        ]
        self._spread([task_id], self._above([task_id, *sharing]))

    async def finished(self, task: Task) -> tuple[list[str], list[str]]:
        behind, open_size = self.behind(task)
        self._follow_pace(open_size)
        fresh = self._keep_scores(behind)
        if changed := [one.id for one in behind if one.awaits and _among(one.awaits) != _among(one.awaits + one.edges)]:
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

    # Recomputing.

    def _spread(self, start: Sequence[str], then: Sequence[str]) -> None:
        """Recompute all of `start` in this order, then the others, and upward as far as anything is reported."""
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
        """Recompute these, one after the other; whom they report to, but for those that came later in the round."""
        place = {one: number for number, one in enumerate(ids)}
        reporting: list[str] = []
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
                    reporting.append(node.id)
        if changed:
            self.keep(changed, louder)
        above = self.awaited(reporting) if reporting else []
        return list(dict.fromkeys(b for a, b in above if place.get(b, -1) < place[a] or b in crowded))

    def _renew(self, ids: Sequence[str]) -> None:
        """Recompute these and report nothing, but for a path that has changed: it was on its way up."""
        if not ids:
            return
        changed: list[Node] = []
        paths: list[Node] = []
        for node, before, below in self._read(ids[: self.budget]):
            self._make(node, below)
            if node.tail != before[4]:
                paths.append(node)
            if node.kept != before:
                changed.append(node)
        if changed:
            self.keep(changed, paths)
        if len(ids) > self.budget:
            self.mark(ids[self.budget :])
        if paths:
            self._spread([], self._above([node.id for node in paths]))

    def _read(self, ids: Sequence[str]) -> list[tuple[Node, tuple[float, ...], Below]]:
        """The open ones in this order, each with what was kept of it and what is below; those among them know each other."""
        self.prefetch_below(ids)
        nodes = {node.id: node for node in self.nodes(ids)}
        below = self.below(ids)
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
        """Those of the tasks that have become so much more urgent that they are to be recomputed."""
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

    # What the leader does.

    async def refresh(self, limit: int) -> int:
        marked = self._rows.column(
            "SELECT id FROM tasks INDEXED BY tasks_stale WHERE unlock_stale = 1 AND seq > 0 ORDER BY seq DESC LIMIT ?",
            (limit,),
        )
        self._rows.run_many("UPDATE tasks SET unlock_stale = 0 WHERE id = ?", [(one,) for one in marked])
        if not self._agreed():
            self._rows.put(
                "INSERT INTO facts (name, value) VALUES ('path_agents', ?)"
                " ON CONFLICT (name) DO UPDATE SET value = excluded.value",
                (str(self._agents),),
            )
            self.pace.agents = self._agents
        self._follow_pace(self.open_size())
        self._spread(marked, [])
        return int(
            self._rows.value("SELECT count(*) FROM tasks INDEXED BY tasks_stale WHERE unlock_stale = 1 AND seq > 0")
        )

    async def stale(self) -> bool:
        marked = "SELECT 1 FROM tasks INDEXED BY tasks_stale WHERE unlock_stale = 1 AND seq > 0 LIMIT 1"
        return not self._agreed() or not self._paced() or self._rows.value(marked) is not None

    def _agreed(self) -> bool:
        """Do scores follow the WIP limit of this process? Only the leader changes which one they follow: processes that
        were started with others would turn the step back and forth with each write."""
        return self._rows.value(f"SELECT {AGENTS}") == self._agents

    async def rescore_due(self, after: str | None, limit: int) -> str | None:
        milestone, task_id = json.loads(after) if after else ("", "")
        while True:
            # Settled tasks are read and passed over, so that the work of one batch is bounded whatever a milestone holds.
            ids = self._rows.column(
                "SELECT id FROM tasks INDEXED BY tasks_milestone WHERE milestone_id = ? AND id > ? ORDER BY id LIMIT ?",
                (milestone, task_id, limit),
            )
            self._spread(self._grown(ids), [])
            limit -= len(ids)
            if limit <= 0:
                return json.dumps([milestone, ids[-1] if ids else task_id])
            following = self._rows.value(
                "SELECT id FROM milestones WHERE id > ? AND due_at IS NOT NULL ORDER BY id LIMIT 1", (milestone,)
            )
            if following is None:
                return None
            milestone, task_id, limit = following, "", limit - 1


def _differ(new: float, heard: float) -> bool:
    return abs(new - heard) > DEAF * heard


def _among(awaits: int) -> int:
    """Among how many a task that waits for so many is shared; 0 when it is left out."""
    return 0 if awaits > MOST_AWAITED else 1 << (awaits - 1).bit_length()
