"""Whole transactions over PostgreSQL, each in one hop of a thread, tried again when the connection is lost.

Writes are in one order: each begins by taking an advisory lock of the database, which queues those who wait in the
order in which they came, and reads the time after it has it. A reader sees a snapshot and waits for nobody.
"""

import logging
import random
import re
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar

import anyio
import anyio.to_thread
import psycopg
from psycopg import errors
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.pq import TransactionStatus
from psycopg_pool import ConnectionPool, PoolTimeout

from wvo_mcp.errors import IncompatibleStore, StoreBusy, StoreUnavailable, WvoError
from wvo_mcp.store.clock import HEAD
from wvo_mcp.store.postgres.rows import PostgresRows, configure
from wvo_mcp.store.sql import driven

T = TypeVar("T")

RETRY_SECONDS = 20.0
"""So long a transaction is tried again while the database cannot be reached, and a writer waits for its turn."""

START_SECONDS = 10.0
"""So long a start waits for a database that cannot be reached."""

OLDEST = 140_000
"""PostgreSQL 14: the first that notices, while a statement runs, that its client is gone."""

_NAMESPACE = 0x57564F31
WRITE_LOCK = f"{_NAMESPACE}, hashtext(current_schema())"
"""The two keys of the lock of writers. Sessions hold locks of one key, so the two kinds never meet."""

_JITTER = random.SystemRandom()
"""Without a state that a fork would double, or that others of the process share."""
_SOON = 3.0  # one attempt to get a connection
_LIVELY = {"connect_timeout": 4, "keepalives_idle": 3, "keepalives_interval": 1, "keepalives_count": 3}
_PATIENCE = {
    # Whoever stands still within a transaction keeps all writers waiting: the server ends it.
    "idle_in_transaction_session_timeout": 5_000,
    # Whoever waits for a row that a person has locked keeps all writers waiting too: it lets them pass, and tries again.
    "lock_timeout": 3_000,
    # A client that is cut off is noticed within seconds, so that its locks are free.
    "tcp_keepalives_idle": 3,
    "tcp_keepalives_interval": 1,
    "tcp_keepalives_count": 3,
    "tcp_user_timeout": 6_000,
    "client_connection_check_interval": 2_000,
    "jit": "off",
    # Statistics of a store that grows are always late, and there is an index for everything that is asked daily.
    "enable_seqscan": "off",
}

_HEAD = HEAD.replace(
    "\nFROM store", ", floor(extract(epoch FROM clock_timestamp()) * 1000)::BIGINT AS now_ms\nFROM store"
)

_READING = ("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",)
_WRITING = ("BEGIN", f"SELECT pg_advisory_xact_lock({WRITE_LOCK})")


_FROZEN_SECONDS = 5
_END_FROZEN = f"""
SELECT pg_terminate_backend(pid) FROM pg_locks JOIN pg_stat_activity USING (pid)
WHERE locktype = 'advisory' AND (classid, objid, objsubid) = ({_NAMESPACE}, hashtext(current_schema())::OID, 2) AND granted
  AND wait_event = 'ClientRead' AND state_change < clock_timestamp() - INTERVAL '{_FROZEN_SECONDS} s'""".encode()
"""The server's own timeout for idle transactions does not see who stands still between two statements of one batch."""


class _Lost(Exception):
    """The connection went away; nothing of the transaction was committed."""


_PASSING = (
    _Lost,
    PoolTimeout,
    errors.LockNotAvailable,
    errors.DeadlockDetected,
    errors.SerializationFailure,
    errors.TooManyConnections,
    errors.QueryCanceled,
    errors.InvalidSqlStatementName,  # somebody changed the schema meanwhile, and what was prepared is void
)


def conninfo(url: str, **more: Any) -> str:
    """The URL with what makes a dead peer noticed; the URL's own settings win."""
    given = conninfo_to_dict(url)
    return make_conninfo(
        url, **{k: v for k, v in {**_LIVELY, "tcp_user_timeout": 6_000, **more}.items() if k not in given}
    )


def settle(connection: psycopg.Connection[Any]) -> None:
    """Set a new connection up. Raises IncompatibleStore for a server that is too old."""
    connection.autocommit = True
    if connection.info.server_version < OLDEST:
        raise IncompatibleStore(
            f"PostgreSQL {connection.info.server_version // 10_000} is too old.", hint="Use PostgreSQL 14 or newer."
        )
    connection.execute(
        "; ".join(f"SET {name} = '{value}'" for name, value in _PATIENCE.items()).encode(), prepare=False
    )
    configure(connection)


class Link:
    """`sql.Writer` over the connections of one process. Errors of the database leave as typed errors."""

    def __init__(self, url: str, *, name: str = "wvo-mcp", connections: int = 3) -> None:
        self.url = url
        self.retry_seconds = RETRY_SECONDS
        self.on_write: Callable[[str], None] | None = None
        # Writes of one client are done in the order in which it sent them, with any store.
        self._turn = anyio.Lock(fast_acquire=True)
        self._trouble: Exception = errors.LockNotAvailable()
        """What whoever has the turn met last; that it only takes long, when nothing was met."""
        # One warning for every attempt would drown what a person should read; the typed error tells the reason.
        logging.getLogger("psycopg").setLevel(logging.ERROR)
        try:
            there = conninfo(url, application_name=name)
        except psycopg.ProgrammingError:
            # The driver's words would tell the password.
            raise IncompatibleStore(
                "WVO_DATABASE_URL cannot be understood.",
                hint="It reads postgresql://USER:PASSWORD@HOST:5432/DATABASE; special characters are written as %XX.",
            ) from None
        self._pool = ConnectionPool(
            there,
            min_size=1,
            max_size=connections,
            max_idle=60,
            timeout=_SOON,
            reconnect_timeout=0.5,  # attempts are made here, with the reason at hand
            num_workers=1,
            configure=settle,
            open=False,
        )

    @property
    def where(self) -> str:
        """Host, port and database, without user and password."""
        try:
            given = conninfo_to_dict(self.url)
        except psycopg.Error:
            return "of WVO_DATABASE_URL"
        host, port, name = (
            str(given.get("host", "localhost")),
            str(given.get("port", 5432)),
            str(given.get("dbname", "")),
        )
        if re.search("[@:/]", name) or "@" in host or not port.replace(",", "").isdigit():
            return "of WVO_DATABASE_URL (write / and @ in a password as %2F and %40)"
        return f"{host}:{port}/{name}"

    @property
    def is_open(self) -> bool:
        return not self._pool.closed

    async def start(self) -> None:
        """Connect. Raises the typed errors."""
        await anyio.to_thread.run_sync(self._start)

    def _start(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                with psycopg.connect(conninfo(self.url)) as first:
                    settle(first)
                    break
            except psycopg.Error as error:
                # A database that is just restarting is waited for; a wrong password is not.
                if time.monotonic() > deadline or not _is_absent(error):
                    raise self.typed(error) from error
            time.sleep(0.3)
        self._pool.open()

    async def close(self) -> None:
        await anyio.to_thread.run_sync(self._pool.close)

    async def read(self, work: Callable[[PostgresRows], Awaitable[T]]) -> T:
        """Run `work` in one read transaction; all of it sees the same state."""
        return await anyio.to_thread.run_sync(self._persistently, partial(self._reading, work))

    async def write(self, work: Callable[[PostgresRows], Awaitable[T]], keep: bool = True) -> T:
        """Run `work` in one write transaction while nobody else writes; `keep` False rolls it back at the end.

        `work` may be run again when the connection was lost before the commit. When it was lost during the commit, the
        database is asked whether it took place.
        """
        asked = time.monotonic()  # what waits here behind other writes of this process is not patient anew
        with anyio.move_on_after(self.retry_seconds) as waiting:
            await self._turn.acquire()
        if waiting.cancelled_caught:
            raise self.typed(self._trouble)
        try:
            return await anyio.to_thread.run_sync(self._persistently, partial(self._writing, work, keep), asked)
        finally:
            self._turn.release()

    async def run(self, task: Callable[[psycopg.Connection[Any]], T]) -> T:
        """Give `task` a connection that is in no transaction."""
        return await anyio.to_thread.run_sync(self._persistently, task)

    def _persistently(self, attempt: Callable[[psycopg.Connection[Any]], T], asked: float | None = None) -> T:
        began = time.monotonic() if asked is None else asked
        nap = 0.02
        while True:
            try:
                result = self._once(attempt, began + self.retry_seconds)
            except (psycopg.Error, _Lost, PoolTimeout) as error:
                self._trouble = error
                # The budget is read anew: it shrinks when the process is about to end.
                if time.monotonic() > began + self.retry_seconds or not self._passing(error):
                    raise self.typed(error) from error
                if isinstance(error, errors.LockNotAvailable):
                    self._end_frozen(began + self.retry_seconds)
            else:
                self._trouble = errors.LockNotAvailable()
                return result
            time.sleep(_JITTER.uniform(nap / 2, nap))
            nap = min(nap * 2, 0.5)

    def _end_frozen(self, deadline: float) -> None:
        """Cut off whoever has the write lock and says nothing, as a stopped process or a paused container does."""
        with suppress(psycopg.Error, PoolTimeout):
            self._once(lambda raw: raw.execute(_END_FROZEN, prepare=False), deadline)

    def _once(self, attempt: Callable[[psycopg.Connection[Any]], T], deadline: float) -> T:
        raw = self._pool.getconn(timeout=max(0.1, min(_SOON, deadline - time.monotonic())))
        try:
            return attempt(raw)
        finally:
            self._pool.putconn(raw)

    def _begin(self, raw: psycopg.Connection[Any], pipeline: psycopg.Pipeline, opening: Sequence[str]) -> PostgresRows:
        rows = PostgresRows(raw, pipeline)
        for statement in opening:
            rows.put(statement)
        rows.head = rows.one(_HEAD) or {}  # sent together with the opening, judged after it
        return rows

    def _reading(self, work: Callable[[PostgresRows], Awaitable[T]], raw: psycopg.Connection[Any]) -> T:
        try:
            with raw.pipeline() as pipeline:
                rows = self._begin(raw, pipeline, _READING)
                result = driven(work(rows))
                rows.put("COMMIT")  # the driver forgets what it has prepared at a ROLLBACK
            return result
        finally:
            _roll_back(raw)

    def _writing(self, work: Callable[[PostgresRows], Awaitable[T]], keep: bool, raw: psycopg.Connection[Any]) -> T:
        committing: tuple[PostgresRows, T] | None = None
        try:
            with raw.pipeline() as pipeline:
                rows = self._begin(raw, pipeline, _WRITING)
                rows.on_write = self.on_write
                result = driven(work(rows))
                if keep:
                    self._tell("before COMMIT")
                    committing = rows, result
                    rows.on_write = None
                    rows.put("COMMIT")
            if keep:
                self._tell("after COMMIT")
            return result
        except psycopg.Error as error:
            _roll_back(raw)
            if committing is None or not _is_lost(error):
                raise
            rows, result = committing
            if not self._committed(rows.last_event):
                raise _Lost from error
            return result
        finally:
            _roll_back(raw)

    def _tell(self, what: str) -> None:
        if self.on_write is not None:
            self.on_write(what)

    def _committed(self, last_event: tuple[int, str] | None) -> bool:
        """Did a transaction take place whose commit got no answer? Its last event tells, once it has let go of the lock.

        A transaction without an event only renews what it may renew again.
        """
        if last_event is None:
            return False
        seq, digest = last_event
        deadline = time.monotonic() + self.retry_seconds
        while True:
            try:
                with psycopg.connect(conninfo(self.url)) as raw:
                    settle(raw)
                    with raw.pipeline() as pipeline:
                        rows = self._begin(raw, pipeline, _WRITING)
                        found = rows.value("SELECT hash FROM events WHERE seq = ?", (seq,))
                        rows.put("COMMIT")
                    return found == digest
            except psycopg.Error as error:
                if time.monotonic() > deadline:
                    raise StoreUnavailable(
                        f"The connection to {self.where} was lost during a commit, and could not be made again.",
                        hint="Whether this call was stored is not known: look at the task before you call again.",
                    ) from error
            time.sleep(0.2)

    def _passing(self, error: Exception) -> bool:
        """Is it worth another attempt?"""
        return isinstance(error, _PASSING) or (isinstance(error, psycopg.Error) and _is_lost(error))

    def typed(self, error: Exception) -> WvoError:
        """The error of the contract for one of the database's."""
        if isinstance(error, errors.LockNotAvailable):
            return StoreBusy(
                f"The database {self.where} was busy for {self.retry_seconds:.0f} s.",
                hint="Call again with the same input. When it stays so, pg_stat_activity tells whose transaction is open.",
            )
        if isinstance(error, (errors.UndefinedTable, errors.UndefinedColumn)):
            return IncompatibleStore(
                f"The database {self.where} is not one of ours, or lacks a part: {self.said(error)}",
                hint="Restore it from a backup (wvo-mcp backup restore), or set WVO_DATABASE_URL to another database.",
            )
        if isinstance(error, errors.ReadOnlySqlTransaction):
            hint = "WVO_DATABASE_URL points at a standby, which cannot be written; name the primary."
            return StoreUnavailable(f"The database {self.where} is read-only.", hint=hint)
        if isinstance(error, (_Lost, PoolTimeout)):
            return StoreUnavailable(
                f"The database {self.where} could not be reached for {self.retry_seconds:.0f} s: {self._reason()}.",
                hint=_NOTHING_STORED,
            )
        reason = self.said(error)
        return StoreUnavailable(
            f"The database {self.where} cannot be used: {reason}", cause=reason, hint=_NOTHING_STORED
        )

    def _reason(self) -> str:
        """Why a connection cannot be made, in the server's or the system's words."""
        try:
            psycopg.connect(conninfo(self.url, connect_timeout=2)).close()
        except psycopg.Error as error:
            return self.said(error)
        return "the connection was lost again and again"

    def said(self, error: Exception) -> str:
        """The first line of the error. The driver quotes an address that it cannot read, with its password."""
        text = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        text = text.replace(self.url, "WVO_DATABASE_URL") if self.url else text
        for secret in re.split("[:/@]", self.url.rpartition("@")[0].partition("://")[2])[1:]:
            text = text.replace(secret, "***") if secret else text
        return text


_NOTHING_STORED = "Nothing of this call was stored. See that PostgreSQL runs and can be reached, then call again."


def _roll_back(raw: psycopg.Connection[Any]) -> None:
    if raw.closed or raw.info.transaction_status == TransactionStatus.IDLE:
        return
    try:
        raw.execute("ROLLBACK", prepare=False)
    except psycopg.Error:
        raw.close()  # the server ends its transaction by itself


def _is_lost(error: psycopg.Error) -> bool:
    if isinstance(error, errors.IdleInTransactionSessionTimeout) or (error.sqlstate or "").startswith("57P"):
        return True
    return isinstance(error, psycopg.OperationalError) and error.sqlstate in (None, "08000", "08003", "08006")


def _is_absent(error: psycopg.Error) -> bool:
    """Nobody answers, or somebody who is not ready yet."""
    if isinstance(error, (errors.CannotConnectNow, errors.TooManyConnections, psycopg.errors.ConnectionTimeout)):
        return True
    text = str(error)
    return isinstance(error, psycopg.OperationalError) and any(
        said in text
        for said in ("refused", "starting up", "shutting down", "timeout", "No such file", "closed the connection")
    )
