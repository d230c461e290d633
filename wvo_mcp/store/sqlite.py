"""The embedded store: one SQLite file in WAL mode, one writer and one reader connection a process."""

import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import anyio

from wvo_mcp.domain.lease import Caller
from wvo_mcp.errors import StoreBusy, StoreUnavailable
from wvo_mcp.ports import Clock, Liveness, Transaction
from wvo_mcp.store.clock import HEAD, checked, store_time
from wvo_mcp.store.connection import Connection
from wvo_mcp.store.migrate import check_file, latest, migrate
from wvo_mcp.store.sql import Rows
from wvo_mcp.store.transaction import StoreTransaction

T = TypeVar("T")

_OPEN_SECONDS = 15.0
_LOOK_SECONDS = 0.05


class SqliteStore:
    """`ports.Store` over one file. `open` before use, `close` at the end; use from one event loop."""

    def __init__(self, path: Path, clock: Clock, liveness: Liveness, *, synchronous: str = "FULL") -> None:
        self.path = path
        self._clock = clock
        self._liveness = liveness
        self._schema = latest()
        self._seen: list[tuple[int, int] | None] | None = None
        self._writer = Connection(path, read_only=False, synchronous=synchronous)
        self._reader = Connection(path, read_only=True, synchronous=synchronous)

    @property
    def writer(self) -> Connection:
        """For crash tests and maintenance."""
        return self._writer

    async def open(self) -> None:
        """Create or migrate the file. Raises IncompatibleStore, StoreUnavailable, StoreBusy."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            check_file(self.path)
        except OSError as error:
            raise StoreUnavailable(f"The database {self.path} cannot be used: {error.strerror}.") from error
        # Many servers may start on a new file at once, and turning WAL on needs the file alone for a moment.
        deadline = time.monotonic() + _OPEN_SECONDS
        while True:
            try:
                await self._writer.start()
                break
            except StoreBusy:
                if time.monotonic() > deadline:
                    raise
                await anyio.sleep(0.02)
                self._writer = Connection(self.path, read_only=False, synchronous=self._writer.synchronous)
        try:
            await migrate(self._writer)
            await self._reader.start()
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        for connection in (self._reader, self._writer):
            if connection.is_open:
                await connection.close()

    async def wait_for_change(self, seconds: float) -> bool:
        until = anyio.current_time() + seconds
        while True:
            traces = self._traces()
            if traces != self._seen:
                self._seen = traces
                return True
            left = until - anyio.current_time()
            if left <= 0:
                return False
            await anyio.sleep(min(_LOOK_SECONDS, left))

    def _traces(self) -> list[tuple[int, int] | None]:
        """Size and time of what a commit writes to. A look costs a few microseconds, and no lock."""
        return [_trace(self.path.with_name(self.path.name + ending)) for ending in ("", "-wal")]

    async def read(self, caller: Caller, work: Callable[[Transaction], Awaitable[T]]) -> T:
        async def reading(rows: Rows) -> T:
            return await work(self._transaction(rows, caller, write=False))

        return await self._reader.read(reading)

    async def write(self, caller: Caller, work: Callable[[Transaction], Awaitable[T]], *, keep: bool = True) -> T:
        async def writing(rows: Rows) -> T:
            return await work(self._transaction(rows, caller, write=True))

        return await self._writer.write(writing, keep)

    def _transaction(self, rows: Rows, caller: Caller, *, write: bool) -> StoreTransaction:
        head = checked(rows.one(HEAD), self._schema)
        now = store_time(rows, head, self._clock, write=write)
        return StoreTransaction(rows, now, caller, self._liveness, head["seq"] or 0)


def _trace(path: Path) -> tuple[int, int] | None:
    try:
        now = path.stat()
    except OSError:
        return None
    return now.st_size, now.st_mtime_ns
