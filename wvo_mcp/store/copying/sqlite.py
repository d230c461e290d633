"""A SQLite file as either end of a copy."""

import os
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

import anyio

from wvo_mcp.errors import Conflict, IncompatibleStore, InvalidInput, StoreUnavailable, WvoError
from wvo_mcp.store.copying.copy import KEPT_BY_DATABASE, SEEDED, Head, Row, Table
from wvo_mcp.store.sqlite.connection import Connection, DatabaseError, check_ours, sqlite, typed
from wvo_mcp.store.sqlite.connection import SqliteRows as Rows
from wvo_mcp.store.sqlite.glance import looking
from wvo_mcp.store.sqlite.migrate import check_file, migrate, statements
from wvo_mcp.store.versions import latest, migrations

_OWN = frozenset({"copying", "copying_triggers"})


class _File:
    """What both ends share."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._open: Any = None

    @property
    def where(self) -> str:
        return str(self._path)

    @property
    def _raw(self) -> Any:
        assert self._open is not None, "the file is not open"  # noqa: S101
        return self._open

    @contextmanager
    def _typed(self) -> Generator[None]:
        try:
            yield
        except DatabaseError as error:
            raise typed(error, self._path) from error

    def tables(self) -> dict[str, Table]:
        with self._typed():
            return {table.name: table for table in _catalog(self._raw)}

    def count(self, table: str) -> int:
        with self._typed():
            return int(self._raw.execute(f'SELECT count(*) FROM "{table}"').fetchone()[0])

    def rows(self, table: Table, after: Row | None = None) -> Iterator[Row]:
        key = ", ".join(table.key)
        behind = "" if after is None else f"WHERE ({key}) > ({', '.join('?' * len(after))})"
        with self._typed():
            yield from self._raw.execute(
                f'SELECT {", ".join(table.columns)} FROM "{table.name}" {behind} ORDER BY {key}', after or ()
            )


class SqliteSource(_File):
    """An existing file, read in one transaction. A context manager; `alive` tells whether a session's server lives."""

    def __init__(self, path: Path, alive: Callable[[str], bool]) -> None:
        super().__init__(path)
        self._alive = alive
        self._left = ExitStack()

    def __enter__(self) -> "SqliteSource":
        """Raises InvalidInput, IncompatibleStore and the typed errors of the file."""
        if not self._path.is_file():
            raise InvalidInput("FROM", f"there is no file {self._path}")
        with ExitStack() as undone, self._typed():
            undone.push(self.__exit__)
            check_file(self._path)
            self._open = self._left.enter_context(looking(self._path))
            check_ours(Rows(self._open))
            version = int(self._open.execute("PRAGMA user_version").fetchone()[0])
            if version != latest():
                raise _other_version(self.where, version)
            self._open.execute("BEGIN")
            undone.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._left.close()
        self._open = None

    def head(self) -> Head:
        with self._typed():
            last = self._raw.execute("SELECT seq, hash FROM events ORDER BY seq DESC LIMIT 1").fetchone()
        seq, digest = last or (0, "")
        return Head(str(self._path.resolve()), seq, digest)

    def living(self) -> list[str]:
        with self._typed():
            sessions = self._raw.execute(
                "SELECT session_id, agent_id FROM sessions WHERE ended_at IS NULL AND durable = 0 ORDER BY agent_id"
            ).fetchall()
        return [agent for session, agent in sessions if self._alive(session)]


class SqliteTarget(_File):
    """A new file. It grows under another name and gets its own when it is whole. A context manager."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._unfinished = path.with_name(path.name + ".copying")

    def __enter__(self) -> "SqliteTarget":
        return self

    def __exit__(self, *_: object) -> None:
        if self._open is not None:
            self._open.close()
            self._open = None

    def prepare(self, head: Head) -> bool:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreUnavailable(f"The folder {self._path.parent} cannot be made: {error.strerror}.") from error
        self._refuse_content()
        with self._typed():
            if self._unfinished.exists():
                self._connect()
                found = _marked(self._raw)
                if found == head:
                    return True
                if found is not None and found.source != head.source:
                    raise Conflict(
                        f"{self._unfinished} is the unfinished copy of {found.source}.",
                        hint="Finish that copy, or remove the file, then copy again.",
                    )
                self.discard()
            self._create(head)
        return False

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
        with self._typed(), looking(self._path) as raw:
            check_ours(Rows(raw))
            for table in _catalog(raw):
                some = "n <> 0" if table.name in SEEDED else "TRUE"
                if raw.execute(f'SELECT 1 FROM "{table.name}" WHERE {some} LIMIT 1').fetchone():
                    raise Conflict(
                        f"{self._path} is not empty: its table {table.name} has rows.",
                        hint="Copy into a file that does not exist yet; nothing is ever merged or overwritten.",
                    )

    def _create(self, head: Head) -> None:
        anyio.run(_made, self._unfinished)
        self._connect()
        raw = self._raw
        raw.execute("BEGIN IMMEDIATE")
        raw.execute("CREATE TABLE copying_triggers (sql TEXT NOT NULL)")
        raw.execute("INSERT INTO copying_triggers SELECT sql FROM sqlite_schema WHERE type = 'trigger'")
        for (name,) in raw.execute("SELECT name FROM sqlite_schema WHERE type = 'trigger'").fetchall():
            raw.execute(f'DROP TRIGGER "{name}"')
        for table in _catalog(raw):
            raw.execute(f'DELETE FROM "{table.name}"')
        raw.execute("CREATE TABLE copying (source TEXT NOT NULL, seq INTEGER NOT NULL, hash TEXT NOT NULL)")
        raw.execute("INSERT INTO copying VALUES (?, ?, ?)", (head.source, head.seq, head.hash))
        raw.execute("COMMIT")

    def _connect(self) -> None:
        self._open = sqlite.connect(str(self._unfinished), isolation_level=None, timeout=5)
        # Nobody else reads it, and a file without a log beside it can be renamed.
        self._open.execute("PRAGMA locking_mode = EXCLUSIVE")
        self._open.execute("PRAGMA journal_mode = DELETE")
        self._open.execute("PRAGMA synchronous = FULL")
        self._open.execute("PRAGMA cache_size = -64000")

    def last_key(self, table: Table) -> Row | None:
        order = ", ".join(f"{column} DESC" for column in table.key)
        with self._typed():
            return self._raw.execute(
                f'SELECT {", ".join(table.key)} FROM "{table.name}" ORDER BY {order} LIMIT 1'
            ).fetchone()

    def put(self, table: Table, rows: list[Row]) -> None:
        with self._typed():
            self._raw.execute("BEGIN IMMEDIATE")
            try:
                self._raw.executemany(
                    f'INSERT INTO "{table.name}" ({", ".join(table.columns)})'
                    f" VALUES ({', '.join('?' * len(table.columns))})",
                    rows,
                )
                self._raw.execute("COMMIT")
            except BaseException:
                if self._raw.in_transaction:
                    self._raw.execute("ROLLBACK")
                raise

    def finish(self) -> None:
        self._make_room()
        with self._typed():
            raw = self._raw
            raw.execute("BEGIN IMMEDIATE")
            for (name,) in raw.execute(
                "SELECT name FROM sqlite_schema WHERE sql LIKE 'CREATE VIRTUAL TABLE % USING fts5%'"
            ).fetchall():
                raw.execute(f"INSERT INTO {name} ({name}) VALUES ('rebuild')")
            for (sql,) in raw.execute("SELECT sql FROM copying_triggers").fetchall():
                raw.execute(sql)
            for name in _OWN:
                raw.execute(f"DROP TABLE {name}")
            raw.execute("COMMIT")
            raw.close()
            self._open = None
            self._take_place()

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

    def _take_place(self) -> None:
        try:
            self._unfinished.replace(self._path)
            folder = os.open(self._path.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        except OSError as error:
            raise StoreUnavailable(f"{self._unfinished} cannot be renamed: {error.strerror}.") from error

    def discard(self) -> None:
        if self._open is not None:
            self._open.close()
            self._open = None
        for end in ("", "-journal", "-wal", "-shm"):
            with suppress(FileNotFoundError):
                self._unfinished.with_name(self._unfinished.name + end).unlink()


async def _made(path: Path) -> None:
    """A file with the tables of this program."""
    connection = Connection(path, read_only=False, synchronous="FULL")
    await connection.start()
    try:
        await migrate(connection)
    finally:
        await connection.close()


@lru_cache(maxsize=1)
def table_names() -> frozenset[str]:
    """Every table of a store, in either kind of database: those of searched words as well."""
    with closing(sqlite.connect(":memory:", isolation_level=None)) as raw:
        for _, script in migrations():
            for statement in statements(script):
                raw.execute(statement)
        listed = raw.execute(
            "SELECT name FROM pragma_table_list WHERE schema = 'main' AND type IN ('table', 'virtual')"
        )
        return frozenset(name for (name,) in listed if not name.startswith("sqlite_"))


def _catalog(raw: Any) -> list[Table]:
    found: list[Table] = []
    listed = raw.execute(
        "SELECT name, wr FROM pragma_table_list WHERE schema = 'main' AND type = 'table' ORDER BY name"
    )
    for name, without_rowid in listed.fetchall():
        if name.startswith("sqlite_") or name in KEPT_BY_DATABASE | _OWN:
            continue
        columns = raw.execute(
            "SELECT name, type, pk, hidden FROM pragma_table_xinfo(?) ORDER BY cid", (name,)
        ).fetchall()
        key = tuple(column[0] for column in sorted(columns, key=lambda column: column[2]) if column[2])
        alias = any(kind == "INTEGER" and pk for _, kind, pk, _ in columns) and len(key) == 1
        refers = raw.execute('SELECT "table" FROM pragma_foreign_key_list(?)', (name,)).fetchall()
        found.append(
            Table(
                name,
                tuple(column for column, _, _, hidden in columns if not hidden),
                key,
                frozenset() if without_rowid or alias else frozenset({"rowid"}),
                frozenset(row[0] for row in refers),
            )
        )
    return found


def _marked(raw: Any) -> Head | None:
    """Where an unfinished copy comes from; None when it was interrupted before it began."""
    if not raw.execute("SELECT 1 FROM sqlite_schema WHERE name = 'copying'").fetchone():
        return None
    return Head(*raw.execute("SELECT source, seq, hash FROM copying").fetchone())


def _other_version(where: str, version: int) -> WvoError:
    if version > latest():
        return IncompatibleStore(f"{where} has schema {version}; this program knows schemas up to {latest()}.")
    return IncompatibleStore(
        f"{where} has schema {version}, this program {latest()}.",
        hint="Open it once with this program (wvo-mcp status in its workspace), which brings it up to date; then copy.",
    )
