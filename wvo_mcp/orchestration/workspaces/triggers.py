"""Checkpoints of the files of workers, without being asked: at intervals while they work, and when they are paused."""

import logging
from collections.abc import Callable, Collection

import anyio

from wvo_mcp.domain.checkpoints import Trigger
from wvo_mcp.errors import WvoError
from wvo_mcp.ports.checkpoints import Checkpoints, NoCheckpoint

logger = logging.getLogger(__name__)
INTERVAL_SECONDS = 30.0


class Triggers:
    """`running` gives the tasks whose workers work now."""

    def __init__(
        self, checkpoints: Checkpoints, running: Callable[[], Collection[str]], seconds: float = INTERVAL_SECONDS
    ) -> None:
        self._checkpoints = checkpoints
        self._running = running
        self._seconds = seconds

    async def run(self) -> None:
        """Until cancelled; one workspace after the other."""
        while True:
            await anyio.sleep(self._seconds)
            for task_id in list(self._running()):
                await take(self._checkpoints, task_id, Trigger.INTERVAL)


async def take(checkpoints: Checkpoints, task_id: str, trigger: Trigger) -> None:
    """Where none can be made, work goes on all the same: the next one may."""
    try:
        await checkpoints.take(task_id, trigger)
    except (NoCheckpoint, WvoError) as error:
        logger.warning("the files of %s were not kept: %s", task_id, error)
