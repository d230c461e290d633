"""Processes that open a store while others move it on; run by the nursery."""

import json
import os
import signal
import uuid
from pathlib import Path

import anyio

from tests.support.databases import Source
from tests.support.sessions import Servers, an_agent
from wvo_mcp.domain.task import Origin
from wvo_mcp.errors import IncompatibleStore
from wvo_mcp.execution.clock import SystemClock
from wvo_mcp.orchestration.tasks.editing import Draft, create
from wvo_mcp.store import versions
from wvo_mcp.store.postgres.store import PostgresStore
from wvo_mcp.store.sqlite.connection import Connection
from wvo_mcp.store.sqlite.store import SqliteStore

_open = Connection._open


def warm() -> None:
    """Everything is imported by now."""


def run(source: str, folder: str, crash_at: int = 0, writes: int = 0, told: str | None = None) -> None:
    """Open the store with the migrations of `folder`. SIGKILL strikes at call number `crash_at` of the hook before and
    after every write of the migration (SQLite only; 0 never strikes).

    Then create `writes` tasks, one at a time, as long as that is allowed. `told` gets a line for each that was
    acknowledged, and the code of the error that ended it.
    """
    versions.FOLDER = Path(folder)
    crash = _Crash(crash_at)

    def hooked(self: Connection) -> None:
        _open(self)
        self.on_write = crash

    if crash_at:
        Connection._open = hooked
    anyio.run(_open_and_write, source, writes, told)


class _Crash:
    def __init__(self, at: int) -> None:
        self._left = at

    def __call__(self, _: str) -> None:
        self._left -= 1
        if self._left == 0:
            os.kill(os.getpid(), signal.SIGKILL)


async def _open_and_write(source: str, writes: int, told: str | None) -> None:
    where: Source = source if "://" in source else Path(source)
    clock, servers = SystemClock(), Servers()
    store = (
        SqliteStore(where, clock, servers, synchronous="OFF")
        if isinstance(where, Path)
        else PostgresStore(where, clock, servers)
    )
    out = os.open(told, os.O_WRONLY | os.O_CREAT | os.O_APPEND) if told else None

    def tell(what: str, name: str) -> None:
        if out is not None:
            os.write(out, json.dumps([what, name]).encode() + b"\n")

    try:
        await store.open()
        for _ in range(writes):
            task_id = f"W-{uuid.uuid4().hex[:12]}"
            draft = Draft(task_id, {"title": "written while others upgrade"})
            await store.write(an_agent(), lambda tx, draft=draft: create(tx, [draft], Origin.AGENT))
            tell("wrote", task_id)
    except IncompatibleStore as error:
        tell("refused", error.message)
    finally:
        await store.close()
