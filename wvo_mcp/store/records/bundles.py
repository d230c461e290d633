"""What is kept of each open task for its score, as the database holds it: reads and writes."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

from wvo_mcp.domain.instant import instant, iso
from wvo_mcp.domain.task import Priority, Task
from wvo_mcp.domain.wsjf import MOST_AWAITED, weight
from wvo_mcp.store.sql import Rows, parts

EDGES = 3
"""A task may wait for another by so many edges at most: dependency, parent, block."""
SHARED = tuple(1 << n for n in range(MOST_AWAITED.bit_length()))
"""A task that waits for so many is shared among fewer than with one more."""
NEARLY_SHARED = sorted({one - less for one in SHARED for less in range(1, EDGES) if one > less})
"""The same with two or three more."""


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
    edges: int = 1
    """A parent may also depend on its child, and a blocked task wait for it besides."""


@dataclass(slots=True)
class Pace:
    """What all scores of a store have in common: so many agents may work at once, and the step of the path's q."""

    agents: int
    step: int
    rescored: int
    """Scores of tasks up to this `seq` follow the present step; -1 when all do."""


CROWD = 1_000
"""Of a task that more depend on, the best are read by an index on the edges, which are filled in for that from then on."""
BEST = 200

_OPEN = "status NOT IN ('done', 'cancelled')"
_EDGES = (
    ("task_dependencies", "task_id", "depends_on_task_id", "TRUE"),
    ("tasks", "parent_id", "id", "TRUE"),
    ("task_waits", "task_id", "waits_for_task_id", "FALSE"),
)
"""Of each kind of edge: its table, the column of the task that waits, that of the task which it waits for, and whether it
also counts while the first is not blocked."""
_WAITS = """CASE WHEN k.status = 'blocked' THEN (
    SELECT count(*) FROM task_waits AS w CROSS JOIN tasks AS o ON o.id = w.waits_for_task_id
    WHERE w.task_id = k.id AND o.status <> 'done') ELSE 0 END"""
_AWAITS = f"k.unmet_deps + k.open_children + {_WAITS}"
_COUNTS = "k.heard_value * o.bundle_size * 1.001 >= o.bundle_value * k.heard_size"
"""Only a task that is worth more for each point than the whole bundle can belong to it (rounded parts may tie)."""
AGENTS = "(SELECT CAST(value AS BIGINT) FROM facts WHERE name = 'path_agents')"
_EAR = f"k.id, k.seq, k.heard_value, k.heard_size, {_AWAITS} AS awaits, k.tail"
_SCORED = f"k.id, {_AWAITS} AS awaits, k.bundle_value, k.bundle_size, k.tail, k.score"
_NODE = f"""k.id, k.seq, k.priority, k.business_value, (SELECT due_at FROM milestones AS m WHERE m.id = k.milestone_id),
    k.complexity, {_AWAITS}, k.bundle_value, k.bundle_size, k.heard_value, k.heard_size, k.tail, k.score"""


class Bundles:
    """What `Graph` reads and writes, in one transaction."""

    def __init__(self, rows: Rows, now: datetime, agents: int) -> None:
        self._rows = rows
        self._now = now
        self._agents = agents
        self._pace: Pace | None = None

    @property
    def pace(self) -> Pace:
        if self._pace is None:
            row = self._rows.one(f"SELECT path_step, rescored, {AGENTS} AS agents FROM store WHERE id = 1")
            assert row is not None  # noqa: S101 - every store has it
            self._pace = Pace(row["agents"] or self._agents, row["path_step"], row["rescored"])
        return self._pace

    # Reads.

    def nodes(self, ids: Sequence[str]) -> list[Node]:
        """Those of the tasks that are open."""
        found: list[Node] = []
        for part, marks in parts(ids):
            rows = self._rows.execute(f"SELECT {_NODE} FROM tasks AS k WHERE k.id IN ({marks}) AND k.{_OPEN}", part)
            for task_id, seq, priority, own, due_at, *kept in rows:
                due = None if due_at is None else instant(due_at)
                found.append(Node(task_id, seq, weight(Priority(priority), own, due, self._now), *kept))
        return found

    def prefetch_below(self, ids: Sequence[str]) -> None:
        """What is below these will be asked for after the next read."""
        for part, marks in parts(ids):
            self._rows.prefetch_statement(_every_below(marks), [*part, *part, *part])

    def below(self, ids: Sequence[str]) -> Mapping[str, Below]:
        """By task, where there is anything below."""
        found: dict[str, Below] = {}
        for part, marks in parts(ids):
            rows = list(self._rows.execute(_every_below(marks), [*part, *part, *part]))
            if len(rows) > CROWD:
                rows = [row for one in dict.fromkeys(part) for row in self._depending(one, found)]
                rows += self._rows.execute(_below(marks, _EDGES[1:]), [*part, *part])
            known: set[tuple[str, str]] = set()
            for base, *ear in rows:
                if (base, ear[0]) not in known:  # a parent may also depend on its child
                    known.add((base, ear[0]))
                    found.setdefault(base, Below()).best.append(Ear(*ear))
        return found

    def _depending(self, task_id: str, found: dict[str, Below]) -> list[Any]:
        """All that depend on the task, or the most valuable of a crowd. What was settled keeps its place in the index and is
        passed over."""
        crowd = "SELECT 1 FROM task_dependencies WHERE depends_on_task_id = ? AND ratio IS NOT NULL LIMIT 1"
        if self._rows.value(crowd, (task_id,)) is None:
            rows = list(self._rows.execute(f"{_below('?', _EDGES[:1])} LIMIT {CROWD + 1}", (task_id,)))
            if len(rows) <= CROWD:
                return rows
            self._rows.run(
                """
                UPDATE task_dependencies SET ratio = t.heard_value / t.heard_size, tail = t.tail
                FROM tasks AS t WHERE t.id = task_dependencies.task_id AND depends_on_task_id = ?
                """,
                (task_id,),
            )
        longest = self._rows.value(
            f"""
            SELECT k.tail FROM task_dependencies AS d INDEXED BY task_dependents_tail CROSS JOIN tasks AS k ON k.id = d.task_id
            WHERE d.depends_on_task_id = ? AND d.ratio IS NOT NULL AND k.{_OPEN} ORDER BY d.tail DESC LIMIT 1
            """,
            (task_id,),
        )
        found[task_id] = Below(tail=longest or 0)
        best = self._rows.execute(
            f"""
            SELECT d.depends_on_task_id AS base, {_EAR}
            FROM task_dependencies AS d INDEXED BY task_dependents_ratio CROSS JOIN tasks AS k ON k.id = d.task_id
            WHERE d.depends_on_task_id = ? AND d.ratio IS NOT NULL AND k.{_OPEN} ORDER BY d.ratio DESC LIMIT {BEST}
            """,
            (task_id,),
        )
        return list(best)

    def awaited(self, ids: Sequence[str]) -> list[tuple[str, str]]:
        """(task, open task that it waits for): dependencies, children, and of a blocked one what it waits for."""
        found: list[tuple[str, str]] = []
        for part, marks in parts(ids):
            found += self._rows.execute(
                f"SELECT DISTINCT e.waiter, o.id FROM {edges('waiter', marks)}"
                f" CROSS JOIN tasks AS o ON o.id = e.awaited WHERE o.{_OPEN}",
                [*part, *part, *part],
            )
        return found

    def sharing(self, ids: Sequence[str]) -> list[str]:
        """Open tasks that these wait for, but for those whose bundle holds none of them, however it is shared."""
        found: dict[str, None] = {}
        for part, marks in parts(ids):
            others = self._rows.column(
                f"""
                SELECT o.id FROM {edges("waiter", marks)} CROSS JOIN tasks AS k ON k.id = e.waiter
                  CROSS JOIN tasks AS o ON o.id = e.awaited
                WHERE (e.always OR k.status = 'blocked') AND o.{_OPEN} AND {_COUNTS}
                """,
                [*part, *part, *part],
            )
            found |= dict.fromkeys(others)
        return list(found)

    def users(self, ids: Sequence[str]) -> list[tuple[str, str, int]]:
        """(task, open dependent of it, number of open tasks that this one waits for)."""
        found: list[tuple[str, str, int]] = []
        for part, marks in parts(ids):
            found += self._rows.execute(
                f"SELECT DISTINCT e.awaited, k.id, {_AWAITS} FROM {edges('awaited', marks)} {_WAITING}",
                [*part, *part, *part],
            )
        return found

    def behind(self, task: Task) -> tuple[list[Scored], int]:
        """Open dependents of a task just finished, as far as they were blocked, wait for no dependency any more or for as many
        tasks as one of `SHARED`; and the complexity of all open tasks."""
        found: dict[str, Scored] = {}
        rows = iter(self._rows.execute(_BEHIND, {"id": task.id, "parent": task.parent_id, "at": iso(self._now)}))
        _, open_size, step, rescored, agents, *_ = next(rows)
        self._pace = Pace(agents or self._agents, int(step), int(rescored))
        for row in rows:
            one = Scored(*row)
            if (known := found.get(one.id)) is not None:
                one = one._replace(
                    ready=known.ready or one.ready, freed=known.freed or one.freed, edges=known.edges + 1
                )
            found[one.id] = one
        return list(found.values()), int(open_size)

    def between(self, after: int, until: int) -> tuple[list[Scored], bool]:
        """Open tasks with no unmet dependency and `after` < seq <= `until`, and whether any task comes later."""
        rows = self._rows.execute(
            f"SELECT {_SCORED} FROM tasks AS k WHERE k.seq > ? AND k.seq <= ? AND k.{_OPEN} AND k.unmet_deps = 0",
            (after, until),
        )
        return [Scored(*row) for row in rows], int(self._rows.value("SELECT max(seq) FROM tasks") or 0) > until

    def open_size(self) -> int:
        """The complexity of all open tasks."""
        return int(self._rows.value("SELECT n FROM counters WHERE name = 'open_size'"))

    # Writes.

    def keep(self, nodes: Sequence[Node], telling: Sequence[Node]) -> None:
        """`telling` are those of them that the tasks above are to know otherwise than before."""
        self._rows.run_many(
            """
            UPDATE tasks SET bundle_value = ?, bundle_size = ?, heard_value = ?, heard_size = ?, tail = ?, score = ?
            WHERE id = ?
            """,
            [(*node.kept, node.id) for node in nodes],
        )
        if telling:
            self._rows.run_many(
                """
                UPDATE task_dependencies SET ratio = :ratio, tail = :tail
                WHERE task_id = :id AND (ratio <> :ratio OR tail <> :tail)
                """,
                [{"id": one.id, "ratio": one.heard_value / one.heard_size, "tail": one.tail} for one in telling],
            )

    def keep_scores(self, scores: Sequence[tuple[str, float]]) -> None:
        self._rows.run_many("UPDATE tasks SET score = ? WHERE id = ?", [(score, task_id) for task_id, score in scores])

    def keep_pace(self) -> None:
        self._rows.put("UPDATE store SET path_step = ?, rescored = ?", (self.pace.step, self.pace.rescored))

    def mark(self, ids: Collection[str]) -> None:
        self._rows.run_many("UPDATE tasks SET unlock_stale = 1 WHERE id = ?", [(one,) for one in ids])


def edges(by: str, marks: str, kinds: Sequence[tuple[str, str, str, str]] = _EDGES) -> str:
    """The edges (waiter, awaited, always) that have one of some tasks as `by`; the ids are given once for each kind."""
    parts = (
        f"SELECT {waiter} AS waiter, {awaited} AS awaited, {always} AS always FROM {table}"
        f" WHERE {waiter if by == 'waiter' else awaited} IN ({marks})"
        for table, waiter, awaited, always in kinds
    )
    return f"({' UNION ALL '.join(parts)}) AS e"


_WAITING = f"CROSS JOIN tasks AS k ON k.id = e.waiter WHERE (e.always OR k.status = 'blocked') AND k.{_OPEN}"


def _below(marks: str, kinds: Sequence[tuple[str, str, str, str]] = _EDGES) -> str:
    """The open dependents of some tasks."""
    return f"SELECT e.awaited AS base, {_EAR} FROM {edges('awaited', marks, kinds)} {_WAITING}"


def _every_below(marks: str) -> str:
    # As a parameter of the limit, SQLite would compile the statement again for each use.
    return f"{_below(marks)} LIMIT {CROWD + 1}"


_BEHIND = f"""
    SELECT NULL AS id, n AS awaits, path_step AS bundle_value, rescored AS bundle_size, {AGENTS} AS tail, NULL AS score,
      NULL AS seq, NULL AS ready, NULL AS freed
    FROM counters CROSS JOIN store WHERE name = 'open_size'
    UNION ALL
    SELECT {_SCORED}, k.seq, d.edge = 0 AND k.status = 'pending' AND k.unmet_deps = 0
      AND (k.gates = 0 OR ((k.gates & ~9) = 0 AND ((k.gates & 1) = 0 OR k.not_before <= :at)
        AND ((k.gates & 8) = 0 OR k.kept_until <= :at))), d.edge = 2 AND {_WAITS} = 0
    FROM (
      SELECT task_id AS id, 0 AS edge FROM task_dependencies WHERE depends_on_task_id = :id
      UNION ALL SELECT :parent, 1
      UNION ALL SELECT task_id, 2 FROM task_waits WHERE waits_for_task_id = :id
    ) AS d CROSS JOIN tasks AS k ON k.id = d.id
    WHERE k.{_OPEN} AND (k.unmet_deps = 0 OR d.edge = 2 OR {_AWAITS} IN ({", ".join(map(str, SHARED))})
      OR ((k.id = :parent OR k.status = 'blocked') AND {_AWAITS} IN ({", ".join(map(str, NEARLY_SHARED))})))
    """
"""The first row is that of the store."""
