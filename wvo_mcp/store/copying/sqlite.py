"""A SQLite file as either end of a copy."""

import fcntl
import os
from collections.abc import Callable, Generator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

from wvo_mcp.errors import Conflict, IncompatibleStore, InvalidInput
from wvo_mcp.store.backup_folder import sync, troubles
from wvo_mcp.store.copying.copy import SEEDED, Row, Table, refuse_content
from wvo_mcp.store.sqlite.connection import DatabaseError, SqliteRows, check_ours, sqlite, typed
from wvo_mcp.store.sqlite.migrate import apply_migrations, check_file
from wvo_mcp.store.sqlite.read_only import read_only
from wvo_mcp.store.versions import latest


class _File:
    """What both ends share. A context manager; `_raw` is open within."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._raw: Any = None
        self._left = ExitStack()

    def __exit__(self, *_: object) -> None:
        self._left.close()

    @property
    def where(self) -> str:
        return str(self._path)

    @contextmanager
    def _typed(self) -> Generator[None]:
        try:
            yield
        except DatabaseError as error:
            raise typed(error, self._path) from error

    def rows(self, table: Table) -> Generator[Row]:
        query = f'SELECT {", ".join(table.columns)} FROM "{table.name}" ORDER BY {", ".join(table.key)}'
        with self._typed():
            yield from self._raw.execute(query)


class SqliteSource(_File):
    """An existing file, read in one transaction; `alive` tells whether a session's server lives."""

    def __init__(self, path: Path, alive: Callable[[str], bool]) -> None:
        super().__init__(path)
        self._alive = alive

    def __enter__(self) -> "SqliteSource":
        """Raises InvalidInput, IncompatibleStore and the typed errors of the file."""
        if not self._path.is_file():
            raise InvalidInput("FROM", f"there is no file {self._path}")
        with ExitStack() as undone, self._typed():
            undone.push(self.__exit__)
            check_file(self._path)
            self._raw = self._left.enter_context(read_only(self._path))
            check_version(self._raw, self._path)
            self._raw.execute("BEGIN")
            undone.pop_all()
        return self

    def count(self, table: str) -> int:
        with self._typed():
            return int(self._raw.execute(f'SELECT count(*) FROM "{table}"').fetchone()[0])

    def living(self) -> list[str]:
        with self._typed():
            sessions = self._raw.execute(
                "SELECT session_id, agent_id FROM sessions WHERE ended_at IS NULL AND durable = 0 ORDER BY agent_id"
            ).fetchall()
        return [agent for session, agent in sessions if self._alive(session)]


class SqliteTarget(_File):
    """A new file. It grows under another name and gets its own when it is whole."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._unfinished = path.with_name(path.name + ".copying")
        self._triggers: list[str] = []
        self._in_place = False

    def __enter__(self) -> "SqliteTarget":
        """Raises Conflict while another copy is made there, StoreUnavailable."""
        with troubles(self._path.parent):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._left.callback(os.close, _alone(self._unfinished, self._path))
            self._left.callback(self._discard)
        return self

    def _discard(self) -> None:
        if not self._in_place:
            self._unfinished.unlink(missing_ok=True)

    def prepare(self) -> None:
        self._refuse_content()
        with self._typed():
            raw = self._raw = self._left.enter_context(
                closing(sqlite.connect(str(self._unfinished), isolation_level=None, timeout=0))
            )
            # What is cut off is thrown away, so it needs no journal; it is synced before it gets its name.
            raw.execute("PRAGMA journal_mode = OFF")
            raw.execute("PRAGMA synchronous = OFF")
            raw.execute("PRAGMA cache_size = -64000")
            raw.execute("BEGIN EXCLUSIVE")
            apply_migrations(SqliteRows(raw), 0)
            for name, sql in raw.execute("SELECT name, sql FROM sqlite_schema WHERE type = 'trigger'").fetchall():
                self._triggers.append(sql)
                raw.execute(f'DROP TRIGGER "{name}"')
            for table in SEEDED:
                raw.execute(f"DELETE FROM {table}")

    def _refuse_content(self) -> None:
        """The place is free, or there is a store in which nothing has happened yet."""
        if not self._path.exists():
            left = [end for end in ("-wal", "-journal") if self._path.with_name(self._path.name + end).exists()]
            if left:
                raise Conflict(
                    f"{self._path}{left[0]} was left by a database that is gone.",
                    hint="Move it away: SQLite would take it for a part of the copy.",
                )
            return
        check_file(self._path)
        with self._typed(), read_only(self._path) as raw:
            if raw.execute("SELECT count(*) FROM sqlite_schema").fetchone() != (0,):
                check_version(raw, self._path)
                refuse_content(lambda query: raw.execute(query).fetchone(), self.where)

    def put(self, table: Table, rows: list[Row]) -> None:
        into = f'INSERT INTO "{table.name}" ({", ".join(table.columns)}) VALUES ({", ".join("?" * len(table.columns))})'
        with self._typed():
            self._raw.executemany(into, rows)

    def finish(self) -> None:
        self._make_room()
        with self._typed():
            searched = "SELECT name FROM sqlite_schema WHERE sql LIKE 'CREATE VIRTUAL TABLE % USING fts5%'"
            for (name,) in self._raw.execute(searched).fetchall():
                self._raw.execute(f"INSERT INTO {name} ({name}) VALUES ('rebuild')")
            for trigger in self._triggers:
                self._raw.execute(trigger)
            self._raw.execute("COMMIT")
            self._raw.close()
        with troubles(self._path):
            sync(self._unfinished)
            self._unfinished.replace(self._path)
            self._in_place = True
            sync(self._path.parent)

    def _make_room(self) -> None:
        """The log of a store that was never used must not be taken for ours, nor its servers write into a ghost."""
        if not self._path.exists():
            return
        with closing(sqlite.connect(str(self._path), isolation_level=None, timeout=1)) as alone:
            try:
                alone.execute("PRAGMA journal_mode = DELETE")
            except DatabaseError as error:
                raise Conflict(
                    f"Servers have {self._path} open ({error}).", hint="End their clients, then copy again."
                ) from error


def _alone(unfinished: Path, path: Path) -> int:
    """A descriptor that holds the lock of the emptied file `unfinished`; what a killed copy left there is gone. Raises
    Conflict, OSError."""
    while True:
        lock = os.open(unfinished, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if unfinished.exists() and os.path.samestat(os.fstat(lock), unfinished.stat()):
                os.ftruncate(lock, 0)
                return lock
        except BlockingIOError:
            os.close(lock)
            raise Conflict(f"Another copy into {path} is running.", hint="Wait until it has ended.") from None
        except BaseException:
            os.close(lock)
            raise
        os.close(lock)  # the copy before us has just put it in place


def check_version(raw: Any, path: Path) -> None:
    """Raises IncompatibleStore for the file of another program, or of another version."""
    check_ours(SqliteRows(raw), path)
    refuse_version(str(path), int(raw.execute("PRAGMA user_version").fetchone()[0]))


def refuse_version(where: str, version: int) -> None:
    """Raises IncompatibleStore unless it is this program's."""
    if version > latest():
        raise IncompatibleStore(f"{where} has schema {version}; this program knows schemas up to {latest()}.")
    if version < latest():
        raise IncompatibleStore(
            f"{where} has schema {version}, this program {latest()}.",
            hint="Open it once with this program (wvo-mcp status in its workspace), which brings it up to date; then copy.",
        )
