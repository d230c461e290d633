"""The dependency graph as a whole: paths, unlock counts, scores.

A task's unlock count is the number of open tasks that wait for it, directly or not, counted up to 1,023. A change of
one task changes the count of what is above it (what it waits for, directly or not) and of nothing else, so an update
walks up. It turns back at a saturated task, for all above it is saturated too, and at a task that is done, for all
above that is done as well - unless `over_open` marks it as an exception. It visits at most `BUDGET` tasks; those at
the edge are marked `unlock_stale`, and the leader's refresh walks on from there.
"""

import json
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Any

from wvo_mcp.domain.dependency import in_order, path_between
from wvo_mcp.domain.instant import instant
from wvo_mcp.domain.task import Priority
from wvo_mcp.domain.wsjf import UNLOCK_CAP, explain_by_count
from wvo_mcp.store.records.tasks import Tasks
from wvo_mcp.store.sql import Rows

BUDGET = 1_000
PATH_BUDGET = 200_000
"""A cycle check looks at so many tasks at most; larger graphs above one task are not known."""

_NODE = "id, status, over_open, unlock_count, unlock_stale"
Node = dict[str, Any]


class Graph:
    """`ports.GraphRepository`, for one transaction."""

    def __init__(self, rows: Rows, now: datetime, tasks: Tasks) -> None:
        self._rows = rows
        self._now = now
        self._tasks = tasks

    async def path(self, start: str, goal: str) -> list[str] | None:
        return path_between(start, goal, self._waits_for, PATH_BUDGET)

    def _waits_for(self, ids: Sequence[str]) -> list[tuple[str, str]]:
        found: list[tuple[str, str]] = []
        for part in _parts(ids):
            marks = ", ".join("?" * len(part))
            rows = self._rows.all(
                f"""
                SELECT task_id AS a, depends_on_task_id AS b FROM task_dependencies WHERE task_id IN ({marks})
                UNION ALL SELECT parent_id, id FROM tasks WHERE parent_id IN ({marks})
                UNION ALL SELECT task_id, waits_for_task_id FROM task_waits WHERE task_id IN ({marks})
                """,
                [*part, *part, *part],
            )
            found += [(row["a"], row["b"]) for row in rows]
        return found

    async def added(self, task_ids: Sequence[str]) -> None:
        bit = {task_id: 1 << place for place, task_id in enumerate(task_ids)}
        reach: dict[str, int] = {}
        nodes, edges = self._above(task_ids, dict.fromkeys(task_ids, ""))
        for node in reversed(in_order(edges)):
            below = reach.get(node, 0) | bit.get(node, 0)
            for dependency in edges[node]:
                reach[dependency] = reach.get(dependency, 0) | below
        counts: dict[str, int] = {}
        for node, mask in reach.items():
            if node in bit:
                counts[node] = min(UNLOCK_CAP, mask.bit_count())
            elif _counted(nodes[node]):
                counts[node] = min(UNLOCK_CAP, int(nodes[node]["unlock_count"]) + mask.bit_count())
        self._store_counts(counts)

    async def opened(self, task_id: str) -> None:
        self._store_counts({task_id: self._recount(task_id)})
        # Whatever was finished on top of this task now stands on something open.
        self._mark_over_open(task_id)
        self._shift(self._dependencies_of([task_id]), +1)

    async def settled(self, task_id: str, was_done: bool) -> None:
        above = self._dependencies_of([task_id])
        if was_done and not all(map(_walled, above)):
            self._rows.put("UPDATE tasks SET over_open = 1 WHERE id = ?", (task_id,))
        self._shift(above, -1)

    async def relinked(self, task_ids: Sequence[str]) -> None:
        nodes = self._nodes(task_ids)
        for node in nodes:
            # People may link a finished task to something open.
            if not _walled(node):
                self._mark_over_open(node["id"])
        self._climb(nodes, lambda row: self._recount(row["id"]))

    def _mark_over_open(self, task_id: str) -> None:
        self._rows.put(
            """
            WITH RECURSIVE above (id) AS (
              SELECT task_id FROM task_dependencies WHERE depends_on_task_id = :id
              UNION
              SELECT d.task_id FROM above CROSS JOIN tasks AS t ON t.id = above.id
              CROSS JOIN task_dependencies AS d ON d.depends_on_task_id = t.id
              WHERE t.status = 'done' AND t.over_open = 0
            )
            UPDATE tasks SET over_open = 1 WHERE status = 'done' AND over_open = 0 AND id IN (SELECT id FROM above)
            """,
            {"id": task_id},
        )

    def _above(self, start: Sequence[str], new: dict[str, str]) -> tuple[dict[str, Node], dict[str, list[str]]]:
        """What the start waits for, as far as counts may change: nodes by id, and the edges walked (all starts among them)."""
        nodes: dict[str, Node] = {}
        edges: dict[str, list[str]] = {task_id: [] for task_id in start}
        frontier = list(start)
        while frontier:
            reached: dict[str, None] = {}
            for row in self._dependencies_of(frontier):
                node = row["id"]
                if node in new:
                    edges[row["task_id"]].append(node)
                    continue
                if _walled(row):
                    continue
                if node not in nodes:
                    if len(nodes) >= BUDGET:
                        self._rows.put("UPDATE tasks SET unlock_stale = 1 WHERE id = ?", (node,))
                        continue
                    nodes[node] = row
                    edges[node] = []
                    if not _saturated(row):
                        reached[node] = None
                edges[row["task_id"]].append(node)
            frontier = list(reached)
        return nodes, edges

    def _nodes(self, ids: Sequence[str]) -> list[Node]:
        found: list[Node] = []
        for part in _parts(ids):
            found += self._rows.all(f"SELECT {_NODE} FROM tasks WHERE id IN ({', '.join('?' * len(part))})", part)
        return found

    def _dependencies_of(self, ids: Sequence[str]) -> list[Node]:
        found: list[Node] = []
        for part in _parts(ids):
            found += self._rows.all(
                f"""
                SELECT d.task_id, {", ".join("t." + name for name in _NODE.split(", "))}
                FROM task_dependencies AS d CROSS JOIN tasks AS t ON t.id = d.depends_on_task_id
                WHERE d.task_id IN ({", ".join("?" * len(part))})
                """,
                part,
            )
        return found

    def _shift(self, above: list[Node], by: int) -> None:
        """One open task more or less below these and everything above them."""

        def fresh(row: Node) -> int:
            if _saturated(row) and by < 0:
                return self._recount(row["id"])  # a saturated count does not tell how far above the cap the truth is
            return max(0, min(UNLOCK_CAP, int(row["unlock_count"]) + by))

        self._climb(above, fresh)

    def _climb(self, rows: list[Node], fresh: Callable[[Node], int]) -> None:
        """Give every counted task from `rows` upward its `fresh` count, as far as counts can have changed."""
        counts: dict[str, int] = {}
        seen: set[str] = set()
        while rows:
            reached: list[str] = []
            for row in rows:
                node = row["id"]
                if node in seen or _walled(row):
                    continue
                if len(seen) >= BUDGET:
                    self._rows.put("UPDATE tasks SET unlock_stale = 1 WHERE id = ?", (node,))
                    continue
                seen.add(node)
                if _counted(row):
                    counts[node] = fresh(row)
                    if _saturated(row) and counts[node] == UNLOCK_CAP:
                        continue
                reached.append(node)
            rows = self._dependencies_of(reached)
        self._store_counts(counts)

    def _recount(self, task_id: str) -> int:
        return int(
            self._rows.value(
                """
                WITH RECURSIVE below (id) AS (
                  SELECT task_id FROM task_dependencies WHERE depends_on_task_id = :id
                  UNION
                  SELECT d.task_id FROM below CROSS JOIN task_dependencies AS d ON d.depends_on_task_id = below.id
                )
                SELECT count(*) FROM (
                  SELECT 1 FROM below CROSS JOIN tasks AS t ON t.id = below.id
                  WHERE t.status NOT IN ('done', 'cancelled') LIMIT :cap
                ) AS counted
                """,
                {"id": task_id, "cap": UNLOCK_CAP},
            )
        )

    def _store_counts(self, counts: dict[str, int]) -> None:
        self._rows.run_many(
            "UPDATE tasks SET unlock_count = ? WHERE id = ?", [(count, task_id) for task_id, count in counts.items()]
        )
        self._rescore(counts)

    async def rescore(self, task_ids: Sequence[str]) -> None:
        self._rescore(task_ids)

    def _rescore(self, task_ids: Iterable[str]) -> None:
        for part in _parts(list(task_ids)):
            rows = self._rows.all(
                f"""
                SELECT t.id, t.priority, t.business_value, t.complexity, t.unlock_count, t.score,
                  (SELECT due_at FROM milestones AS m WHERE m.id = t.milestone_id) AS due_at
                FROM tasks AS t WHERE t.id IN ({", ".join("?" * len(part))})
                """,
                part,
            )
            fresh = [(self._score(row), row["id"], row["score"]) for row in rows]
            self._rows.run_many(
                "UPDATE tasks SET score = ? WHERE id = ?", [(new, node) for new, node, old in fresh if new != old]
            )

    def _score(self, row: dict[str, Any]) -> float:
        return explain_by_count(
            priority=Priority(row["priority"]),
            business_value=row["business_value"],
            complexity=row["complexity"],
            unlock_count=row["unlock_count"],
            due_at=None if row["due_at"] is None else instant(row["due_at"]),
            now=self._now,
        ).score

    async def refresh(self, limit: int) -> int:
        marked = self._rows.all(
            f"SELECT {_NODE} FROM tasks INDEXED BY tasks_stale WHERE unlock_stale = 1 AND id > '' LIMIT ?", (limit,)
        )
        for row in marked:
            self._rows.put("UPDATE tasks SET unlock_stale = 0 WHERE id = ?", (row["id"],))
            count = self._recount(row["id"])
            if _counted(row):
                self._store_counts({row["id"]: count})
                if _saturated(row) and count == UNLOCK_CAP:
                    continue
            self._rows.put(
                """
                UPDATE tasks SET unlock_stale = 1
                WHERE id IN (SELECT depends_on_task_id FROM task_dependencies WHERE task_id = ?)
                  AND NOT (status = 'done' AND over_open = 0)
                """,
                (row["id"],),
            )
        return int(
            self._rows.value("SELECT count(*) FROM tasks INDEXED BY tasks_stale WHERE unlock_stale = 1 AND id > ''")
        )

    async def stale(self) -> bool:
        return (
            self._rows.value("SELECT 1 FROM tasks INDEXED BY tasks_stale WHERE unlock_stale = 1 AND id > '' LIMIT 1")
            is not None
        )

    async def rescore_due(self, after: str | None, limit: int) -> str | None:
        milestone, task_id = json.loads(after) if after else ("", "")
        while True:
            # Settled tasks are read and passed over, so that the work of one batch is bounded whatever a milestone holds.
            rows = self._rows.all(
                """
                SELECT id, status FROM tasks INDEXED BY tasks_milestone
                WHERE milestone_id = ? AND id > ? ORDER BY id LIMIT ?
                """,
                (milestone, task_id, limit),
            )
            self._rescore([row["id"] for row in rows if _counted(row)])
            limit -= len(rows)
            if limit <= 0:
                return json.dumps([milestone, rows[-1]["id"] if rows else task_id])
            following = self._rows.value(
                "SELECT id FROM milestones WHERE id > ? AND due_at IS NOT NULL ORDER BY id LIMIT 1", (milestone,)
            )
            if following is None:
                return None
            milestone, task_id, limit = following, "", limit - 1


def _walled(row: Node) -> bool:
    """Everything above is done: nothing there counts what waits for it."""
    return row["status"] == "done" and not row["over_open"]


def _counted(row: Node) -> bool:
    """The counts of settled tasks are not kept; they are made anew when the task is opened again."""
    return row["status"] not in ("done", "cancelled")


def _saturated(row: Node) -> bool:
    return _counted(row) and int(row["unlock_count"]) >= UNLOCK_CAP


def _parts(ids: Sequence[str], size: int = 400) -> Iterable[list[str]]:
    return (list(ids[start : start + size]) for start in range(0, len(ids), size))
