"""Long work: begun in the background of a server, answered by a handle, polled by whoever has it.

What is done within a second is answered as any call is, and nobody hears of a job. What is not gets a row in the store, so
that every server and every face can tell how far it is. A job lives in the server that began it and dies with it: whoever
asks next sees that its session is gone, and it counts as failed.
"""

import hashlib
import json
import logging
import secrets
import time
from collections.abc import Awaitable, Callable, Generator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, TypeVar

import anyio
import anyio.to_thread
from anyio.abc import TaskGroup

from wvo_mcp.domain.event import canonical
from wvo_mcp.domain.lease import Caller
from wvo_mcp.domain.redaction import redacted
from wvo_mcp.errors import Internal, NotFound, WvoError, shown_before
from wvo_mcp.ports import Store, Transaction
from wvo_mcp.ports.outlook import Row

logger = logging.getLogger(__name__)
T = TypeVar("T")

PATIENCE_SECONDS = 1.0
"""So long a call waits for the end before it answers with a handle."""
REPORT_SECONDS = 2.0
_LOST = "The server that did it has ended before it was done: call again without the handle; nothing is done twice."
_SLICE_SECONDS = 0.02
_LOOK_SECONDS = 0.1
_AGAIN_SECONDS = (1.0, 60.0)
"""Pauses between two tries to store an end: the first one, which doubles, and the longest."""

Tell = Callable[[float, str], Awaitable[None]]
"""Hears how far the work is (0-1), and in what."""


class Progress:
    """How far a piece of work is. What computes for long does so through `aside`."""

    def __init__(self, note: str = "") -> None:
        self.done = 0.0
        self.note = note

    def tell(self, done: float, note: str) -> None:
        self.done = min(1.0, max(self.done, done))
        self.note = note

    async def aside(self, steps: Generator[Any, None, T], heard: Callable[[Any], None] | None = None) -> T:
        """Drive the steps to their end in a thread, in slices with a breath between, so that other calls stay quick;
        `heard` gets what they yield, once a slice. Cancelled between two slices."""
        while True:
            last, ended = await anyio.to_thread.run_sync(_slice, steps)
            if ended is not None:
                return ended[0]
            if heard is not None:
                heard(last)


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
    """A piece of work that runs in this server."""

    tool: str
    agent_id: str
    request: str
    progress: Progress = field(default_factory=Progress)
    handle: str | None = None
    """Once it has a row."""
    result: dict[str, Any] | None = None
    error: WvoError | None = None
    ended: anyio.Event = field(default_factory=anyio.Event)


class Jobs:
    """The long work of one server."""

    def __init__(
        self, store: Store, owner: Callable[[], Caller], tasks: TaskGroup, patience: float = PATIENCE_SECONDS
    ) -> None:
        """`owner` is the server's own session, which stands for the life of its jobs; they run in `tasks`."""
        self._store = store
        self._owner = owner
        self._tasks = tasks
        self._patience = patience
        self._running: list[_Job] = []

    async def ask(
        self, caller: Caller, tool: str, request: str, work: Work, tell: Tell | None = None
    ) -> dict[str, Any]:
        """The result, or a handle when it takes longer. Whoever asks for the same while it runs gets the same job; with
        another server's job as well. Raises what the work raises while it is waited for."""
        job = next(
            (j for j in self._running if (j.tool, j.agent_id, j.request) == (tool, caller.agent_id, request)), None
        )
        if job is None:
            known = await self._store.read(caller, lambda tx: _known(tx, tool, caller.agent_id, request))
            if known is not None:
                return await self.poll(caller, tool, known["id"], tell)
            job = _Job(tool, caller.agent_id, request)
            self._running.append(job)
            self._tasks.start_soon(self._run, job, work)
        await self._wait(job, tell)
        if job.ended.is_set():
            return _outcome(job)
        await self._keep(job)
        return _outcome(job) if job.ended.is_set() else _state(job.handle or "", "running", job.progress)

    async def poll(self, caller: Caller, tool: str, handle: str, tell: Tell | None = None) -> dict[str, Any]:
        """How the job is, after a short wait for its end; its result once it has ended well. Raises NotFound, and what the
        work raised."""
        job = next((job for job in self._running if (job.handle, job.tool) == (handle, tool)), None)
        if job is not None:
            await self._wait(job, tell)
            if job.ended.is_set():
                return _outcome(job)
        answer = await polled(self._store, caller, tool, handle)
        if job is not None and answer.get("state") == "running":
            answer |= {"progress": round(job.progress.done, 3), "note": job.progress.note}
        return answer

    async def _wait(self, job: _Job, tell: Tell | None) -> None:
        with anyio.move_on_after(self._patience):
            while tell is not None and not job.ended.is_set():
                await tell(job.progress.done, job.progress.note)
                with anyio.move_on_after(_LOOK_SECONDS):
                    await job.ended.wait()
            await job.ended.wait()

    async def _keep(self, job: _Job) -> None:
        """Give the job its row, once; another call of the same may be doing so."""
        if job.handle is not None:
            return
        handle = job.handle = secrets.token_hex(8)
        try:
            await self._store.write(
                self._owner(), lambda tx: tx.jobs.begin(handle, job.tool, job.agent_id, job.request)
            )
        except BaseException:
            job.handle = None  # the work goes on, and a repeat of the call finds it
            if job.ended.is_set():
                self._running.remove(job)
            raise
        self._tasks.start_soon(self._report, job, handle)

    async def _run(self, job: _Job, work: Work) -> None:
        try:
            job.result = await work(job.progress)
        except WvoError as error:
            job.error = error
        except Exception:  # an edge: in the background nobody else would hear of it
            job.error = Internal(secrets.token_hex(4))
            logger.exception("%s failed in the background, ref %s", job.tool, job.error.details["ref"])
        finally:
            job.ended.set()
            if job.handle is None:
                self._running.remove(job)

    async def _report(self, job: _Job, handle: str) -> None:
        """Tell the store how far it is, and in the end what came of it."""
        while not job.ended.is_set():
            done, note = job.progress.done, job.progress.note
            with suppress(WvoError):  # the next report says the same, and more
                await self._store.write(self._owner(), lambda tx: tx.jobs.tell(handle, done, note))  # noqa: B023 - at once
            with anyio.move_on_after(REPORT_SECONDS):
                await job.ended.wait()
        if await self._ended(job, handle):
            self._running.remove(job)
        else:
            job.request = ""  # it stays for those who poll here, and no new call joins it

    async def _ended(self, job: _Job, handle: str) -> bool:
        """Store what came of it, as soon as the store can be written; False when it never will be."""
        pause, longest = _AGAIN_SECONDS
        error = job.error
        while True:
            kept = None if error is not None else json.dumps(job.result, separators=(",", ":"))
            failure = None if error is None else json.dumps(redacted(error.payload()))
            try:
                await self._store.write(self._owner(), lambda tx: tx.jobs.end(handle, result=kept, error=failure))  # noqa: B023
            except WvoError as refused:
                logger.warning("what came of %s could not be stored: %s", handle, refused.message)
                if refused.retryable:
                    await anyio.sleep(pause)
                    pause = min(2 * pause, longest)
                elif error is not None:
                    return False
                else:
                    error = refused  # the others should hear why there is no result
            else:
                return True


def _outcome(job: _Job) -> dict[str, Any]:
    if job.error is not None:
        raise job.error
    return job.result or {}


def _state(handle: str, state: str, progress: Progress) -> dict[str, Any]:
    return {
        "handle": handle,
        "state": state,
        "progress": round(progress.done, 3),
        "note": progress.note,
        "hint": "Ask again with this handle in a few seconds.",
    }


def request_of(arguments: dict[str, Any]) -> str:
    """What makes two calls the same: the hash of what was asked."""
    return hashlib.sha256(canonical(arguments).encode()).hexdigest()


async def _known(tx: Transaction, tool: str, agent_id: str, request: str) -> Row | None:
    """A job that does the same right now, in a server that lives."""
    row = await tx.jobs.latest(tool, agent_id, request)
    if row is None or row["state"] != "running" or not tx.liveness.alive(row["session_id"]):
        return None
    return row


async def in_foreground(work: Work, tell: Tell | None = None) -> dict[str, Any]:
    """The work done to its end here and now; `tell` hears of it every moment."""
    progress = Progress()

    async def report(tell: Tell) -> None:
        while True:
            await tell(progress.done, progress.note)
            await anyio.sleep(_LOOK_SECONDS)

    failed: Exception | None = None
    result: dict[str, Any] = {}
    async with anyio.create_task_group() as tasks:
        if tell is not None:
            tasks.start_soon(report, tell)
        try:
            result = await work(progress)
        except Exception as error:  # raised below, outside of the group, which would wrap it
            failed = error
        tasks.cancel_scope.cancel()
    if failed is not None:
        raise failed
    return result


async def polled(store: Store, caller: Caller, tool: str, handle: str) -> dict[str, Any]:
    """What the store knows of the job: its result once it has ended well, else {handle, state, progress, note, hint}.

    Raises what the work raised, and NotFound; a job whose server is gone counts as not found, too.
    """

    async def look(tx: Transaction) -> tuple[Row | None, bool]:
        row = await tx.jobs.get(handle)
        return row, row is not None and row["state"] == "running" and not tx.liveness.alive(row["session_id"])

    async def bury(tx: Transaction) -> Row | None:
        lost = NotFound("job", handle, field="handle", hint=_LOST)
        await tx.jobs.end(handle, error=json.dumps(lost.payload()))
        return await tx.jobs.get(handle)

    row, lost = await store.read(caller, look)
    if lost:
        row = await store.write(caller, bury)
    if row is None or row["tool"] != tool:
        raise NotFound(
            "job", handle, field="handle", hint="Handles are kept for 24 hours; call again without one to begin anew."
        )
    if row["state"] == "succeeded":
        return json.loads(row["result"])
    if row["state"] == "failed":
        raise shown_before(json.loads(row["error"]))
    return {
        **_state(handle, row["state"], Progress()),
        "progress": round(row["progress"], 3),
        "note": row["note"],
    }
