"""A read-only look at a store of either kind, beside running servers."""

import time
from collections.abc import Callable, Generator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, cast

import psycopg
from pysqlite3 import dbapi2

from wvo_mcp.store.postgres.address import configure
from wvo_mcp.store.postgres.wire import translated
from wvo_mcp.store.sqlite.migrate import statements
from wvo_mcp.store.versions import migrations

sqlite = cast("Any", dbapi2)
"""The library of the product: two on one file in one process would break each other's locks."""

Source = Path | str
"""A database file, or the URL of a PostgreSQL database."""

Row = dict[str, Any]


class Database:
    """One moment of a database. Statements have `?` for parameters, whatever the kind."""

    def __init__(self, execute: Callable[[str, Any], Any]) -> None:
        self._execute = execute
        self.shown_ready: list[str] = self.column("SELECT id FROM ready_tasks")
        self.shown_at = time.monotonic()

    def rows(self, sql: str, *params: Any) -> list[Row]:
        cursor = self._execute(sql, params)
        names = [column[0] for column in cursor.description]
        return [dict(zip(names, row, strict=True)) for row in cursor]

    def one(self, sql: str, *params: Any) -> Row:
        return self.rows(sql, *params)[0]

    def column(self, sql: str, *params: Any) -> list[Any]:
        return [row[0] for row in self._execute(sql, params)]

    def value(self, sql: str, *params: Any) -> Any:
        return self.column(sql, *params)[0]


OF_CALLS = {"events": " WHERE kind NOT LIKE 'alert.%'"}
"""By table, what calls write: the leader may raise an alert at any moment."""


@contextmanager
def looked_at(source: Source) -> Generator[Database]:
    """Statements go to the database itself."""
    if isinstance(source, Path):
        raw = sqlite.connect(f"{source.as_uri()}?mode=ro", uri=True, timeout=30, isolation_level=None)
        try:
            raw.execute("BEGIN")
            yield Database(raw.execute)
        finally:
            raw.close()
        return
    with psycopg.connect(source, autocommit=True) as connection:
        configure(connection)
        connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY", prepare=False)
        yield Database(lambda sql, params: psycopg.RawCursor(connection).execute(translated(sql).text, params))


@contextmanager
def written(source: Source) -> Generator[Callable[..., Any]]:
    """`execute(sql, *params)` of a connection that writes behind the product's back; each statement is a transaction."""
    if isinstance(source, Path):
        with closing(sqlite.connect(str(source), timeout=30, isolation_level=None)) as raw:

            def execute(sql: str, *params: Any) -> Any:
                return raw.execute(sql, params)

            yield execute
        return
    with psycopg.connect(source, autocommit=True) as connection:
        configure(connection)
        connection.prepare_threshold = None  # tables may change

        def run(sql: str, *params: Any) -> Any:
            return psycopg.RawCursor(connection).execute(translated(sql).text, params)

        yield run


@contextmanager
def mirrored(source: Source) -> Generator[Database]:
    """The same, for statements that only SQLite knows: what PostgreSQL holds is copied into tables without triggers."""
    with looked_at(source) as database:
        if isinstance(source, Path):
            yield database
            return
        copy = sqlite.connect(":memory:", isolation_level=None)
        try:
            _copy(database, copy)
            there = Database(copy.execute)
            there.shown_ready, there.shown_at = database.shown_ready, database.shown_at
            yield there
        finally:
            copy.close()


def _copy(database: Database, copy: Any) -> None:
    made = [text for _, script in migrations() for text in statements(script)]
    for text in made:
        if text.startswith(("CREATE TABLE", "CREATE VIEW", "DROP VIEW", "ALTER TABLE")):
            copy.execute(text)
    tables = [row[0] for row in copy.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")]
    for table in tables:
        rows = database.rows(f"SELECT * FROM {table}")
        if rows:
            known = {row[1] for row in copy.execute(f"PRAGMA table_info({table})")}
            names = [name for name in rows[0] if name in known]  # a later version may have more
            copy.executemany(
                f"INSERT OR REPLACE INTO {table} ({', '.join(names)}) VALUES ({', '.join('?' * len(names))})",
                [[row[name] for name in names] for row in rows],
            )
    for table in ("context_search", "task_search"):
        copy.execute(f"CREATE TABLE {table}_docsize (id)")
        count = database.value(f"SELECT count(*) FROM {table}")
        copy.executemany(f"INSERT INTO {table}_docsize VALUES (?)", [[n] for n in range(count)])
