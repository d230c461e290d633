"""The page within another process, such as an autopilot: on this machine alone, and with the end of that process."""

import logging
import socket
from collections.abc import Generator
from contextlib import contextmanager

import anyio
from anyio.abc import TaskGroup

from wvo_mcp.app.web import sign_in, site_of
from wvo_mcp.domain.access import DOORS
from wvo_mcp.domain.autopilot import PageAt
from wvo_mcp.errors import InvalidInput
from wvo_mcp.faces.http import address_of, listen, run_within
from wvo_mcp.operations import Container
from wvo_mcp.orchestration.jobs import Jobs, LongWork
from wvo_mcp.ports.world import Component
from wvo_mcp.settings import Settings

logger = logging.getLogger(__name__)

_HOST = "127.0.0.1"


@contextmanager
def page_listener(port: int, *, or_any: bool) -> Generator[tuple[socket.socket, str]]:
    """Where the page listens, and what a person must know of that. Raises InvalidInput for a port that is taken, unless any
    will do."""
    note = ""
    try:
        made = listen(_HOST, port)
    except InvalidInput:
        if not or_any:
            raise
        note = f"Port {port} is taken; the page has another one."
        made = listen(_HOST, 0)
    with made as listener:
        yield listener, note


class PageWithin(Component):
    """It works with the services of its process, so what it asks for is done there: it lands and launches nothing itself. A
    fault of it ends nothing else."""

    name = "the page"

    def __init__(self, settings: Settings, services: Container, listener: socket.socket, note: str = "") -> None:
        self._jobs = Jobs()
        self._settings, self._services = settings, services.having({LongWork: self._jobs})
        self._listener, self._note = listener, note
        self._scope = anyio.CancelScope()
        self._ended = anyio.Event()

    async def at(self) -> PageAt:
        address = address_of(self._listener, DOORS)
        link, why_not = await sign_in(self._settings, self._services, address)
        return PageAt(address, link, " ".join(part for part in (self._note, why_not) if part))

    async def start(self, tasks: TaskGroup) -> None:
        await self._jobs.start(tasks)
        tasks.start_soon(self._run, name=self.name)

    async def stop(self) -> None:
        self._scope.cancel()
        await self._ended.wait()
        await self._jobs.stop()

    async def _run(self) -> None:
        try:
            site = site_of(self._settings, self._services, DOORS)
            async with anyio.create_task_group() as group:
                group.start_soon(site.run)
                with self._scope:
                    await run_within(site, self._listener, site.close)
                group.cancel_scope.cancel()
        except Exception:  # an edge: the workers go on
            logger.exception("the page has ended; the workers go on")
        finally:
            self._ended.set()
