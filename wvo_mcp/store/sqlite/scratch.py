"""A store in memory, for simulations: the same SQLite and the same SQL, without a file, a sync or anybody else."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import TypeVar

from wvo_mcp.domain.lease import Caller
from wvo_mcp.ports import Clock, Liveness, Store, Transaction
from wvo_mcp.store.records.bundles import Node
from wvo_mcp.store.records.graph import Graph
from wvo_mcp.store.sql import Rows
from wvo_mcp.store.sqlite.migrate import migrate
from wvo_mcp.store.sqlite.store import SqliteStore
from wvo_mcp.store.transaction import StoreTransaction

T = TypeVar("T")


class ScratchStore(SqliteStore):
    """`ports.Store`, gone when it is closed."""

    def __init__(self, clock: Clock, liveness: Liveness, *, agents: int) -> None:
        super().__init__(Path(":memory:"), clock, liveness, synchronous="OFF", agents=agents)

    async def open(self, *, make: bool = True) -> None:
        await self.writer.start()
        await migrate(self.writer)
        self._reader = self.writer

    async def trial(
        self,
        work: Callable[[Store], Awaitable[T]],
        clock: Clock,
        liveness: Liveness,
        scores: Mapping[str, float] | None,
    ) -> T:
        """Run `work`, all of whose transactions are one, and undo what it did. With `scores`, by task, these order the queue
        and stay as they are; a task without one has 0."""

        async def run(rows: Rows) -> T:
            if scores is not None:
                rows.run("UPDATE tasks SET score = 0")
                rows.run_many("UPDATE tasks SET score = ? WHERE id = ?", [(score, id) for id, score in scores.items()])
            return await work(_Trial(clock, liveness, rows, scores, self.agents))

        return await self.writer.write(run, keep=False)


@dataclass(frozen=True, slots=True)
class _Trial:
    """`ports.Store` within a transaction that is open already. Its clock never jumps, so time needs no care."""

    clock: Clock
    liveness: Liveness
    rows: Rows
    scores: Mapping[str, float] | None
    agents: int

    async def read(self, caller: Caller, work: Callable[[Transaction], Awaitable[T]]) -> T:
        return await self.write(caller, work)

    async def write(self, caller: Caller, work: Callable[[Transaction], Awaitable[T]], *, keep: bool = True) -> T:
        if not keep:
            raise ValueError("a part of a trial cannot be undone by itself")
        inside = StoreTransaction(self.rows, self.clock.now(), caller, self.liveness, agents=self.agents)
        if self.scores is not None:
            inside.graph = _FixedScores(self.rows, inside.now, self.agents, self.scores)
        return await work(inside)


class _FixedScores(Graph):
    """Scores stay as they were given."""

    def __init__(self, rows: Rows, now: datetime, agents: int, scores: Mapping[str, float]) -> None:
        super().__init__(rows, now, agents)
        self._scores = scores

    def keep(self, nodes: Sequence[Node], telling: Sequence[Node]) -> None:
        super().keep([replace(node, score=self._scores.get(node.id, 0.0)) for node in nodes], telling)

    def keep_scores(self, scores: Sequence[tuple[str, float]]) -> None:
        """They stay."""

    async def rescore_due(self, after: str | None, limit: int) -> str | None:
        """They stay."""
