"""What a change of a large graph costs, counted in tasks and rows instead of time: it does not grow with the graph."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import pytest

from tests.support.bench import Bench
from wvo_mcp.store.records.bundles import BEST, CROWD
from wvo_mcp.store.records.graph import BUDGET, Graph
from wvo_mcp.store.sql import Rows
from wvo_mcp.store.sqlite.connection import SqliteRows

pytestmark = [pytest.mark.anyio, pytest.mark.sqlite, pytest.mark.requirement("SCHED-1")]

Shape = Iterable[tuple[str, Sequence[str], int]]
"""(task, what it waits for, its tail); all are of the same value and size, so that nobody's bundle holds another."""


class Cost:
    """What was read and written since the last look."""

    def __init__(self, bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
        self._bench = bench
        self.visited: list[str] = []
        self.dependents: list[int] = []
        self.statements = 0
        self._changes = 0
        nodes, below, execute = Graph.nodes, Graph.below, SqliteRows.execute

        def read_nodes(graph: Graph, ids: Sequence[str]) -> Any:
            self.visited += ids
            return nodes(graph, ids)

        def read_below(graph: Graph, ids: Sequence[str]) -> Any:
            found = below(graph, ids)
            self.dependents += [len(one.best) for one in found.values()]
            return found

        def executed(rows: SqliteRows, sql: str, params: Any) -> Any:
            self.statements += 1
            return execute(rows, sql, params)

        monkeypatch.setattr(Graph, "nodes", read_nodes)
        monkeypatch.setattr(Graph, "below", read_below)
        monkeypatch.setattr(SqliteRows, "execute", executed)

    async def of(self, name: str, **arguments: Any) -> tuple[int, int]:
        """Call the operation; how many different tasks were looked at, and how many rows changed."""
        self.visited, self.dependents, self.statements = [], [], 0
        before = await self._bench.store.writer.read(_changes)
        await self._bench.call(name, **arguments)
        return len(set(self.visited)), await self._bench.store.writer.read(_changes) - before

    async def completing(self, task_id: str) -> tuple[int, int]:
        await self._bench.claim(task_id=task_id)
        return await self.of("complete_task", task_id=task_id, summary="done")


async def _changes(rows: Rows) -> int:
    assert isinstance(rows, SqliteRows)
    return int(rows.raw.total_changes)


@pytest.fixture
def cost(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> Cost:
    return Cost(bench, monkeypatch)


async def build(bench: Bench, shape: Shape) -> None:
    """Written as many calls would have left it."""
    await bench.create({"id": "first", "title": "makes the lane", "priority": "low"})
    made = list(shape)

    async def write(rows: Rows) -> None:
        lane = rows.value("SELECT lane_id FROM tasks")
        at = rows.value("SELECT created_at FROM tasks")
        rows.run_many(
            """
            INSERT INTO tasks (id, seq, title, priority, complexity, lane_id, unmet_deps, bundle_value, bundle_size,
              heard_value, heard_size, tail, score, event_head, created_at, updated_at)
            VALUES (?, ?, 't', 'medium', 5, ?, ?, 5, 5, 5, 5, ?, 1, '', ?, ?)
            """,
            [(name, 2 + n, lane, len(on), tail, at, at) for n, (name, on, tail) in enumerate(made)],
        )
        rows.run_many(
            "INSERT INTO task_dependencies (task_id, depends_on_task_id) VALUES (?, ?)",
            [(name, other) for name, on, _ in made for other in on],
        )

    await bench.store.writer.write(write)
    while await bench.read(lambda tx: tx.graph.stale()):
        await bench.write(lambda tx: tx.graph.refresh(BUDGET))


def chain(length: int) -> Iterator[tuple[str, list[str], int]]:
    for n in range(length):
        yield f"N{n}", [f"N{n - 1}"] if n else [], min(1000, 5 * (length - n))


def join(width: int) -> Iterator[tuple[str, list[str], int]]:
    yield from ((f"L{n}", [], 10) for n in range(width))
    yield "J", [f"L{n}" for n in range(width)], 5


def in_tree(depth: int) -> Iterator[tuple[str, list[str], int]]:
    """Each waits for two; T1 comes last of all."""
    for n in range(2**depth - 1, 0, -1):
        below = [f"T{2 * n}", f"T{2 * n + 1}"] if 2 * n < 2**depth else []
        yield f"T{n}", below, 5 * n.bit_length()


def hub(width: int) -> Iterator[tuple[str, list[str], int]]:
    yield "HUB", [], 10
    yield from ((f"K{n}", ["HUB"], 5) for n in range(width))


async def test_at_the_end_of_a_chain_of_20_000_a_change_is_heard_a_dozen_tasks_up(bench: Bench, cost: Cost) -> None:
    await build(bench, chain(20_000))

    visited, _ = await cost.of("update_task", task_id="N19999", priority="critical")
    assert 5 < visited <= 20
    visited, changed = await cost.completing("N0")
    assert (visited, cost.statements <= 20) == (0, True)
    assert changed < 30
    # Its tail is at most 1,000 points, 200 tasks of this size.
    visited, _ = await cost.of("update_task", task_id="N19999", complexity=4)
    assert 190 < visited <= 210


async def test_before_a_join_of_5_000_a_completion_reads_none_a_longer_path_a_thousand(
    bench: Bench, cost: Cost
) -> None:
    await build(bench, join(5_000))

    assert (await cost.completing("L0"))[0] == 0
    assert cost.statements <= 20
    visited, _ = await cost.of("update_task", task_id="J", complexity=8)
    assert 900 < visited <= BUDGET + 1
    (marked,) = await bench.sql("SELECT count(*) AS n FROM tasks WHERE unlock_stale = 1")
    assert marked["n"] == 4_999 - BUDGET
    await bench.force("UPDATE tasks SET unmet_deps = 65, bundle_value = 100, heard_value = 100 WHERE id = 'J'")
    await bench.force("UPDATE tasks SET status = 'done' WHERE id LIKE 'L%' AND seq > 67")
    # The share of J is no longer nothing: those that are left are made anew, once.
    assert (await cost.completing("L1"))[0] == 64
    assert (await cost.completing("L2"))[0] == 0


async def test_in_an_in_tree_of_16_000_a_completion_looks_at_its_sister_at_most(bench: Bench, cost: Cost) -> None:
    await build(bench, in_tree(14))

    assert (await cost.completing("T8192"))[0] <= 1
    visited, _ = await cost.of("update_task", task_id="T1", priority="critical")
    assert visited <= BUDGET + 1  # all are alike, so it is worth a little more for everybody


async def test_of_20_000_direct_dependents_the_best_200_are_read_by_an_index(bench: Bench, cost: Cost) -> None:
    await build(bench, hub(20_000))
    await cost.of("update_task", task_id="K7", priority="critical")  # from now on its edges are filled in

    visited, changed = await cost.of("update_task", task_id="K19000", priority="critical")
    assert visited == 2
    assert max(cost.dependents) == BEST < CROWD
    assert changed < 30
    task = await bench.task("HUB")
    assert (task.bundle_value, task.bundle_size) == (5 + 15 + 15, 15)
    await bench.create({"id": "LATE", "title": "t", "business_value": 20, "complexity": 1, "depends_on": ["HUB"]})
    task = await bench.task("HUB")
    assert (task.bundle_value, task.bundle_size) == (5 + 20, 5 + 1)
