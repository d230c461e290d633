"""The leader of a store: one server at a time, which does the chores."""

import logging
from collections.abc import Awaitable, Callable, Sequence

import anyio
from anyio.abc import TaskGroup

from wvo_mcp.domain.lease import Caller
from wvo_mcp.errors import WvoError
from wvo_mcp.orchestration.leader.chores import Chore, Rota
from wvo_mcp.orchestration.leader.leading import Candidate
from wvo_mcp.ports import Clock, Store

logger = logging.getLogger(__name__)


class Leader:
    """Seeks the post, and does the chores while it has it. One in every server."""

    def __init__(
        self, store: Store, caller: Callable[[], Caller], clock: Clock, chores: Callable[[], Awaitable[Sequence[Chore]]]
    ) -> None:
        """`chores` is awaited when this server leads for the first time: most never need what it imports."""
        self._candidate = Candidate(store, caller, clock)
        self._chores = chores
        self._rota = Rota((), clock)

    @property
    def running(self) -> list[str]:
        """The chores that are being done here."""
        return self._rota.running

    async def run(self) -> None:
        """Until cancelled. Nothing that a chore does delays the renewal of the post."""
        async with anyio.create_task_group() as tasks:
            while True:
                await self.tick(tasks)
                await self._until_next_tick(tasks)

    async def _until_next_tick(self, tasks: TaskGroup) -> None:
        """Chores that are due more often than that are begun in between."""
        until = anyio.current_time() + self._candidate.pause
        while (left := until - anyio.current_time()) > 0:
            await self._rota.rest(min(left, self._rota.due_in()))
            if self._rota.due_in() <= 0:
                self._rota.turn(self._candidate.post, tasks, tick=False)

    async def tick(self, tasks: TaskGroup) -> bool:
        """One look at the post; what is due begins in `tasks`, or what runs is cancelled. Do we lead?"""
        try:
            post = await self._candidate.seek()
        except WvoError as error:
            logger.warning("leadership: %s", error.message)
            post = self._candidate.post
        except Exception:  # one of the three edges: the loop must outlive a defect of one step
            logger.exception("leadership failed")
            post = self._candidate.post
        if post is not None and not self._rota.chores:
            self._rota.chores = await self._chores()
            post = self._candidate.post  # it may have taken longer than the term
        self._rota.turn(post, tasks)
        return post is not None
