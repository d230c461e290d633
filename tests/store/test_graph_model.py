"""What is kept for the scores of small graphs that change at every turn, against the rule written out by brute force."""

import asyncio
import shutil
import tempfile
from collections.abc import Awaitable, Callable, Generator
from functools import partial
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.support.bench import ANN
from tests.support.clock import StoppedClock
from tests.support.postgres import Cluster
from tests.support.ranking import misranked
from tests.support.scale import sized
from tests.support.sessions import Servers
from tests.support.stores import Slate, a_fresh_store
from wvo_mcp.domain.task import Origin, Status
from wvo_mcp.orchestration.tasks import editing, lifecycle
from wvo_mcp.ports import Transaction
from wvo_mcp.store.records import bundles, graph
from wvo_mcp.store.sql import Rows
from wvo_mcp.store.transaction import StoreTransaction

pytestmark = pytest.mark.requirement("SCHED-1", "TASK-3")

MOST = 8
SETTLED = ("done", "cancelled")

_VALUES = st.sampled_from([0, 1, 5, 5.2, 20])
_SIZES = st.sampled_from([1, 2, 5, 10])
_some = st.runner().flatmap(lambda machine: st.sampled_from(sorted(machine.status)))
_several = st.lists(_some, max_size=3, unique=True)


class Graph(RuleBasedStateMachine):
    """Tasks come, are linked and unlinked, finished, cancelled and opened again, in any order that keeps out circles."""

    slate: Slate | None = None

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.Runner()
        self.folder = Path(tempfile.mkdtemp())
        self.clock = StoppedClock()
        self.status: dict[str, str] = {}
        self.depends_on: dict[str, set[str]] = {}
        self.parent: dict[str, str | None] = {}
        self.told = True
        """No completion has changed a bundle yet, which tells nobody."""

    @initialize(shape=st.sampled_from(["chain", "diamonds", "none"]))
    def open(self, shape: str) -> None:
        self.store = a_fresh_store(self.folder, self.slate, self.clock, Servers())
        self.loop.run(self.store.open())
        for number in range(6):
            above = {"chain": {number - 1}, "diamonds": {number - 1, number - 2}, "none": set[int]()}[shape]
            self.add([f"T{other}" for other in above if other >= 0])

    def teardown(self) -> None:
        self.loop.run(self.store.close())
        self.loop.close()
        shutil.rmtree(self.folder)

    def write(self, work: Callable[[Transaction], Awaitable[object]]) -> None:
        self.loop.run(self.store.write(ANN, work))

    def below(self, task_id: str) -> set[str]:
        direct = {other for other, on in self.depends_on.items() if task_id in on}
        if (parent := self.parent[task_id]) is not None:
            direct.add(parent)
        return direct.union(*(self.below(other) for other in direct))

    @precondition(lambda self: len(self.status) < MOST)
    @rule(depends_on=_several, parent=st.none() | _some, value=_VALUES, size=_SIZES)
    def add(self, depends_on: list[str], parent: str | None = None, value: float = 5, size: int = 5) -> None:
        task_id = f"T{len(self.status)}"
        if parent is not None and not self.below_or(parent).isdisjoint(depends_on):
            parent = None
        fields = {"title": task_id, "business_value": value, "complexity": size}
        draft = editing.Draft(task_id, fields, depends_on, parent)
        self.write(lambda tx: editing.create(tx, [draft], Origin.HUMAN))
        self.status[task_id] = "pending"
        self.depends_on[task_id] = set(depends_on)
        self.parent[task_id] = parent

    def below_or(self, task_id: str) -> set[str]:
        return self.below(task_id) | {task_id}

    @rule(task_id=_some, parent=st.none() | _some)
    def adopt(self, task_id: str, parent: str | None) -> None:
        if parent is None or task_id not in self.below_or(parent):
            self.write(partial(_edited, task_id=task_id, fields={"parent_id": parent}))
            self.parent[task_id] = parent

    @rule(task_id=_some, value=_VALUES, size=_SIZES)
    def resize(self, task_id: str, value: float, size: int) -> None:
        self.write(partial(_edited, task_id=task_id, fields={"business_value": value, "complexity": size}))

    @rule(task_id=_some, on=_several)
    def block(self, task_id: str, on: list[str]) -> None:
        """It waits for what is not below it, and goes on when all of that is done, or a person says so."""
        waits = [other for other in on if other not in self.below_or(task_id) and self.status[other] != "done"]
        if self.status[task_id] == "pending" and waits:
            self.write(partial(_blocked, task_id=task_id, waits=waits))
            self.scores_are_right()
            self.write(partial(_moved, task_id=task_id, ways=("pending",)))

    @rule(task_id=_some, on=_several)
    def link(self, task_id: str, on: list[str]) -> None:
        sound = [other for other in on if other != task_id and other not in self.below(task_id)]
        self.write(partial(_linked, task_id=task_id, on=sound))
        self.depends_on[task_id] |= set(sound)

    @rule(task_id=_some, on=_several)
    def unlink(self, task_id: str, on: list[str]) -> None:
        self.write(partial(_unlinked, task_id=task_id, on=on))
        self.depends_on[task_id] -= set(on)

    @rule(tasks=st.lists(_some, min_size=1, max_size=4), cancel=st.sampled_from([False, False, True]))
    def move(self, tasks: list[str], cancel: bool) -> None:
        """Finish or cancel what is open, and open what is settled, one after the other.

        A task may be finished before what it waits for: links can come late, and what it waited for be opened again.
        """
        for task_id in tasks:
            settles = self.status[task_id] not in SETTLED
            ways = ("pending",) if not settles else ("cancelled",) if cancel else ("in_progress", "done")
            self.write(partial(_moved, task_id=task_id, ways=ways))
            self.status[task_id] = ways[-1]
            self.told &= ways[-1] != "done"
            self.scores_are_right()

    @rule(most=st.integers(1, 6))
    def work(self, most: int) -> None:
        """Finish tasks as they become ready."""
        for _ in range(most):
            ready = [
                task_id
                for task_id, status in self.status.items()
                if status == "pending" and all(self.status[other] == "done" for other in self.depends_on[task_id])
            ]
            self.move(ready[:1], False)

    @invariant()
    def scores_are_right(self) -> None:
        for _ in range(100):
            if not self.loop.run(self.store.read(ANN, lambda tx: tx.graph.stale())):
                break
            self.write(lambda tx: tx.graph.refresh(2))

        def read(rows: Rows) -> list[str]:
            edges = rows.all("SELECT task_id AS a, depends_on_task_id AS b FROM task_dependencies")
            waits = rows.all("SELECT task_id AS a, waits_for_task_id AS b FROM task_waits")
            return list(
                misranked(
                    rows.all("SELECT * FROM tasks"),
                    [(row["a"], row["b"]) for row in edges],
                    [(row["a"], row["b"]) for row in waits],
                    step=rows.value("SELECT path_step FROM store"),
                    told=self.told,
                )
            )

        async def wrong(tx: Transaction) -> list[str]:
            return read(cast(StoreTransaction, tx).tasks._rows)

        assert self.loop.run(self.store.read(ANN, wrong)) == []


async def _linked(tx: Transaction, task_id: str, on: list[str]) -> None:
    new = set(on) - {row["id"] for row in await tx.tasks.dependencies(task_id)}
    if new:
        await tx.tasks.add_dependencies(task_id, sorted(new))
        await tx.graph.relinked(task_id, sorted(new))


async def _unlinked(tx: Transaction, task_id: str, on: list[str]) -> None:
    gone = set(on) & {row["id"] for row in await tx.tasks.dependencies(task_id)}
    if gone:
        await tx.tasks.remove_dependencies(task_id, sorted(gone))
        await tx.graph.relinked(task_id, sorted(gone))


async def _moved(tx: Transaction, task_id: str, ways: tuple[str, ...]) -> None:
    for way in ways:
        await lifecycle.move(tx, await tx.tasks.get(task_id), Status(way), "task.moved")


async def _edited(tx: Transaction, task_id: str, fields: dict[str, Any]) -> None:
    await editing.change_fields(tx, await tx.tasks.get(task_id), fields)


async def _blocked(tx: Transaction, task_id: str, waits: list[str]) -> None:
    await lifecycle.block(tx, await tx.tasks.get(task_id), "waits", waits)


class GraphWithSmallBudget(Graph):
    """The walk up the graph is cut short at once, and the leader's refresh does the rest."""

    def __init__(self) -> None:
        super().__init__()
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr(graph.Graph, "budget", 1)
        self.patch.setattr(graph.Graph, "stretch", 3)
        self.patch.setattr(bundles, "CROWD", 1)

    def teardown(self) -> None:
        super().teardown()
        self.patch.undo()


@pytest.fixture(scope="module")
def slate(postgres: Cluster) -> Generator[None]:
    with postgres.database() as url:
        GraphOnPostgres.slate = Slate(postgres, url)
        yield


class GraphOnPostgres(GraphWithSmallBudget):
    """The same in a database."""


_BOUNDED = settings(
    max_examples=sized(full=50, short=15),
    stateful_step_count=25,
    deadline=None,
    print_blob=True,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],  # to shrink takes longer than a test may
)
TestGraph = Graph.TestCase
TestGraph.settings = _BOUNDED
TestGraphWithSmallBudget = GraphWithSmallBudget.TestCase
TestGraphWithSmallBudget.settings = _BOUNDED
TestGraphOnPostgres = pytest.mark.usefixtures("slate")(GraphOnPostgres.TestCase)
TestGraphOnPostgres.settings = settings(_BOUNDED, max_examples=sized(full=15, short=4))
