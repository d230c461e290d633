"""Checkpoints of the files of workspaces: asked for, at intervals while workers work, when they are paused; and what follows
from what they violate."""

import logging
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass, field

import anyio

from wvo_mcp.domain.checkpoints import Trigger
from wvo_mcp.domain.lease import Caller
from wvo_mcp.errors import WvoError
from wvo_mcp.orchestration.workspaces import violations
from wvo_mcp.orchestration.workspaces.timing import Timing
from wvo_mcp.orchestration.workspaces.watches import Watches
from wvo_mcp.ports import WatchedStore
from wvo_mcp.ports.checkpoints import Checkpoints, NoCheckpoint, Rollbacks, Taken
from wvo_mcp.ports.watching import Watchers

logger = logging.getLogger(__name__)
INTERVAL_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Guard:
    """Keeps the files of those who work. Where no checkpoint can be made, work goes on all the same: the next one may.
    Without `watchers` one is made at each interval, whether files changed or not."""

    store: WatchedStore
    checkpoints: Checkpoints
    rollbacks: Rollbacks
    watchers: Watchers | None = None
    timing: Timing = field(default_factory=Timing)

    async def take(self, caller: Caller, task_id: str, trigger: Trigger) -> Taken | None:
        """A checkpoint, and what follows from its violations."""
        taken = await self.keep(task_id, trigger)
        if taken is not None:
            try:
                await violations.follow(self.store, caller, self.rollbacks, task_id, taken)
            except WvoError as error:
                logger.warning("what the files of %s violate was told to nobody: %s", task_id, error)
        return taken

    async def keep(self, task_id: str, trigger: Trigger) -> Taken | None:
        """A checkpoint."""
        began = anyio.current_time()
        try:
            taken = await self.checkpoints.take(task_id, trigger)
        except (NoCheckpoint, WvoError) as error:
            logger.warning("the files of %s were not kept: %s", task_id, error)
            self.timing.failed(trigger, (anyio.current_time() - began) * 1_000)
            return None
        if taken is not None:
            self.timing.taken(trigger, taken)
        return taken


class Triggers:
    """`running` gives the tasks whose workers work now, `alone` those of them whose files are only kept: what they violate is
    judged when the task is completed."""

    def __init__(
        self,
        guard: Guard,
        caller: Caller,
        running: Callable[[], Collection[str]],
        seconds: float = INTERVAL_SECONDS,
        alone: Callable[[], Collection[str]] = tuple,
    ) -> None:
        self._guard = guard
        self._caller = caller
        self._running = running
        self._seconds = seconds
        self._alone = alone

    async def run(self) -> None:
        """Until cancelled; one workspace after the other."""
        guard = self._guard
        if guard.watchers is None:
            await self._intervals(self._take)
            return
        watches = Watches(guard.watchers, self._running, self._take, guard.timing.noticed)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(watches.run)
            await self._intervals(watches.at_interval)

    async def _intervals(self, at_interval: Callable[[str], Awaitable[object]]) -> None:
        while True:
            await anyio.sleep(self._seconds)
            for task_id in list(self._running()):
                await at_interval(task_id)
            try:
                await self._guard.timing.keep(self._guard.store, self._caller)
            except WvoError as error:
                logger.debug("how long things took is kept later: %s", error.message)

    async def _take(self, task_id: str, trigger: Trigger = Trigger.INTERVAL) -> Taken | None:
        if task_id in self._alone():
            return await self._guard.keep(task_id, trigger)
        return await self._guard.take(self._caller, task_id, trigger)
