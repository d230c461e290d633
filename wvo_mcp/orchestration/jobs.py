"""Long work: begun in the background of a server, answered by a handle, polled there.

What is done within a second is answered as any call is, and nobody hears of a job. A job lives in the server that began it
and dies with it. Nothing of it is stored: a read that takes long writes nothing either.
"""

import hashlib
import logging
import math
import secrets
import time
from collections.abc import Awaitable, Callable, Generator
from contextlib import suppress
from copy import copy
from dataclasses import dataclass, field
from typing import Any, TypeVar

import anyio
import anyio.to_thread
from anyio.abc import TaskGroup

from wvo_mcp.domain.event import canonical
from wvo_mcp.domain.lease import Caller
from wvo_mcp.errors import Internal, NotFound, WvoError
from wvo_mcp.ports.world import Component

logger = logging.getLogger(__name__)
T = TypeVar("T")

PATIENCE_SECONDS = 1.0
"""So long a call waits for the end before it answers with a handle."""
KEPT = 100
"""Jobs that have ended and can still be asked for; the oldest are forgotten first."""
_UNKNOWN = "Only the server that gave it knows a handle: call again without the handle; nothing is done twice."
_SLICE_SECONDS = 0.02
_LOOK_SECONDS = 0.1

OnProgress = Callable[[float, str], Awaitable[None]]
"""Called with how far the work is (0-1), and in what."""


@dataclass(slots=True)
class Progress:
    """How far a piece of work is (0-1), and in what. What computes for long does so through `in_thread_slices`."""

    done: float = 0.0
    note: str = ""

    def report(self, done: float, note: str) -> None:
        self.done = min(1.0, max(self.done, done))
        self.note = note

    async def in_thread_slices(self, steps: Generator[Any, None, T], on_step: Callable[[Any], None] | None = None) -> T:
        """Drive the steps to their end in a thread, in slices with a breath between, so that other calls stay quick;
        `on_step` gets what they yield, once a slice. Cancelled between two slices."""
        while True:
            last, ended = await anyio.to_thread.run_sync(_slice, steps)
            if ended is not None:
                return ended[0]
            if on_step is not None:
                on_step(last)


def _slice(steps: Generator[Any, None, T]) -> tuple[Any, tuple[T] | None]:
    until = time.monotonic() + _SLICE_SECONDS
    last: Any = None
    while True:
        try:
            last = next(steps)
        except StopIteration as stop:
            return last, (stop.value,)
        # Afterwards: on a busy machine the time may be over before the first step, and there must be something to tell.
        if time.monotonic() >= until:
            return last, None


Work = Callable[[Progress], Awaitable[dict[str, Any]]]


@dataclass(eq=False, slots=True)
class _Job:
    """A piece of work that runs, or has ended with a result or an error."""

    tool: str
    agent_id: str = ""
    request: str = ""
    handle: str = field(default_factory=lambda: secrets.token_hex(8))
    progress: Progress = field(default_factory=Progress)
    result: dict[str, Any] = field(default_factory=dict[str, Any])
    error: WvoError | None = None
    ended: anyio.Event = field(default_factory=anyio.Event)
    scope: anyio.CancelScope = field(default_factory=anyio.CancelScope)

    async def run(self, work: Work) -> None:
        try:
            with self.scope:
                self.result = await work(self.progress)
        except WvoError as error:
            self.error = error
        except Exception:  # an edge: in the background nobody else would hear of it
            self.error = Internal(secrets.token_hex(4))
            logger.exception("%s failed in the background, ref %s", self.tool, self.error.details["ref"])
        finally:
            self.ended.set()

    async def answer(self, patience: float, on_progress: OnProgress | None) -> dict[str, Any]:
        """The result if it is there within so many seconds, else how far it is; `on_progress` is called meanwhile. Raises what
        the work raised."""
        with anyio.move_on_after(patience):
            while on_progress is not None and not self.ended.is_set():
                await on_progress(self.progress.done, self.progress.note)
                with anyio.move_on_after(_LOOK_SECONDS):
                    await self.ended.wait()
            await self.ended.wait()
        if self.error is not None:
            raise self.error
        if self.ended.is_set():
            return self.result
        return {
            "handle": self.handle,
            "state": "running",
            "progress": round(self.progress.done, 3),
            "note": self.progress.note,
            "hint": "Ask again with this handle in a few seconds.",
        }


class LongWork:
    """Work that may take longer than a call should. As it stands here, that of a command: done to its end while the caller
    waits."""

    async def ask(
        self, caller: Caller, tool: str, arguments: dict[str, Any], work: Work, on_progress: OnProgress | None = None
    ) -> dict[str, Any]:
        """The result, or a handle when it takes longer. Raises what the work raises while the caller waits for it."""
        job = _Job(tool)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(job.run, work)
            with suppress(WvoError):  # raised below: the group would wrap it
                await job.answer(math.inf, on_progress)
        return await job.answer(0.0, None)

    async def poll(self, tool: str, handle: str, on_progress: OnProgress | None = None) -> dict[str, Any]:
        """How the job is. Raises NotFound, and what the work raised."""
        raise NotFound("job", handle, field="handle", hint=_UNKNOWN)

    def within(self, seconds: float) -> "LongWork":
        """The same jobs, for who waits no longer than so many seconds before a handle will do."""
        return self


class Jobs(LongWork, Component):
    """The long work of one server; it dies with it."""

    name = "long work"

    def __init__(self, patience: float | None = None) -> None:
        self._patience = PATIENCE_SECONDS if patience is None else patience
        self._jobs: dict[str, _Job] = {}

    async def start(self, tasks: TaskGroup) -> None:
        self._tasks = tasks

    async def stop(self) -> None:
        """What still runs is cancelled: it must not write after the end of its session, nor to a store that is closed."""
        running = [job for job in self._jobs.values() if not job.ended.is_set()]
        for job in running:
            job.scope.cancel()
        for job in running:
            await job.ended.wait()

    async def ask(
        self, caller: Caller, tool: str, arguments: dict[str, Any], work: Work, on_progress: OnProgress | None = None
    ) -> dict[str, Any]:
        """The result, or a handle when it takes longer. Whoever asks for the same while it runs gets the same job. Raises
        what the work raises while it is waited for."""
        request = hashlib.sha256(canonical(arguments).encode()).hexdigest()
        wanted = (tool, caller.agent_id, request)
        running = (job for job in self._jobs.values() if not job.ended.is_set())
        job = next((job for job in running if (job.tool, job.agent_id, job.request) == wanted), None)
        if job is None:
            job = _Job(*wanted)
            ended = [handle for handle, old in self._jobs.items() if old.ended.is_set()]
            for handle in ended[:-KEPT]:
                del self._jobs[handle]
            self._jobs[job.handle] = job
            self._tasks.start_soon(job.run, work)
        return await job.answer(self._patience, on_progress)

    async def poll(self, tool: str, handle: str, on_progress: OnProgress | None = None) -> dict[str, Any]:
        """How the job is, after a short wait for its end; its result once it has ended well."""
        job = self._jobs.get(handle)
        if job is None or job.tool != tool:
            return await super().poll(tool, handle)
        return await job.answer(self._patience, on_progress)

    def within(self, seconds: float) -> LongWork:
        same = copy(self)  # of the jobs too
        same._patience = min(seconds, self._patience)
        return same
