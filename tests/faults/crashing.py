"""A process that dies at the n-th write of a scripted life; run by the nursery."""

import json
import os
import signal
import threading
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import anyio
import psycopg

from tests.faults.life import STEPS, Life, resulting
from wvo_mcp.store.sqlite.connection import Connection

_open = Connection._open
_execute = psycopg.Connection.execute


def warm() -> None:
    """Live once, so that every model is built and everything late is imported before children are forked."""
    with TemporaryDirectory() as folder:
        run(folder, crash_at=0)


def run(folder: str, crash_at: int, record: str | None = None, migrating: bool = False, url: str | None = None) -> None:
    """Live through all steps in an empty folder, or in the empty database of `url`, and tell after each, in `acknowledged`,
    what was answered. SIGKILL strikes at call number `crash_at` of the hook, which stands before and after every write;
    0 never strikes. With `migrating` the hook counts the writes that make the database, and life ends when it is open.

    `record` names the file for what the store contains after each step, and how many calls there were.
    """
    crash = Crash(crash_at)
    live = _open_only if migrating else _live
    found = anyio.run(live, Path(folder), url, crash, record is not None)
    if record is not None:
        Path(record).write_text(json.dumps({"calls": crash.calls, **found}))


class Crash:
    """The hook. Ends the process at call number `at`."""

    def __init__(self, at: int) -> None:
        self.calls = 0
        self._at = at

    def __call__(self, _: str) -> None:
        self.calls += 1
        if self.calls == self._at:
            os.kill(os.getpid(), signal.SIGKILL)


async def _live(folder: Path, url: str | None, crash: Crash, recording: bool) -> dict[str, Any]:
    acknowledged = os.open(folder / "acknowledged", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    async with Life(folder, generation=1, url=url) as life:
        contents = [await life.content()] if recording else []
        life.store.writer.on_write = crash
        for place in range(len(STEPS)):
            answer = await life.live(place)
            os.write(acknowledged, json.dumps([place, repr(answer)]).encode() + b"\n")
            if recording:
                contents.append(await life.content())
        os.close(acknowledged)
        return {"contents": contents, "end": await resulting(life)}


async def _open_only(folder: Path, url: str | None, crash: Crash, _: bool) -> dict[str, Any]:
    def hooked(self: Connection) -> None:
        _open(self)
        self.on_write = crash

    def executed(self: Any, query: Any, *arguments: Any, **more: Any) -> Any:
        # The pool may or may not set up one more connection meanwhile, in a thread of its own.
        if threading.current_thread().name.startswith("pool-"):
            return _execute(self, query, *arguments, **more)
        crash(str(query))
        cursor = _execute(self, query, *arguments, **more)
        crash(str(query))
        return cursor

    Connection._open = hooked
    psycopg.Connection.execute = executed
    store = Life(folder, generation=1, url=url).store
    await store.open()
    await store.close()
    return {}
