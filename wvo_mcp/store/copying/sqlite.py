"""A SQLite file as either end of a copy."""

import fcntl
import os
from collections.abc import Callable, Generator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

from wvo_mcp.errors import Conflict, InvalidInput
from wvo_mcp.store.backups import sync, typed_disk_errors
from wvo_mcp.store.copying.copy import SEEDED, Row, Source, Table, refuse_version, store_exists
from wvo_mcp.store.sqlite.connection import SqliteRows, check_ours, sqlite, typed_errors
from wvo_mcp.store.sqlite.migrate import apply_migrations, check_file
from wvo_mcp.store.sqlite.read_only import read_only


@contextmanager
def sqlite_source(path: Path, alive: Callable[[str], bool]) -> Generator[Source]:
    """An existing file. Raises InvalidInput, IncompatibleStore; what goes wrong within leaves as a typed error of the file."""
    if not path.is_file():
        raise InvalidInput("FROM", f"there is no file {path}")
    with typed_errors(path):
        check_file(path)
        with read_only(path) as raw:
            rows = SqliteRows(raw)
            check_ours(rows, path)
            refuse_version(str(path), int(rows.value("PRAGMA user_version")))
            raw.execute("BEGIN")
            yield Source(str(path), rows, alive)


class SqliteTarget:
    """A new file. It grows under another name and gets its own when it is whole."""

    def __init__(self, path: Path) -> None:
        self.where = str(path)
        self._path = path
        self._raw: Any = None
        self._left = ExitStack()
        self._unfinished = path.with_name(path.name + ".copying")
        self._triggers: list[str] = []

    def __enter__(self) -> "SqliteTarget":
        """Raises Conflict when there is a store, and while another copy is made there; StoreUnavailable."""
        with ExitStack() as left, typed_disk_errors(self._path.parent), typed_errors(self._path):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            left.callback(os.close, _locked(self._unfinished, self._path))
            left.callback(self._unfinished.unlink, missing_ok=True)
            if self._path.exists():
                raise store_exists(self.where)
            for end in ("-wal", "-journal"):
                if self._path.with_name(self._path.name + end).exists():
                    raise Conflict(
                        f"{self._path}{end} was left by a database that is gone.",
                        hint="Move it away: SQLite would take it for a part of the copy.",
                    )
            raw = self._raw = sqlite.connect(str(self._unfinished), isolation_level=None, timeout=0)
            left.enter_context(closing(raw))
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
            self._left = left.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._left.close()

    def put(self, table: Table, rows: list[Row]) -> None:
        into = f'INSERT INTO "{table.name}" ({", ".join(table.columns)}) VALUES ({", ".join("?" * len(table.columns))})'
        with typed_errors(self._path):
            self._raw.executemany(into, rows)

    @contextmanager
    def filled(self) -> Generator[SqliteRows]:
        with typed_errors(self._path):
            yield SqliteRows(self._raw)

    def finish(self) -> None:
        with typed_errors(self._path):
            searched = "SELECT name FROM sqlite_schema WHERE sql LIKE 'CREATE VIRTUAL TABLE % USING fts5%'"
            for (name,) in self._raw.execute(searched).fetchall():
                self._raw.execute(f"INSERT INTO {name} ({name}) VALUES ('rebuild')")
            for trigger in self._triggers:
                self._raw.execute(trigger)
            self._raw.execute("COMMIT")
            self._raw.close()
        with typed_disk_errors(self._path):
            sync(self._unfinished)
            try:
                os.link(self._unfinished, self._path)
            except FileExistsError:
                raise store_exists(self.where) from None
            except OSError:
                self._unfinished.replace(self._path)  # a file system without hard links
            sync(self._path.parent)


def _locked(unfinished: Path, path: Path) -> int:
    """A descriptor that holds the lock of the emptied file `unfinished`; what a killed copy left there is gone. Raises
    Conflict, OSError."""
    lock = os.open(unfinished, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if not (unfinished.exists() and os.path.samestat(os.fstat(lock), unfinished.stat())):
            raise BlockingIOError  # the copy before us has ended just now
        os.ftruncate(lock, 0)
    except BaseException as error:
        os.close(lock)
        if isinstance(error, BlockingIOError):
            raise Conflict(f"Another copy into {path} is running.", hint="Wait until it has ended.") from None
        raise
    return lock
