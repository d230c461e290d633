"""The leader of a store: one server at a time, which does the chores."""

import logging
from collections.abc import Awaitable, Callable, Sequence

import anyio
from anyio.abc import TaskGroup

from wvo_mcp.domain.lease import Caller
from wvo_mcp.errors import WvoError
from wvo_mcp.orchestration.leader.chores import ChoreRunner, LeaderJob
from wvo_mcp.orchestration.leader.leading import Candidate
from wvo_mcp.ports import Clock, Store

logger = logging.getLogger(__name__)


class Leader:
    """Seeks to lead, and does the jobs while it leads. One in every server."""

    def __init__(
        self,
        store: Store,
        caller: Callable[[], Caller],
        clock: Clock,
        chores: Callable[[], Awaitable[Sequence[LeaderJob]]],
    ) -> None:
        """`chores` is awaited when this server leads for the first time: most never need what it imports."""
        self._candidate = Candidate(store, caller, clock)
        self._chores = chores
        self._runner = ChoreRunner((), clock)

    @property
    def running(self) -> list[str]:
        """The chores that are being done here."""
        return self._runner.running

    async def run(self) -> None:
        """Until cancelled. Nothing that a job does delays the renewal of the term."""
        async with anyio.create_task_group() as tasks:
            while True:
                await self.tick(tasks)
                await self._until_next_tick(tasks)

    async def _until_next_tick(self, tasks: TaskGroup) -> None:
        """Chores that are due more often than that are begun in between."""
        until = anyio.current_time() + self._candidate.pause
        while (left := until - anyio.current_time()) > 0:
            await self._runner.rest(min(left, self._runner.due_in()))
            if self._runner.due_in() <= 0:
                self._runner.turn(self._candidate.term, tasks, tick=False)

    async def tick(self, tasks: TaskGroup) -> bool:
        """Seek or keep the lead; what is due begins in `tasks`, or what runs is cancelled. Do we lead?"""
        try:
            term = await self._candidate.seek()
        except WvoError as error:
            logger.warning("leadership: %s", error.message)
            term = self._candidate.term
        except Exception:  # one of the three edges: the loop must outlive a defect of one step
            logger.exception("leadership failed")
            term = self._candidate.term
        if term is not None and not self._runner.chores:
            self._runner.chores = await self._chores()
            term = self._candidate.term  # it may have taken longer than the term
        self._runner.turn(term, tasks)
        return term is not None
