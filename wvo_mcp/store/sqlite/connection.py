"""A SQLite connection with a thread of its own, in which whole transactions run in one hop.

A hop per statement makes a claim ten times as slow (0.50 ms against 0.05), so what runs on the thread is a coroutine
that runs to its end there: repositories are written with `await`, and never suspend.
"""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Generator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from typing import Any, TypeVar, cast

from pysqlite3 import dbapi2

from wvo_mcp.errors import IncompatibleStore, StoreBusy, StoreUnavailable, WvoError
from wvo_mcp.store.sql import Cursor, Dialect, Rows, run_without_suspending

T = TypeVar("T")

sqlite = cast("Any", dbapi2)
"""The bundled SQLite library; the module has no types."""

OLDEST_SQLITE = (3, 51, 3)
"""Older libraries can lose a committed transaction when two connections write and checkpoint at the same moment."""

APPLICATION_ID = 0x57564F31
"""`WVO1` in the file's header, so that a foreign database is recognised."""

REPAIR = (
    "Stop all servers and run wvo-mcp doctor --repair: it keeps the damaged files and restores the newest good backup."
)

_JITTER = random.SystemRandom()
"""Without a state that a fork would double, or that others of the process share."""
BUSY_BUDGET_SECONDS = 20.0
KEPT_STATEMENTS = 1_024
"""More than there are, those of the migrations among them: a full cache throws out what came last, and a claim whose
statements are compiled each time takes a third longer."""
OPENING_WAIT_MS = 5_000
DatabaseError = cast("type[Exception]", sqlite.Error)

_BUSY, _LOCKED, _CORRUPT, _NOTADB = 5, 6, 11, 26


class SqliteRows(Rows):
    """`Rows` over a raw connection."""

    dialect = Dialect(
        "sqlite",
        row_lock_suffix="",  # the one writer has the whole file
        task_matches="seq IN (SELECT rowid FROM task_search WHERE task_search MATCH :query)",
        context_matches="""
            SELECT rowid AS id, rank FROM context_search
            WHERE context_search MATCH :query AND rowid > {floor} ORDER BY rank""",
        quote='"',
        both=" AND ",
        either=" OR ",
        start="*",
    )

    def __init__(self, raw: Any) -> None:
        super().__init__()
        self.raw = raw

    def execute(self, sql: str, params: Any) -> Cursor:
        return self.raw.execute(sql, params)

    def execute_many(self, sql: str, params: Sequence[Any]) -> None:
        self.raw.executemany(sql, params)


class FileReplaced(StoreUnavailable):
    """The file that is open is no longer the one at its path; nothing was written."""


class WorkerThread:
    """Runs functions one after another. What was begun is run to its end, also when the caller that waits for it is
    cancelled."""

    def __init__(self, name: str) -> None:
        self._jobs: SimpleQueue[tuple[asyncio.Future[Any] | None, Callable[[], Any]] | None] = SimpleQueue()
        # A program that ends without closing its store must end all the same.
        self._thread = Thread(target=self._work, name=name, daemon=True)

    def start(self) -> None:
        self._thread.start()

    async def run(self, function: Callable[..., Any], *args: Any) -> Any:
        """What it returns or raises, once all that was asked before is done."""
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._jobs.put((future, partial(function, *args)))
        return await future

    def stop(self, last: Callable[[], Any] = lambda: None) -> None:
        """Wait for the end of the thread; what was asked before is done first, then `last`."""
        self._jobs.put((None, last))
        self._jobs.put(None)
        self._thread.join()

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            future, function = job
            outcome: Any = None
            error: BaseException | None = None
            try:
                outcome = function()
            except BaseException as raised:  # it belongs to the caller
                error = raised
            if future is not None:
                with suppress(RuntimeError):  # the loop has ended, and no caller waits
                    future.get_loop().call_soon_threadsafe(_settle, future, outcome, error)
            del job, future, function, outcome, error  # nothing of it is kept until the next one comes


def _settle(future: asyncio.Future[Any], outcome: Any, error: BaseException | None) -> None:
    if future.done():  # cancelled meanwhile
        return
    if error is None:
        future.set_result(outcome)
    else:
        future.set_exception(error)


class Connection:
    """One connection and its thread. Errors of the database leave as typed errors."""

    def __init__(self, path: Path, *, read_only: bool, synchronous: str) -> None:
        self._path = path
        self._read_only = read_only
        self.synchronous = synchronous
        self._rows: SqliteRows | None = None
        self._file: tuple[int, int] | None = None
        self._thread = WorkerThread(f"sqlite {path.name}")
        self.is_open = False
        self.on_write: Callable[[str], None] | None = None
        """See `Rows.on_write`."""

    def _open(self) -> None:
        raw = sqlite.connect(str(self._path), isolation_level=None, timeout=0, cached_statements=KEPT_STATEMENTS)
        try:
            # Without this a reader could meet a writer that recovers the log just after a crash.
            raw.execute(f"PRAGMA busy_timeout = {OPENING_WAIT_MS}")
            if self._read_only:
                raw.execute("PRAGMA query_only = 1")
            else:
                if raw.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
                    check_ours(SqliteRows(raw))  # the switch writes into the file
                    raw.execute("PRAGMA journal_mode = WAL")
                raw.execute(f"PRAGMA synchronous = {self.synchronous}")
                raw.execute("PRAGMA journal_size_limit = 67108864")
                raw.execute("PRAGMA busy_timeout = 0")
            raw.execute("PRAGMA foreign_keys = 1")
            raw.execute("PRAGMA temp_store = MEMORY")
            # Many servers share a machine, and the system caches the file as well.
            raw.execute(f"PRAGMA cache_size = {-2000 if self._read_only else -4000}")
        except BaseException:
            raw.close()
            raise
        self._rows = SqliteRows(raw)
        self._file = self._file_there()

    @property
    def rows(self) -> SqliteRows:
        assert self._rows is not None, "the connection is not open"  # noqa: S101
        return self._rows

    async def start(self) -> None:
        """Open the file. Raises the typed errors of `typed`."""
        self._thread.start()
        try:
            with typed_errors(self._path):
                await self._thread.run(self._open)
        except BaseException:
            self._thread.stop(self._close)  # a start that was cancelled may have opened it
            raise
        self.is_open = True

    async def close(self) -> None:
        """After all that was asked for before is done."""
        if self.is_open:
            self.is_open = False
            try:
                await self._thread.run(self._close)
            finally:
                self._thread.stop()

    def _close(self) -> None:
        if self._rows is not None:
            self._rows.raw.close()

    async def read(self, work: Callable[[Rows], Awaitable[T]]) -> T:
        """Run `work` in one read transaction."""
        return cast(T, await self._hop(self._reading, work))

    async def write(self, work: Callable[[Rows], Awaitable[T]], keep: bool = True) -> T:
        """Run `work` in one write transaction, begun with the write lock held; `keep` False rolls it back at the end.

        The time that it waits for other processes counts from now, the time in the queue of this process included.
        """
        return cast(T, await self._hop(self._writing, work, keep, time.monotonic() + BUSY_BUDGET_SECONDS))

    async def _hop(self, function: Callable[..., Any], *args: Any) -> Any:
        if not self.is_open:
            raise ValueError("the connection is closed")
        return await self._thread.run(function, *args)

    def _reading(self, work: Callable[[Rows], Awaitable[T]]) -> T:
        with typed_errors(self._path):
            self.rows.raw.execute("BEGIN")
            try:
                self._check_file()
                return run_without_suspending(work(self.rows))
            finally:
                self._roll_back()

    def _writing(self, work: Callable[[Rows], Awaitable[T]], keep: bool, deadline: float) -> T:
        rows = self.rows
        rows.on_write = self.on_write
        try:
            self._begin(deadline)
            try:
                self._check_file()
                result = run_without_suspending(work(rows))
                if keep:
                    if rows.on_write is not None:
                        rows.on_write("before COMMIT")
                    rows.raw.execute("COMMIT")
            finally:
                self._roll_back()
        except DatabaseError as error:
            raise typed(error, self._path) from error
        if keep and rows.on_write is not None:
            rows.on_write("after COMMIT")
        return result

    def _begin(self, deadline: float) -> None:
        # SQLite's own busy handler sleeps up to 100 ms and starves under saturation; short jittered naps are fair.
        nap = 0.0003
        while True:
            try:
                self.rows.raw.execute("BEGIN IMMEDIATE")
            except DatabaseError as error:
                if primary_code(error) not in (_BUSY, _LOCKED) or time.monotonic() > deadline:
                    raise
                time.sleep(_JITTER.uniform(nap / 2, nap))
                nap = min(nap * 1.5, 0.008)
            else:
                return

    def _file_there(self) -> tuple[int, int] | None:
        try:
            found = self._path.stat()
        except FileNotFoundError:
            return None
        return found.st_dev, found.st_ino

    def _check_file(self) -> None:
        """Writes to a file that was deleted or replaced would be lost. Within a transaction, for who replaces the file holds
        the write lock. Raises FileReplaced."""
        present = self._file_there()
        if present == self._file:
            return
        if present is None:
            raise FileReplaced(
                f"The database {self._path} was deleted or moved away under this server.",
                hint="Nothing of this call was stored. Put the file back, or stop all servers and run wvo-mcp doctor"
                " --repair: it restores the newest backup.",
            )
        raise FileReplaced(
            f"The database {self._path} was replaced by another file.",
            hint="Nothing of this call was stored. Call again: the server opens the new file.",
        )

    def _roll_back(self) -> None:
        # A full disk may have ended the transaction already.
        if self.rows.raw.in_transaction:
            self.rows.raw.execute("ROLLBACK")


def check_ours(rows: Rows, database: Path | None = None) -> None:
    """Raises IncompatibleStore when the file has tables of another program."""
    if int(rows.value("PRAGMA application_id")) != APPLICATION_ID and rows.value("SELECT count(*) FROM sqlite_schema"):
        raise IncompatibleStore(
            f"{database or 'The database'} belongs to another program.",
            hint="Set WVO_STATE_DIR to a folder of its own, or move that file away; it was left untouched.",
        )


@contextmanager
def typed_errors(path: Path) -> Generator[None]:
    """Errors of the database leave as typed errors."""
    try:
        yield
    except DatabaseError as error:
        raise typed(error, path) from error


def no_database(path: Path) -> IncompatibleStore:
    return IncompatibleStore(
        f"{path} is not a SQLite database.",
        hint="wvo-mcp doctor --repair restores the newest good backup and keeps this file; if the file is not a store"
        " of yours, set WVO_STATE_DIR to another folder.",
    )


def primary_code(error: Exception) -> int:
    return int(getattr(error, "sqlite_errorcode", 1)) & 0xFF


def typed(error: Exception, path: Path) -> WvoError:
    """The error of the contract for one of the database's."""
    code = primary_code(error)
    text = str(error)
    if code in (_BUSY, _LOCKED) or "locked" in text:
        return StoreBusy(f"The database {path.name} was busy for {BUSY_BUDGET_SECONDS:.0f} s.")
    if code == _NOTADB or "not a database" in text:
        return no_database(path)
    if code == _CORRUPT or "malformed" in text:
        return IncompatibleStore(f"{path} is damaged ({text}).", hint=REPAIR)
    return StoreUnavailable(f"The database {path} cannot be used: {text}.", cause=text)
