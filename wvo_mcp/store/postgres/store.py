"""The store of several machines: one PostgreSQL database, any number of servers on any number of hosts; and all else that
is done with the database."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from contextlib import AbstractContextManager, suppress
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import anyio

from wvo_mcp.domain.health import Condition
from wvo_mcp.domain.lease import WIP_LIMIT, Caller
from wvo_mcp.errors import InvalidInput, WvoError
from wvo_mcp.ports import Clock, Liveness, Transaction
from wvo_mcp.ports.store import SOON
from wvo_mcp.store.postgres.address import Address
from wvo_mcp.store.postgres.executor import PostgresExecutor
from wvo_mcp.store.postgres.migrate import migrate
from wvo_mcp.store.postgres.presence import Presence, Presences, connected
from wvo_mcp.store.postgres.wire import PostgresRows
from wvo_mcp.store.sql import Rows
from wvo_mcp.store.transaction import StoreTransaction, checked, database_time, store_time
from wvo_mcp.store.versions import latest
from wvo_mcp.store.waiters import Waiters

if TYPE_CHECKING:
    from wvo_mcp.domain.finding import Finding
    from wvo_mcp.ports.backend import Restored
    from wvo_mcp.store.postgres.backup import PostgresBackups

# What a first call does not need is imported where it is used.

T = TypeVar("T")

_LEAVING_SECONDS = 3.0


class PostgresStore:
    """`ports.Store` over one database. `open` before use, `close` at the end; use from one event loop.

    Leases of several hosts are compared with each other, so time comes from the database, unless a `clock` is given.
    A session lives as long as its `presence.Presence` holds its lock, unless a `liveness` is given.
    """

    is_blank = False

    def __init__(
        self, url: str, clock: Clock | None = None, liveness: Liveness | None = None, *, agents: int = WIP_LIMIT
    ) -> None:
        """`agents` may work at once: the ranking depends on it."""
        self.writer = PostgresExecutor(url)
        self.agents = agents
        self._clock = clock
        self._liveness = liveness
        self._schema = latest()
        self._listener: Presence | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._changed = anyio.Event()
        self._waiters = Waiters()
        self.before_making: Callable[[], object] = lambda: None

    async def open(self, *, make: bool = True) -> None:
        """Connect, and create or migrate the tables, also without `make`: a person named the database. Raises
        IncompatibleStore, StoreUnavailable, StoreBusy."""
        await self.writer.start()
        try:
            await migrate(self.writer)
        except BaseException:
            await self.close()
            raise

    def hurry(self) -> None:
        """The process is about to end: wait no longer than a moment for a database that cannot be reached."""
        self.writer.retry_seconds = _LEAVING_SECONDS

    async def close(self) -> None:
        try:
            if self._listener is not None:
                await anyio.to_thread.run_sync(self._listener.end)
        finally:
            await self.writer.close()

    def attend(self, session_id: str) -> Presence:
        """While it lasts, the session counts as alive."""
        presence = Presence(self.writer.url, session_id, self._heard)
        self._listener = presence
        return presence

    async def wait_for_change(self, seconds: float, *, within: float = SOON) -> bool:
        if self._listener is None:
            listener = Presence(self.writer.url, None, self._heard)
            await anyio.to_thread.run_sync(listener.begin)
            self._listener = listener
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
        with anyio.move_on_after(seconds):
            while not self._waiters.news():
                await self._changed.wait()
            return True
        return False

    def _heard(self) -> None:
        """In the listener's thread."""
        if self._loop is not None:
            with suppress(RuntimeError):  # the loop has ended
                self._loop.call_soon_threadsafe(self._wake)

    def _wake(self) -> None:
        self._waiters.changed()
        self._changed.set()
        self._changed = anyio.Event()

    async def read(self, caller: Caller, work: Callable[[Transaction], Awaitable[T]]) -> T:
        return await self.writer.read(lambda rows: work(self._transaction(rows, caller, write=False)))

    async def write(self, caller: Caller, work: Callable[[Transaction], Awaitable[T]], *, keep: bool = True) -> T:
        return await self.writer.write(lambda rows: work(self._transaction(rows, caller, write=True)), keep)

    def _transaction(self, rows: PostgresRows, caller: Caller, *, write: bool) -> StoreTransaction:
        head = checked(rows.head or None, self._schema)
        now = database_time(head) if self._clock is None else store_time(rows, head, self._clock, write=write)
        liveness = self._liveness or Presences(rows)
        return StoreTransaction(rows, now, caller, liveness, head["seq"] or 0, agents=self.agents)


class PostgresBackend:
    """`ports.backend.Backend`; the backups are files of this machine."""

    system = "postgresql"
    is_shared = True

    def __init__(self, url: str, backups: Path, *, agents: int = WIP_LIMIT) -> None:
        self._url = url
        self._folder = backups
        self._agents = agents
        self._store: PostgresStore | None = None

    @property
    def store(self) -> PostgresStore:
        """Raises IncompatibleStore for a URL that cannot be understood."""
        self._store = self._store or PostgresStore(self._url, agents=self._agents)
        return self._store

    @property
    def backups(self) -> PostgresBackups:
        from wvo_mcp.store.postgres.backup import PostgresBackups

        return PostgresBackups(self._url, self._folder)

    @property
    def probe(self) -> PostgresProbe:
        return PostgresProbe(self.store.writer)

    def identity(self) -> str:
        with Address(self._url).session() as raw:
            # Names of hosts say little: one server has many. No two servers start in the same microsecond.
            row = raw.execute(
                "SELECT pg_postmaster_start_time(), oid, current_schema() FROM pg_database WHERE datname = current_database()"
            ).fetchone()
        return str(row)

    def exists(self) -> bool:
        return True  # a person named it

    def attend(self, session_id: str) -> AbstractContextManager[object]:
        return self.store.attend(session_id)

    def living(self) -> list[str]:
        return connected(self._url)

    async def restore(self, name: str | None, caller: Caller) -> Restored:
        from wvo_mcp.store.postgres.backup import PostgresRestoring

        return await PostgresRestoring(self._url, self._folder, caller, PostgresStore(self._url)).restore(name)

    def damage(self) -> WvoError | None:
        raise InvalidInput(
            "repair",
            "a PostgreSQL store is repaired by its own means; wvo-mcp backup restore puts a backup in its place",
        )

    def doctor_checks(self, now: datetime) -> list[Finding]:
        from wvo_mcp.store.postgres import backup
        from wvo_mcp.store.postgres.doctor_checks import examine

        return [*examine(self._url), backup.examine(self._folder, now)]

    def known_ids(self, wanted: Iterable[str]) -> set[str]:
        from wvo_mcp.store.postgres.doctor_checks import known_ids

        return known_ids(self._url, wanted)


class PostgresProbe:
    """`ports.Probe`. The disk is the database server's: its free space is not known here."""

    def __init__(self, executor: PostgresExecutor) -> None:
        self._executor = executor

    async def look(self) -> Condition:
        async def size(rows: Rows) -> int:
            return int(rows.value("SELECT pg_database_size(current_database())"))

        return Condition(bytes=await self._executor.read(size))
