"""The store of several machines: one PostgreSQL database, any number of servers on any number of hosts."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import datetime
from typing import TypeVar

import anyio

from wvo_mcp.domain.lease import WIP_LIMIT, Caller
from wvo_mcp.ports import Clock, Liveness, Transaction
from wvo_mcp.store.clock import checked, database_time, store_time
from wvo_mcp.store.postgres.executor import PostgresExecutor
from wvo_mcp.store.postgres.migrate import migrate
from wvo_mcp.store.postgres.presence import Presence, Presences
from wvo_mcp.store.postgres.wire import PostgresRows
from wvo_mcp.store.transaction import StoreTransaction
from wvo_mcp.store.versions import latest

T = TypeVar("T")

_LEAVING_SECONDS = 3.0


class PostgresStore:
    """`ports.Store` over one database. `open` before use, `close` at the end; use from one event loop.

    Leases of several hosts are compared with each other, so time comes from the database, unless a `clock` is given.
    A session lives as long as its `presence.Presence` holds its lock, unless a `liveness` is given.
    """

    def __init__(
        self, url: str, clock: Clock | None = None, liveness: Liveness | None = None, *, agents: int = WIP_LIMIT
    ) -> None:
        """`agents` may work at once: the ranking depends on it."""
        self._executor = PostgresExecutor(url)
        self.agents = agents
        self._clock = clock
        self._liveness = liveness
        self._schema = latest()
        self._listener: Presence | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._changed = anyio.Event()
        self.before_making: Callable[[], object] = lambda: None

    @property
    def writer(self) -> PostgresExecutor:
        """For maintenance and tests."""
        return self._executor

    @property
    def is_blank(self) -> bool:
        return False

    async def open(self, *, make: bool = True) -> None:
        """Connect, and create or migrate the tables, also without `make`: a person named the database. Raises
        IncompatibleStore, StoreUnavailable, StoreBusy."""
        await self._executor.start()
        try:
            await migrate(self._executor)
        except BaseException:
            await self.close()
            raise

    def hurry(self) -> None:
        """The process is about to end: wait no longer than a moment for a database that cannot be reached."""
        self._executor.retry_seconds = _LEAVING_SECONDS

    async def close(self) -> None:
        try:
            if self._listener is not None:
                await anyio.to_thread.run_sync(self._listener.end)
        finally:
            await self._executor.close()

    def attend(self, session_id: str) -> Presence:
        """While it lasts, the session counts as alive."""
        presence = Presence(self._executor.url, session_id, self._heard)
        self._listener = presence
        return presence

    async def wait_for_change(self, seconds: float) -> bool:
        if self._listener is None:
            listener = Presence(self._executor.url, None, self._heard)
            await anyio.to_thread.run_sync(listener.begin)
            self._listener = listener
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
            return True
        with anyio.move_on_after(seconds):
            await self._changed.wait()
            self._changed = anyio.Event()
            return True
        return False

    def _heard(self) -> None:
        """In the listener's thread."""
        if self._loop is not None:
            with suppress(RuntimeError):  # the loop has ended
                self._loop.call_soon_threadsafe(self._wake)

    def _wake(self) -> None:
        self._changed.set()

    async def read(self, caller: Caller, work: Callable[[Transaction], Awaitable[T]]) -> T:
        return await self._executor.read(lambda rows: work(self._transaction(rows, caller, write=False)))

    async def write(self, caller: Caller, work: Callable[[Transaction], Awaitable[T]], *, keep: bool = True) -> T:
        return await self._executor.write(lambda rows: work(self._transaction(rows, caller, write=True)), keep)

    def _transaction(self, rows: PostgresRows, caller: Caller, *, write: bool) -> StoreTransaction:
        liveness = self._liveness or Presences(rows)
        return StoreTransaction(
            rows, self._now(rows, write), caller, liveness, rows.head["seq"] or 0, agents=self.agents
        )

    def _now(self, rows: PostgresRows, write: bool) -> datetime:
        checked(rows.head or None, self._schema)
        if self._clock is None:
            return database_time(rows.head)
        return store_time(rows, rows.head, self._clock, write=write)
