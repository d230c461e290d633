"""What follows from what is noticed in the workspaces of those who work: a checkpoint after many changes, none at an interval
in which nothing changed, and a word where one cannot be watched."""

import logging
from collections.abc import Awaitable, Callable, Collection

import anyio

from wvo_mcp.domain.changes import ENOUGH
from wvo_mcp.domain.checkpoints import Trigger
from wvo_mcp.errors import WvoError
from wvo_mcp.ports.checkpoints import Taken
from wvo_mcp.ports.watching import Watchers

logger = logging.getLogger(__name__)
TICK_SECONDS = 1.0
APART_SECONDS = 5.0
"""Between checkpoints that changes make of one workspace."""
TRUSTED = 4
"""At every so manieth interval a checkpoint is made all the same: the system may drop its news, and says nothing of what is
written through memory or from another machine."""
_LATE_SECONDS = 3.0
"""After so long a change has been noticed, or never is."""

Take = Callable[[str, Trigger], Awaitable[Taken | None]]


class Watches:
    """`running` gives the tasks whose workers work now; `take` makes a checkpoint, or None where it could not."""

    def __init__(
        self,
        watchers: Watchers,
        running: Callable[[], Collection[str]],
        take: Take,
        noticed: Callable[[float], None] = lambda _: None,
        tick_seconds: float = TICK_SECONDS,
    ) -> None:
        self._watchers = watchers
        self._running = running
        self._take = take
        self._noticed = noticed
        self._tick_seconds = tick_seconds
        self._skipped: dict[str, int] = {}
        self._owed: set[str] = set()
        """The last checkpoint of these failed: nothing that was noticed before is in one."""
        self._last: dict[str, float] = {}
        self._doubted: dict[str, float] = {}
        self._said: set[str] = set()

    async def run(self) -> None:
        """Until cancelled."""
        try:
            while True:
                await self._look()
                await anyio.sleep(self._tick_seconds)
        finally:
            with anyio.CancelScope(shield=True):
                await self._watchers.end()

    async def at_interval(self, task_id: str) -> None:
        """A checkpoint, unless nothing has changed for sure since the last one."""
        seen = self._watchers.look(task_id)
        quiet = seen.sure and not seen.files and task_id not in self._owed
        if quiet and self._skipped.get(task_id, 0) < TRUSTED - 1:
            self._skipped[task_id] = self._skipped.get(task_id, 0) + 1
            return
        taken = await self._taken(task_id, Trigger.INTERVAL)
        if quiet and taken is not None and taken.fresh:
            self._doubted[task_id] = anyio.current_time()

    async def _look(self) -> None:
        running = set(self._running())
        for kept in (self._skipped, self._last, self._doubted):
            for task_id in kept.keys() - running:
                del kept[task_id]
        self._owed &= running
        self._said &= running
        try:
            await self._watchers.follow(running)
        except WvoError as error:
            logger.warning("workspaces are not watched for now: %s", error.message)
        for task_id in running:
            self._doubt(task_id)
            seen = self._watchers.look(task_id)
            if seen.trouble is not None and task_id not in self._said:
                self._said.add(task_id)
                text = "the workspace of %s is not watched (%s): its files are kept at intervals all the same"
                logger.warning(text, task_id, seen.trouble)
            apart = anyio.current_time() - self._last.get(task_id, float("-inf"))
            if seen.files >= ENOUGH and apart >= APART_SECONDS:
                await self._taken(task_id, Trigger.CHANGES)
        for one in self._watchers.delays():
            self._noticed(one)

    async def _taken(self, task_id: str, trigger: Trigger) -> Taken | None:
        self._skipped[task_id] = 0
        self._doubted.pop(task_id, None)
        self._last[task_id] = anyio.current_time()
        self._watchers.mark(task_id)
        self._owed.add(task_id)
        taken = await self._take(task_id, trigger)
        if taken is not None:
            self._owed.discard(task_id)
        return taken

    def _doubt(self, task_id: str) -> None:
        """A checkpoint held changes that nobody had noticed. Were they noticed since?"""
        at = self._doubted.get(task_id)
        if at is None or anyio.current_time() - at < _LATE_SECONDS:
            return
        del self._doubted[task_id]
        if not self._watchers.look(task_id).files:
            self._watchers.distrust(task_id, "files had changed, and nothing was noticed")
