"""A PostgreSQL database as either end of a copy."""

import re
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import Any, cast

import anyio
import psycopg
from psycopg import errors
from psycopg.conninfo import conninfo_to_dict

from wvo_mcp.errors import Conflict, IncompatibleStore, InvalidInput, StoreUnavailable
from wvo_mcp.store.copying.copy import KEPT_BY_DATABASE, SEEDED, Head, Row, Table
from wvo_mcp.store.copying.sqlite import table_names
from wvo_mcp.store.postgres.link import WRITE_LOCK, Link, conninfo, settle
from wvo_mcp.store.postgres.migrate import migrate, version
from wvo_mcp.store.postgres.presence import Presences
from wvo_mcp.store.postgres.rows import PostgresRows
from wvo_mcp.store.versions import latest

_INDEXING = ("context_indexed", "task_indexed")
"""Triggers that fill the tables of searched words; all others rest during a copy."""

_PAGE = 2_000
_ALONE_MS = 2_000

_CATALOG = """
SELECT c.relname, array_agg(a.attname::TEXT ORDER BY a.attnum),
  (SELECT array_agg(k.attname::TEXT ORDER BY array_position(i.indkey::INT2[], k.attnum))
   FROM pg_index AS i JOIN pg_attribute AS k ON k.attrelid = c.oid AND k.attnum = ANY (i.indkey::INT2[])
   WHERE i.indrelid = c.oid AND i.indisprimary),
  coalesce((SELECT array_agg(DISTINCT f.confrelid::REGCLASS::TEXT) FROM pg_constraint AS f
   WHERE f.conrelid = c.oid AND f.contype = 'f'), '{}')
FROM pg_class AS c JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
WHERE c.relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = current_schema()) AND c.relkind = 'r'
  AND c.relname = ANY (%s)
GROUP BY c.oid, c.relname
HAVING NOT bool_or(a.atttypid = 'tsvector'::REGTYPE)
ORDER BY c.relname
"""

_IDENTITIES = """
SELECT c.relname::TEXT, a.attname::TEXT FROM pg_class AS c JOIN pg_attribute AS a ON a.attrelid = c.oid
WHERE c.relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = current_schema()) AND c.relkind = 'r'
  AND c.relname = ANY (%s) AND a.attidentity <> ''
"""


class _Database:
    """What both ends share. A context manager."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._open: psycopg.Connection[Any] | None = None
        try:
            given = conninfo_to_dict(url)
        except psycopg.Error:
            # The driver's words would quote the password.
            allowed = "no URL of a database; it looks like postgresql://USER:PASSWORD@HOST:PORT/DATABASE"
            raise InvalidInput(self._field, allowed) from None
        host, name = str(given.get("host", "localhost")), str(given.get("dbname", ""))
        if "@" in host or re.search("[@:/]", name):
            raise InvalidInput(self._field, "write / and @ in a password as %2F and %40")
        self._where = f"{host}:{given.get('port', 5432)}/{name}"

    _field = "URL"

    @property
    def where(self) -> str:
        return self._where

    @property
    def _raw(self) -> psycopg.Connection[Any]:
        assert self._open is not None, "the database is not open"  # noqa: S101
        return self._open

    def _connect(self) -> None:
        with self._closed_on_error(), self._typed():
            self._open = psycopg.connect(conninfo(self._url, application_name="wvo-mcp store copy"))
            settle(self._open)
            # The other end may take its time.
            self._run("SET idle_in_transaction_session_timeout = 0")

    @contextmanager
    def _closed_on_error(self) -> Generator[None]:
        try:
            yield
        except BaseException:
            self.__exit__()
            raise

    def __exit__(self, *_: object) -> None:
        if self._open is not None:
            self._open.close()
            self._open = None

    @contextmanager
    def _typed(self) -> Generator[None]:
        try:
            yield
        except psycopg.OperationalError as error:
            raise StoreUnavailable(
                f"The database {self.where} cannot be reached or used: {_first_line(error)}.",
                hint="What had arrived is kept. See that it runs, then give the same command again: it goes on from there.",
            ) from error
        except psycopg.Error as error:
            raise IncompatibleStore(f"The database {self.where} refused: {_first_line(error)}.") from error

    def _run(self, sql: str, params: Any = None) -> psycopg.Cursor[Any]:
        return self._raw.execute(sql.encode(), params, prepare=False)

    def tables(self) -> dict[str, Table]:
        with self._typed():
            return {table.name: table for table in self._catalog()}

    def _catalog(self) -> Iterator[Table]:
        for name, columns, key, refers in self._run(_CATALOG, (_ours(),)).fetchall():
            hidden = frozenset(columns) & {"rowid"}
            yield Table(name, tuple(c for c in columns if c not in hidden), tuple(key), hidden, frozenset(refers))

    def count(self, table: str) -> int:
        with self._typed():
            return int(self._run(f'SELECT count(*) FROM "{table}"').fetchall()[0][0])

    def rows(self, table: Table, after: Row | None = None) -> Iterator[Row]:
        key = ", ".join(table.key)
        behind = "" if after is None else f"WHERE ({key}) > ({', '.join(['%s'] * len(after))})"
        query = f'SELECT {", ".join(table.columns)} FROM "{table.name}" {behind} ORDER BY {key}'
        with self._typed(), self._raw.transaction(), self._raw.cursor(name="rows") as cursor:
            cursor.itersize = _PAGE
            cursor.execute(query.encode(), after)
            yield from cursor


class PostgresSource(_Database):
    """An existing store, read in one transaction."""

    _field = "FROM"

    def __enter__(self) -> "PostgresSource":
        """Raises InvalidInput, IncompatibleStore, StoreUnavailable."""
        self._connect()
        with self._closed_on_error(), self._typed():
            found = version(self._raw)
            if found == 0:
                raise InvalidInput("FROM", f"there is no store in {self.where}")
            if found != latest():
                raise IncompatibleStore(
                    f"{self.where} has schema {found}, this program {latest()}.",
                    hint="Open it once with this program (wvo-mcp status), which brings it up to date; then copy.",
                )
            self._run("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        return self

    def head(self) -> Head:
        with self._typed():
            last = self._run("SELECT seq, hash FROM events ORDER BY seq DESC LIMIT 1").fetchone()
        seq, digest = last or (0, "")
        return Head(self.where, seq, digest)

    def living(self) -> list[str]:
        with self._typed():
            sessions = self._run(
                "SELECT session_id, agent_id FROM sessions WHERE ended_at IS NULL AND durable = 0 ORDER BY agent_id"
            ).fetchall()
        with self._typed(), self._raw.pipeline() as pipeline:
            presences = Presences(PostgresRows(self._raw, pipeline))
            return [agent for session, agent in sessions if presences.alive(session)]


class PostgresTarget(_Database):
    """A database without a store, or with one in which nothing has happened.

    Until the copy is finished its table `store` has another name, which keeps servers out.
    """

    _field = "TO"

    def __enter__(self) -> "PostgresTarget":
        """Raises InvalidInput, IncompatibleStore, StoreUnavailable."""
        self._connect()
        with self._closed_on_error(), self._typed():
            try:
                # One that was killed a moment ago still holds it.
                self._run(f"SET lock_timeout = {_ALONE_MS}")
                self._run(f"SELECT pg_advisory_lock({WRITE_LOCK} + 1)")
            except errors.LockNotAvailable:
                raise Conflict(f"Another copy into {self.where} is running.", hint="Wait until it has ended.") from None
        return self

    def prepare(self, head: Head) -> bool:
        with self._typed():
            if not self._exists("copying"):
                anyio.run(_made, self._url)
                return self._begin(head)
            found = Head(*cast("tuple[str, int, str]", self._run("SELECT source, seq, hash FROM copying").fetchone()))
            if found == head:
                return True
            if found.source != head.source:
                raise Conflict(
                    f"{self.where} holds the unfinished copy of {found.source}.",
                    hint="Finish that copy, or drop the database and make it anew, then copy again.",
                )
            with self._raw.transaction():
                self._empty()
                self._run("UPDATE copying SET seq = %s, hash = %s", (head.seq, head.hash))
        return False

    def _begin(self, head: Head) -> bool:
        with self._raw.transaction():
            self._run(f"SELECT pg_advisory_xact_lock({WRITE_LOCK})")
            for table in list(self._catalog()):
                some = "n <> 0" if table.name in SEEDED else "TRUE"
                if self._run(f'SELECT 1 FROM "{table.name}" WHERE {some} LIMIT 1').fetchone():
                    raise Conflict(
                        f"{self.where} is not empty: its table {table.name} has rows.",
                        hint="Copy into a database of its own; nothing is ever merged or overwritten.",
                    )
            self._run("ALTER TABLE store RENAME TO store_unfinished")
            self._run("CREATE TABLE copying (source TEXT NOT NULL, seq BIGINT NOT NULL, hash TEXT NOT NULL)")
            self._run("INSERT INTO copying VALUES (%s, %s, %s)", (head.source, head.seq, head.hash))
            for name in self._all_tables():
                self._run(f'ALTER TABLE "{name}" DISABLE TRIGGER USER')
            for trigger in _INDEXING:
                found = self._run(
                    "SELECT relname::TEXT FROM pg_trigger JOIN pg_class ON pg_class.oid = tgrelid WHERE tgname = %s"
                    " AND relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = current_schema())",
                    (trigger,),
                )
                for (name,) in found.fetchall():
                    self._run(f'ALTER TABLE "{name}" ENABLE TRIGGER "{trigger}"')
            self._empty()
        return False

    def _exists(self, name: str) -> bool:
        return self._run("SELECT to_regclass(%s) IS NOT NULL", (name,)).fetchall()[0][0]

    def _all_tables(self) -> list[str]:
        rows = self._run(
            "SELECT tablename::TEXT FROM pg_tables WHERE schemaname = current_schema() AND tablename = ANY (%s)",
            (_ours(),),
        )
        return [name for (name,) in rows.fetchall()]

    def _empty(self) -> None:
        self._run(f"TRUNCATE {', '.join(self._all_tables())}")

    def last_key(self, table: Table) -> Row | None:
        order = ", ".join(f"{column} DESC" for column in table.key)
        with self._typed():
            return self._run(f'SELECT {", ".join(table.key)} FROM "{table.name}" ORDER BY {order} LIMIT 1').fetchone()

    def put(self, table: Table, rows: list[Row]) -> None:
        into = f'COPY "{table.name}" ({", ".join(table.columns)}) FROM STDIN'
        with self._typed(), self._raw.transaction(), self._raw.cursor() as cursor, cursor.copy(into.encode()) as stream:
            for row in rows:
                stream.write_row(row)

    def finish(self) -> None:
        with self._typed():
            with self._raw.transaction():
                for name, column in self._run(_IDENTITIES, (_ours(),)).fetchall():
                    self._run(
                        f"SELECT setval(pg_get_serial_sequence(%s, %s), coalesce(max({column}), 0) + 1, false)"
                        f' FROM "{name}"',
                        (name, column),
                    )
                for name in self._all_tables():
                    self._run(f'ALTER TABLE "{name}" ENABLE TRIGGER USER')
                self._run("DROP TABLE copying")
                self._run("ALTER TABLE store_unfinished RENAME TO store")
            for name in self._all_tables():
                self._run(f'ANALYZE "{name}"')

    def discard(self) -> None:
        with self._typed(), self._raw.transaction():
            self._empty()
            self._run("UPDATE copying SET seq = -1")


def _ours() -> list[str]:
    """The tables that hold the store; others in the same schema are somebody else's."""
    return sorted(table_names() - KEPT_BY_DATABASE)


async def _made(url: str) -> None:
    """The tables of this program, where they are not there yet."""
    link = Link(url)
    await link.start()
    try:
        await migrate(link)
    finally:
        await link.close()


def _first_line(error: Exception) -> str:
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__
