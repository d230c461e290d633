"""A PostgreSQL database as either end of a copy."""

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg import errors

from wvo_mcp.errors import Conflict, IncompatibleStore, InvalidInput, StoreUnavailable
from wvo_mcp.store.copying.copy import Row, Table, refuse_content
from wvo_mcp.store.copying.sqlite import refuse_version
from wvo_mcp.store.postgres.address import WRITE_LOCK, Address
from wvo_mcp.store.postgres.backup import our_tables
from wvo_mcp.store.postgres.migrate import apply_migrations, version
from wvo_mcp.store.postgres.presence import Presences
from wvo_mcp.store.postgres.wire import snapshot

_INDEXING = ("context_indexed", "task_indexed")
"""Triggers that fill the tables of searched words; all others rest during a copy."""

_PAGE = 2_000
_ALONE_MS = 2_000

_IDENTITIES = """
SELECT c.relname::TEXT, a.attname::TEXT FROM pg_class AS c JOIN pg_attribute AS a ON a.attrelid = c.oid
WHERE c.relnamespace = current_schema()::REGNAMESPACE AND c.relkind = 'r' AND c.relname = ANY (%s) AND a.attidentity <> ''
"""


class _Database:
    """What both ends share. A context manager; `_raw` is in one transaction within."""

    _field = "URL"

    def __init__(self, url: str) -> None:
        self._open: psycopg.Connection[Any] | None = None
        try:
            self._address = Address(url)
        except IncompatibleStore:
            allowed = "no URL of a database; it looks like postgresql://USER:PASSWORD@HOST:PORT/DATABASE"
            raise InvalidInput(self._field, allowed) from None
        if self._address.is_ambiguous:
            raise InvalidInput(self._field, "write / and @ in a password as %2F and %40")

    @property
    def where(self) -> str:
        return self._address.where

    @property
    def _raw(self) -> psycopg.Connection[Any]:
        assert self._open is not None, "the database is not open"  # noqa: S101
        return self._open

    @contextmanager
    def _connected(self) -> Generator[None]:
        """What fails within closes the connection again."""
        try:
            with self._typed():
                self._open = self._address.connect("wvo-mcp store copy")
                # The other end may take its time.
                self._run("SET idle_in_transaction_session_timeout = 0")
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
        except errors.LockNotAvailable:
            raise Conflict(
                f"Another copy into {self.where} is running, or others have its tables open.",
                hint="Wait until they have ended.",
            ) from None
        except psycopg.OperationalError as error:
            raise StoreUnavailable(
                f"The database {self.where} cannot be reached or used: {_first_line(error)}.",
                hint="Nothing was copied. See that it runs, then give the same command again: it starts over.",
            ) from error
        except psycopg.Error as error:
            raise IncompatibleStore(f"The database {self.where} refused: {_first_line(error)}.") from error

    def _run(self, sql: str, params: Any = None) -> psycopg.Cursor[Any]:
        return self._raw.execute(sql.encode(), params, prepare=False)

    def rows(self, table: Table) -> Generator[Row]:
        query = f'SELECT {", ".join(table.columns)} FROM "{table.name}" ORDER BY {", ".join(table.key)}'
        with self._typed(), self._raw.cursor(name="rows") as cursor:
            cursor.itersize = _PAGE
            cursor.execute(query.encode())
            yield from cursor


class PostgresSource(_Database):
    """An existing store, read in one transaction."""

    _field = "FROM"

    def __enter__(self) -> "PostgresSource":
        """Raises InvalidInput, IncompatibleStore, StoreUnavailable."""
        with self._connected():
            found = version(self._raw)
            if found == 0:
                raise InvalidInput("FROM", f"there is no store in {self.where}")
            refuse_version(self.where, found)
            self._run("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        return self

    def count(self, table: str) -> int:
        with self._typed():
            return int(self._run(f'SELECT count(*) FROM "{table}"').fetchall()[0][0])

    def living(self) -> list[str]:
        with self._typed():
            sessions = self._run(
                "SELECT session_id, agent_id FROM sessions WHERE ended_at IS NULL AND durable = 0 ORDER BY agent_id"
            ).fetchall()
        with self._typed(), self._address.session() as raw, snapshot(raw) as rows:
            presences = Presences(rows)
            return [agent for session, agent in sessions if presences.alive(session)]


class PostgresTarget(_Database):
    """A database without a store, or with one in which nothing has happened. Everything comes in one transaction, which
    shuts others out: whatever is cut off, the database is as it was before."""

    _field = "TO"

    def __enter__(self) -> "PostgresTarget":
        """Raises InvalidInput, IncompatibleStore, StoreUnavailable; Conflict while another copy is made there."""
        with self._connected():
            # One that was killed a moment ago still holds it.
            self._run(f"SET lock_timeout = {_ALONE_MS}")
            self._run("BEGIN")
            self._run(f"SELECT pg_advisory_xact_lock({WRITE_LOCK} + 1)")
        return self

    def prepare(self) -> None:
        with self._typed():
            apply_migrations(self._raw, version(self._raw))
            self._run(f"LOCK TABLE store, {', '.join(self._tables())} IN ACCESS EXCLUSIVE MODE")
            refuse_content(lambda query: self._run(query).fetchone(), self.where)
            for name in self._tables():
                self._run(f'ALTER TABLE "{name}" DISABLE TRIGGER USER')
            for name, trigger in self._run(
                "SELECT tgrelid::REGCLASS::TEXT, tgname::TEXT FROM pg_trigger JOIN pg_class ON pg_class.oid = tgrelid"
                " WHERE tgname = ANY (%s) AND relnamespace = current_schema()::REGNAMESPACE",
                (list(_INDEXING),),
            ).fetchall():
                self._run(f'ALTER TABLE {name} ENABLE TRIGGER "{trigger}"')
            self._run(f"TRUNCATE {', '.join(self._tables())}")

    def _tables(self) -> list[str]:
        """Those that are copied or follow from what is copied; others in the same schema are somebody else's."""
        rows = self._run(
            "SELECT tablename::TEXT FROM pg_tables WHERE schemaname = current_schema() AND tablename = ANY (%s)",
            (sorted(our_tables() - {"store"}),),
        )
        return [name for (name,) in rows.fetchall()]

    def put(self, table: Table, rows: list[Row]) -> None:
        into = f'COPY "{table.name}" ({", ".join(table.columns)}) FROM STDIN'
        with self._typed(), self._raw.cursor() as cursor, cursor.copy(into.encode()) as stream:
            for row in rows:
                stream.write_row(row)

    def finish(self) -> None:
        with self._typed():
            for name, column in self._run(_IDENTITIES, (self._tables(),)).fetchall():
                self._run(
                    f"SELECT setval(pg_get_serial_sequence(%s, %s), coalesce(max({column}), 0) + 1, false)"
                    f' FROM "{name}"',
                    (name, column),
                )
            for name in self._tables():
                self._run(f'ALTER TABLE "{name}" ENABLE TRIGGER USER')
            self._run("COMMIT")
            for name in self._tables():
                self._run(f'ANALYZE "{name}"')


def _first_line(error: Exception) -> str:
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__
