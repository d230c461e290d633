"""The store of several machines: one PostgreSQL database, any number of servers on any number of hosts."""

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import TypeVar

from wvo_mcp.domain.lease import Caller
from wvo_mcp.ports import Clock, Liveness, Transaction
from wvo_mcp.store.clock import checked, database_time, store_time
from wvo_mcp.store.migrate import latest
from wvo_mcp.store.postgres_link import Link
from wvo_mcp.store.postgres_migrate import migrate
from wvo_mcp.store.postgres_rows import PostgresRows
from wvo_mcp.store.presence import Presences
from wvo_mcp.store.transaction import StoreTransaction

T = TypeVar("T")


class PostgresStore:
    """`ports.Store` over one database. `open` before use, `close` at the end; use from one event loop.

    Leases of several hosts are compared with each other, so time comes from the database, unless a `clock` is given.
    A session lives as long as its `presence.Presence` holds its lock, unless a `liveness` is given.
    """

    def __init__(self, url: str, clock: Clock | None = None, liveness: Liveness | None = None) -> None:
        self._link = Link(url)
        self._clock = clock
        self._liveness = liveness
        self._schema = latest()

    @property
    def writer(self) -> Link:
        """For maintenance and tests."""
        return self._link

    async def open(self) -> None:
        """Connect, and create or migrate the tables. Raises IncompatibleStore, StoreUnavailable, StoreBusy."""
        await self._link.start()
        try:
            await migrate(self._link)
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        await self._link.close()

    async def read(self, caller: Caller, work: Callable[[Transaction], Awaitable[T]]) -> T:
        return await self._link.read(lambda rows: work(self._transaction(rows, caller, write=False)))

    async def write(self, caller: Caller, work: Callable[[Transaction], Awaitable[T]], *, keep: bool = True) -> T:
        return await self._link.write(lambda rows: work(self._transaction(rows, caller, write=True)), keep)

    def _transaction(self, rows: PostgresRows, caller: Caller, *, write: bool) -> StoreTransaction:
        liveness = self._liveness or Presences(rows)
        return StoreTransaction(rows, self._now(rows, write), caller, liveness, rows.head["seq"] or 0)

    def _now(self, rows: PostgresRows, write: bool) -> datetime:
        checked(rows.head or None, self._schema)
        if self._clock is None:
            return database_time(rows.head)
        return store_time(rows, rows.head, self._clock, write=write)
