"""The embedded store: one SQLite file in WAL mode, one writer and one reader connection a process; and all else that is
done with the file."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Awaitable, Callable, Iterable
from contextlib import AbstractContextManager, suppress
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import anyio
import anyio.to_thread

from wvo_mcp.domain.lease import WIP_LIMIT, Caller
from wvo_mcp.errors import StoreBusy, WvoError
from wvo_mcp.ports import Clock, Liveness, Transaction
from wvo_mcp.ports.backend import Sessions
from wvo_mcp.ports.store import SOON
from wvo_mcp.store.backups import typed_disk_errors
from wvo_mcp.store.sql import Rows
from wvo_mcp.store.sqlite.connection import Connection, FileReplaced
from wvo_mcp.store.sqlite.integrity import check_closed
from wvo_mcp.store.sqlite.migrate import migrate
from wvo_mcp.store.transaction import HEAD, StoreTransaction, checked, store_time
from wvo_mcp.store.versions import latest
from wvo_mcp.store.waiters import Waiters

if TYPE_CHECKING:
    from wvo_mcp.domain.finding import Finding
    from wvo_mcp.ports.backend import Restored
    from wvo_mcp.store.sqlite.backup import SqliteBackups
    from wvo_mcp.store.sqlite.doctor_checks import SqliteProbe

# What a first call does not need is imported where it is used.

T = TypeVar("T")

_OPEN_SECONDS = 15.0
_SETTLED_SECONDS = 5.0
"""So long after it was seen a commit can be read at the latest, on a disk that takes its time."""


class SqliteStore:
    """`ports.Store` over one file. `open` before use, `close` at the end; use from one event loop.

    `before_making` is called right before a file is made that was not there when the store was opened.
    """

    def __init__(
        self,
        path: Path,
        clock: Clock,
        liveness: Liveness,
        *,
        synchronous: str = "FULL",
        agents: int = WIP_LIMIT,
    ) -> None:
        """`agents` may work at once: the ranking depends on it."""
        self.path = path
        self.agents = agents
        self._clock = clock
        self._liveness = liveness
        self._schema = latest()
        self._traced = tuple(str(path.with_name(path.name + ending)) for ending in ("", "-wal"))
        self._seen: list[tuple[int, int] | None] | None = None
        self._seen_at = 0.0
        self._ask_at = math.inf
        self._told: object = None
        self._waiters = Waiters()
        self._synchronous = synchronous
        self.writer = Connection(path, read_only=False, synchronous=synchronous)
        self._reader = Connection(path, read_only=True, synchronous=synchronous)
        self._reopening = anyio.Lock()
        self._blank: Connection | None = None
        self.before_making: Callable[[], object] = lambda: None

    @property
    def is_blank(self) -> bool:
        """There was no file yet when it was last asked for."""
        return self._blank is not None

    async def open(self, *, make: bool = True) -> None:
        """Create or migrate the file; with `make` False, one that is not there is made by the first write of anybody, and
        until then an empty store is read. Raises IncompatibleStore, StoreUnavailable, StoreBusy."""
        if make or self.path.exists():
            self.writer, self._reader = await self._connected()
            return
        await anyio.to_thread.run_sync(check_closed, self.path)
        blank = Connection(Path(":memory:"), read_only=False, synchronous=self._synchronous)
        await blank.start()
        await migrate(blank)
        self.writer = self._reader = self._blank = blank

    async def _make(self, needed: Callable[[Connection], Awaitable[bool]] | None = None) -> None:
        """Leave the empty store for the file: when another process made it, or when it is `needed`, asked one at a time."""
        async with self._reopening:
            if self._blank is not None and (self.path.exists() or (needed is not None and await needed(self._blank))):
                with typed_disk_errors(self.path):
                    self.before_making()
                self.writer, self._reader = await self._connected()
                await self._blank.close()
                self._blank = None

    async def _connected(self) -> tuple[Connection, Connection]:
        with typed_disk_errors(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
        # Many servers may start on a new file at once, and turning WAL on needs the file alone for a moment.
        deadline = time.monotonic() + _OPEN_SECONDS
        while True:
            writer = Connection(self.path, read_only=False, synchronous=self._synchronous)
            try:
                await anyio.to_thread.run_sync(check_closed, self.path)
                await writer.start()
                break
            except StoreBusy:
                if time.monotonic() > deadline:
                    raise
                await anyio.sleep(0.02)
        reader = Connection(self.path, read_only=True, synchronous=self._synchronous)
        try:
            await migrate(writer)
            await reader.start()
        except BaseException:
            await writer.close()
            raise
        return writer, reader

    def hurry(self) -> None:
        pass  # a file does not go away

    async def close(self) -> None:
        for connection in (self._reader, self.writer):
            await connection.close()

    async def wait_for_change(self, seconds: float, *, within: float = SOON) -> bool:
        until = anyio.current_time() + seconds
        while True:
            if await self._changed():
                self._waiters.changed()
            if self._waiters.news():
                return True
            left = until - anyio.current_time()
            if left <= 0:
                return False
            await anyio.sleep(min(within, left))

    async def _changed(self) -> bool:
        """A commit leaves its traces before it can be read: it is asked for again, each time after as long as it has not been
        there, until it certainly can be. A look at the traces costs a hundredth of asking."""
        now, traces = anyio.current_time(), self._traces()
        if traces != self._seen:
            self._seen, self._seen_at = traces, now
        elif now < self._ask_at:
            return False
        age = now - self._seen_at
        self._ask_at = math.inf if age > _SETTLED_SECONDS else now + max(SOON, age)
        version = await self._version()
        changed, self._told = version != self._told, version
        return changed

    async def _version(self) -> object:
        """Another one after each commit of another connection."""

        async def look(rows: Rows) -> int:
            return rows.value("PRAGMA data_version")

        if self._blank is not None:
            return self._seen
        with suppress(WvoError):  # whoever waits reads next, and is told
            version = await self._in_place(lambda: self._reader.read(look))
            return self._reader, version
        return object()

    def _traces(self) -> list[tuple[int, int] | None]:
        """Size and time of what a commit writes to. A look costs a few microseconds, and no lock."""
        found: list[tuple[int, int] | None] = []
        for path in self._traced:
            try:
                now = os.stat(path)  # noqa: PTH116 - a Path takes three times as long
                found.append((now.st_size, now.st_mtime_ns))
            except OSError:
                found.append(None)
        return found

    async def read(self, caller: Caller, work: Callable[[Transaction], Awaitable[T]]) -> T:
        async def reading(rows: Rows) -> T:
            return await work(self._transaction(rows, caller, write=False))

        if self._blank is not None and (self.path.exists() or self._reopening.locked()):
            await self._make()
        return await self._in_place(lambda: self._reader.read(reading))

    async def write(self, caller: Caller, work: Callable[[Transaction], Awaitable[T]], *, keep: bool = True) -> T:
        async def writing(rows: Rows) -> T:
            return await work(self._transaction(rows, caller, write=True))

        async def rehearsing(rows: Rows) -> tuple[T, bool]:
            return await writing(rows), bool(rows.value(_SOMETHING))

        rehearsed: list[T] = []

        async def needed(blank: Connection) -> bool:
            """What is refused, or leaves nothing but who called, makes no file."""
            result, something = await blank.write(rehearsing, keep=False)
            rehearsed.extend([] if something else [result])
            return something

        # Calls that come while the file is made, or just after, wait behind the earlier ones.
        if self._blank is not None or self._reopening.locked():
            await self._make(needed if keep else None)
        if rehearsed:
            return rehearsed[0]
        return await self._in_place(lambda: self.writer.write(writing, keep))

    async def _in_place(self, attempt: Callable[[], Awaitable[T]]) -> T:
        """When the file was replaced, by a restore or by a person, the one that is there now is opened."""
        known = self.writer
        try:
            return await attempt()
        except FileReplaced:
            if not self.path.exists():
                raise
        async with self._reopening:
            if self.writer is known:
                old = (self._reader, self.writer)
                self.writer, self._reader = await self._connected()
                for connection in old:
                    await connection.close()
        return await attempt()

    def _transaction(self, rows: Rows, caller: Caller, *, write: bool) -> StoreTransaction:
        head = checked(rows.one(HEAD), self._schema)
        now = store_time(rows, head, self._clock, write=write)
        return StoreTransaction(rows, now, caller, self._liveness, head["seq"] or 0, agents=self.agents)


_SOMETHING = "SELECT EXISTS (SELECT 1 FROM events WHERE seq > 0) OR EXISTS (SELECT 1 FROM leaders)"


class SqliteBackend:
    """`ports.backend.Backend`."""

    system = "sqlite"
    is_shared = False

    def __init__(
        self,
        database: Path,
        clock: Clock,
        sessions: Sessions,
        *,
        synchronous: str = "FULL",
        agents: int = WIP_LIMIT,
    ) -> None:
        self._database = database
        self._clock = clock
        self._sessions = sessions
        self.store = SqliteStore(database, clock, sessions, synchronous=synchronous, agents=agents)

    @property
    def backups(self) -> SqliteBackups:
        from wvo_mcp.store.sqlite.backup import SqliteBackups

        return SqliteBackups(self._database, self._database.parent / "backups" / "db")

    @property
    def probe(self) -> SqliteProbe:
        from wvo_mcp.store.sqlite.doctor_checks import SqliteProbe

        return SqliteProbe(self._database)

    def identity(self) -> str:
        try:
            found = self._database.stat()
        except OSError:
            return str(self._database.resolve())
        return f"{found.st_dev}:{found.st_ino}"

    def exists(self) -> bool:
        return self._database.exists()

    def attend(self, session_id: str) -> AbstractContextManager[object]:
        return self._sessions.lock(session_id)

    def living(self) -> list[str]:
        return self._sessions.living()

    async def restore(self, name: str | None, caller: Caller) -> Restored:
        from wvo_mcp.store.sqlite.backup import Restoring

        return await Restoring(self._database, self._clock, self._sessions, caller).restore(name)

    def damage(self) -> WvoError | None:
        from wvo_mcp.store.sqlite.backup import full_damage, quick_damage

        return quick_damage(self._database) or full_damage(self._database)

    def doctor_checks(self, now: datetime) -> list[Finding]:
        from wvo_mcp.store.sqlite.doctor_checks import examine

        return examine(self._database, self._sessions.alive, now)

    def known_ids(self, wanted: Iterable[str]) -> set[str]:
        from wvo_mcp.store.sqlite.doctor_checks import known_ids

        return known_ids(self._database, wanted)
