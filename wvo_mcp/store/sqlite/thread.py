"""One thread that runs functions one after another, for what must not leave its thread or keep the event loop waiting."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from queue import SimpleQueue
from threading import Thread
from typing import Any

_Job = tuple["asyncio.Future[Any] | None", Callable[[], Any]]


class WorkerThread:
    """What was begun is run to its end, also when the caller that waits for it is cancelled."""

    def __init__(self, name: str) -> None:
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        # A program that ends without closing its store must end all the same.
        self._thread = Thread(target=_work, args=(self._jobs,), name=name, daemon=True)

    def start(self) -> None:
        self._thread.start()

    async def run(self, function: Callable[..., Any], *args: Any) -> Any:
        """What it returns or raises, once all that was asked before is done."""
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._jobs.put((future, partial(function, *args)))
        return await future

    def stop(self, last: Callable[[], Any] | None = None) -> None:
        """Wait for the end of the thread; what was asked before is done first, then `last`."""
        if last is not None:
            self._jobs.put((None, last))
        self._jobs.put(None)
        self._thread.join()


def _work(jobs: SimpleQueue[_Job | None]) -> None:
    while (job := jobs.get()) is not None:
        _do(*job)
        del job  # nothing of it is kept until the next one comes


def _do(future: "asyncio.Future[Any] | None", function: Callable[[], Any]) -> None:
    outcome: Any = None
    error: BaseException | None = None
    try:
        outcome = function()
    except BaseException as raised:  # it belongs to the caller
        error = raised
    if future is not None:
        with suppress(RuntimeError):  # the loop has ended, and no caller waits
            future.get_loop().call_soon_threadsafe(_settle, future, outcome, error)


def _settle(future: "asyncio.Future[Any]", outcome: Any, error: BaseException | None) -> None:
    if future.done():  # cancelled meanwhile
        return
    if error is None:
        future.set_result(outcome)
    else:
        future.set_exception(error)
