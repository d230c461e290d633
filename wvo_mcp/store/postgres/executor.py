"""Whole transactions over PostgreSQL, each in one hop of a thread, tried again when the connection is lost.

Writes are in one order: each begins by taking an advisory lock of the database, which queues those who wait in the
order in which they came, and reads the time after it has it. A reader sees a snapshot and waits for no one.
"""

import random
import threading
import time
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any, TypeVar

import anyio
import anyio.to_thread
import psycopg
from psycopg import errors

from wvo_mcp.errors import StoreUnavailable, WvoError
from wvo_mcp.store.postgres.address import FROZEN_WRITERS, RETRY_SECONDS, WRITE_LOCK, Address, is_away, is_lost
from wvo_mcp.store.postgres.wire import PostgresRows, Wire, translated
from wvo_mcp.store.sql import run_without_suspending
from wvo_mcp.store.transaction import HEAD

T = TypeVar("T")

START_SECONDS = 10.0
"""So long a start waits for a database that cannot be reached."""

_JITTER = random.SystemRandom()
"""Without a state that a fork would double, or that others of the process share."""
_CONNECTIONS = 3
_IDLE_SECONDS = 60.0
"""A connection that was not needed for so long is closed."""
_HEAD = HEAD.replace(
    "\nFROM store", ", floor(extract(epoch FROM clock_timestamp()) * 1000)::BIGINT AS now_ms\nFROM store"
)
_READING = ("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",)
_WRITING = ("BEGIN", f"SELECT pg_advisory_xact_lock({WRITE_LOCK})")
_COMMIT = translated("COMMIT")


class _Lost(psycopg.OperationalError):
    """The connection went away; nothing of the transaction was committed."""


_PASSING = (
    errors.LockNotAvailable,
    errors.DeadlockDetected,
    errors.SerializationFailure,
    errors.TooManyConnections,
    errors.QueryCanceled,
    errors.InvalidSqlStatementName,  # the schema was changed meanwhile, and prepared statements are void
)


class PostgresExecutor:
    """Whole transactions over the connections of one process. Errors of the database leave as typed errors."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.address = Address(url)
        self.retry_seconds = RETRY_SECONDS
        self.on_write: Callable[[str], None] | None = None
        # Writes of one client are done in the order in which it sent them, with any store.
        self._turn = anyio.Lock(fast_acquire=True)
        self._trouble: psycopg.Error = errors.LockNotAvailable()
        """What the writer whose turn it is met last; that it only takes long, when nothing was met."""
        self._free = threading.BoundedSemaphore(_CONNECTIONS)
        self.idle: list[Wire] = []
        """Connections that no transaction uses now, the one used last at the end."""
        self.is_open = False

    async def start(self) -> None:
        """Connect. Raises the typed errors."""
        deadline = time.monotonic() + START_SECONDS
        while not self.is_open:
            try:
                self.idle.append(Wire(await anyio.to_thread.run_sync(self.address.connect)))
                self.is_open = True
            except psycopg.Error as error:
                # A database that is just restarting is waited for; a wrong password is not.
                if time.monotonic() > deadline or not is_away(error):
                    raise self.address.typed(error) from error
                await anyio.sleep(0.3)

    async def close(self) -> None:
        self.is_open = False
        self._drop_idle()

    async def read(self, work: Callable[[PostgresRows], Awaitable[T]]) -> T:
        """Run `work` in one read transaction; all of it sees the same state."""
        return await anyio.to_thread.run_sync(self._persistently, partial(self._reading, work))

    async def write(self, work: Callable[[PostgresRows], Awaitable[T]], keep: bool = True) -> T:
        """Run `work` in the only write transaction at that time; `keep` False rolls it back at the end.

        `work` may be run again when the connection was lost before the commit. When it was lost during the commit, the
        database is asked whether it took place.
        """
        asked = time.monotonic()  # the time in the queue behind other writes of this process counts as well
        with anyio.move_on_after(self.retry_seconds) as waiting:
            await self._turn.acquire()
        if waiting.cancelled_caught:
            raise self.address.typed(self._trouble, self.retry_seconds)
        try:
            return await anyio.to_thread.run_sync(self._persistently, partial(self._writing, work, keep), asked)
        finally:
            self._turn.release()

    async def run(self, task: Callable[[psycopg.Connection[Any]], T]) -> T:
        """Give `task` a connection of its own that is in no transaction."""

        def attempt(_: Wire) -> T:
            with self.address.connect() as raw:
                return task(raw)

        return await anyio.to_thread.run_sync(self._persistently, attempt)

    def _persistently(self, attempt: Callable[[Wire], T], asked: float | None = None) -> T:
        began = time.monotonic() if asked is None else asked
        nap = 0.02
        while True:
            try:
                with self._wire(began) as wire:
                    result = attempt(wire)
            except psycopg.Error as error:
                self._trouble = error
                # The budget is read again: it shrinks when the process is about to end.
                if time.monotonic() > began + self.retry_seconds or not (isinstance(error, _PASSING) or is_lost(error)):
                    raise self.address.typed(error, self.retry_seconds) from error
                if is_lost(error):
                    self._drop_idle()  # most likely they are lost as well
                elif isinstance(error, errors.LockNotAvailable):
                    # Cut off a client that has the write lock and says nothing, as a stopped process or a paused container.
                    with suppress(psycopg.Error), self.address.connect() as raw:
                        raw.execute(f"SELECT pg_terminate_backend(pid) FROM ({FROZEN_WRITERS}) AS frozen".encode())
            else:
                self._trouble = errors.LockNotAvailable()
                return result
            time.sleep(_JITTER.uniform(nap / 2, nap))
            nap = min(nap * 2, 0.5)

    @contextmanager
    def _wire(self, began: float) -> Generator[Wire]:
        """One of the connections, which is closed when an error of the database leaves it in an unknown state."""
        left = max(0.1, began + self.retry_seconds - time.monotonic())
        if not self._free.acquire(timeout=left):
            raise errors.LockNotAvailable
        try:
            try:
                wire = self.idle.pop()
            except IndexError:
                wire = Wire(self.address.connect(connect_timeout=max(2, min(4, int(left)))))
            try:
                yield wire
            except psycopg.Error:
                wire.close()
                raise
            except BaseException:
                try:
                    wire.roll_back()
                except psycopg.Error:
                    wire.close()
                raise
            finally:
                if self.is_open and not wire.raw.closed:
                    self._keep(wire)
                else:
                    wire.close()
        finally:
            self._free.release()

    def _keep(self, wire: Wire) -> None:
        """For the next transaction; others that were not needed for long are given back to the database."""
        wire.used_at = time.monotonic()
        with suppress(IndexError):
            while self.idle[0].used_at < wire.used_at - _IDLE_SECONDS:
                self.idle.pop(0).close()
        self.idle.append(wire)

    def _drop_idle(self) -> None:
        with suppress(IndexError):
            while True:
                self.idle.pop().close()

    def _begin(self, wire: Wire, opening: tuple[str, ...]) -> PostgresRows:
        rows = PostgresRows(wire)
        for statement in opening:
            rows.put(statement)
        rows.head = rows.one(_HEAD) or {}  # sent together with the opening, judged after it
        return rows

    def _reading(self, work: Callable[[PostgresRows], Awaitable[T]], wire: Wire) -> T:
        result = run_without_suspending(work(self._begin(wire, _READING)))
        wire.send(_COMMIT)
        wire.leave()
        return result

    def _writing(self, work: Callable[[PostgresRows], Awaitable[T]], keep: bool, wire: Wire) -> T:
        rows = self._begin(wire, _WRITING)
        rows.on_write = self.on_write
        result = run_without_suspending(work(rows))
        if not keep:
            wire.roll_back()
            return result
        if rows.on_write is not None:
            rows.on_write("before COMMIT")
        wire.send(_COMMIT)
        try:
            wire.settle()
        except psycopg.Error as error:
            wire.close()  # the server ends what was not committed
            if not is_lost(error):
                raise
            if not self._committed(rows.last_event):
                raise _Lost(self.address.said(error)) from error
        if rows.on_write is not None:
            rows.on_write("after COMMIT")
        return result

    def _committed(self, last_event: tuple[int, str] | None) -> bool:
        """Did a transaction take place whose commit got no answer? Its last event shows it, once the lock is free.

        A transaction without an event only renews what it may renew again.
        """
        if last_event is None:
            return False

        def look(wire: Wire) -> bool:
            found = self._begin(wire, _WRITING).value("SELECT hash FROM events WHERE seq = ?", last_event[:1])
            wire.send(_COMMIT)
            wire.settle()
            return found == last_event[1]

        try:
            return self._persistently(look)
        except WvoError as error:
            raise StoreUnavailable(
                f"The connection to {self.address.where} was lost during a commit, and could not be made again.",
                hint="Whether this call was stored is not known: look at the task before you call again.",
            ) from error
