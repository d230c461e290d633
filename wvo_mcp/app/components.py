"""The long-lived parts of a process, started in a declared order and ended in the reverse one, in one task group."""

import logging
from collections.abc import Awaitable, Callable, Sequence

import anyio
from anyio.abc import TaskGroup

from wvo_mcp.errors import WvoError
from wvo_mcp.ports.world import Component

logger = logging.getLogger(__name__)

DRAIN_SECONDS = 10.0
"""How long all components together may take to finish what they began."""


Function = Callable[[], Awaitable[None]]


class FunctionComponent(Component):
    """`begin` is awaited at its start, `run` goes on from then until it is cancelled, `hurry` is called when the process is
    about to end, and `leave` is awaited at its end."""

    def __init__(
        self,
        name: str,
        *,
        begin: Function | None = None,
        run: Function | None = None,
        hurry: Callable[[], None] | None = None,
        leave: Function | None = None,
    ) -> None:
        self.name = name
        self._begin, self._work, self._hurry, self._leave = begin, run, hurry, leave
        self._scope = anyio.CancelScope()
        self._ended = anyio.Event()

    async def start(self, tasks: TaskGroup) -> None:
        if self._begin is not None:
            await self._begin()
        if self._work is not None:
            tasks.start_soon(self._run, self._work, name=self.name)

    async def drain(self, deadline: float) -> None:
        if self._hurry is not None:
            self._hurry()

    async def stop(self) -> None:
        if self._work is not None:
            self._scope.cancel()
            await self._ended.wait()
        if self._leave is not None:
            await self._leave()

    async def _run(self, work: Function) -> None:
        try:
            with self._scope:
                await work()
        finally:
            self._ended.set()


class Components:
    """Those of one process, in the order in which they start."""

    def __init__(self, components: Sequence[Component], drain_seconds: float = DRAIN_SECONDS) -> None:
        self._components = components
        self._drain_seconds = drain_seconds
        self._started: list[Component] = []

    async def run(self, serve: Callable[[], Awaitable[None]]) -> None:
        """Start them, serve until that returns, drain them, stop them. Raises what a start or `serve` raised, after those
        that were started have been stopped; an error at a stop is logged, and the next one is stopped all the same."""
        failed: Exception | None = None
        async with anyio.create_task_group() as tasks:
            try:
                for component in self._components:
                    await component.start(tasks)
                    self._started.append(component)
                    await component.ready()
                await serve()
                await self._drain()
            except Exception as error:  # raised below, outside of the group, which would wrap it
                failed = error
            finally:
                with anyio.CancelScope(shield=True):
                    await self._stop()
                tasks.cancel_scope.cancel()
        if failed is not None:
            raise failed

    async def _drain(self) -> None:
        deadline = anyio.current_time() + self._drain_seconds
        for component in reversed(self._started):
            with anyio.CancelScope(deadline=deadline) as scope:
                await component.drain(deadline)
            if scope.cancelled_caught:
                logger.warning("%s had not finished when its time was over", component.name)

    async def _stop(self) -> None:
        while self._started:
            component = self._started.pop()
            try:
                await component.stop()
            except WvoError as error:
                logger.warning("%s did not end well: %s", component.name, error.message)
            except Exception:  # an edge: those that started before it must be stopped as well
                logger.exception("%s did not end well", component.name)
