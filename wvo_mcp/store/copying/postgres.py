"""A PostgreSQL database as either end of a copy."""

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg import errors

from wvo_mcp.errors import Conflict, IncompatibleStore, InvalidInput, StoreUnavailable
from wvo_mcp.store.copying.copy import SEEDED, Row, Source, Table, refuse_version, store_exists
from wvo_mcp.store.postgres.address import WRITE_LOCK, Address
from wvo_mcp.store.postgres.backup import our_tables
from wvo_mcp.store.postgres.migrate import apply_migrations, version
from wvo_mcp.store.postgres.presence import Presences
from wvo_mcp.store.postgres.wire import PostgresRows, snapshot, wired

_INDEXING = ("context_indexed", "task_indexed")
"""Triggers that fill the tables of searched words; all others rest during a copy."""

_ALONE_MS = 2_000

_IDENTITIES = """
SELECT c.relname::TEXT, a.attname::TEXT FROM pg_class AS c JOIN pg_attribute AS a ON a.attrelid = c.oid
WHERE c.relnamespace = current_schema()::REGNAMESPACE AND c.relkind = 'r' AND c.relname = ANY (%s) AND a.attidentity <> ''
"""


@contextmanager
def postgres_source(url: str) -> Generator[Source]:
    """An existing store. Raises InvalidInput, IncompatibleStore; what goes wrong within leaves as a typed error."""
    address = _address("FROM", url)
    with _typed_errors(address), _connected(address) as raw:
        found = version(raw)
        if found == 0:
            raise InvalidInput("FROM", f"there is no store in {address.where}")
        refuse_version(address.where, found)
        with snapshot(raw) as rows:
            yield Source(address.where, rows, Presences(rows).alive)


class PostgresTarget:
    """A database without a store. Everything comes in one transaction, the tables included: no one else sees them, and
    whatever is cut off, the database is as it was before."""

    def __init__(self, url: str) -> None:
        self._address = _address("TO", url)
        self.where = self._address.where

    def __enter__(self) -> "PostgresTarget":
        """Raises InvalidInput, IncompatibleStore, StoreUnavailable; Conflict when there is a store, and while another copy is
        made there."""
        with _typed_errors(self._address):
            self._raw = _connected(self._address)
            try:
                self._prepare()
            except BaseException:
                self._raw.close()
                raise
        return self

    def __exit__(self, *_: object) -> None:
        self._raw.close()

    def _run(self, sql: str, params: Any = None) -> psycopg.Cursor[Any]:
        return self._raw.execute(sql.encode(), params, prepare=False)

    def _prepare(self) -> None:
        # A copy that was killed a moment ago still holds the lock.
        self._run(f"SET lock_timeout = {_ALONE_MS}")
        self._run("BEGIN")
        self._run(f"SELECT pg_advisory_xact_lock({WRITE_LOCK} + 1)")
        if version(self._raw):
            raise store_exists(self.where)
        apply_migrations(self._raw, 0)
        for name in self._tables():
            self._run(f'ALTER TABLE "{name}" DISABLE TRIGGER USER')
        for name, trigger in self._run(
            "SELECT tgrelid::REGCLASS::TEXT, tgname::TEXT FROM pg_trigger JOIN pg_class ON pg_class.oid = tgrelid"
            " WHERE tgname = ANY (%s) AND relnamespace = current_schema()::REGNAMESPACE",
            (list(_INDEXING),),
        ).fetchall():
            self._run(f'ALTER TABLE {name} ENABLE TRIGGER "{trigger}"')
        for name in SEEDED:
            self._run(f"DELETE FROM {name}")

    def _tables(self) -> list[str]:
        """Those that are copied or follow from what is copied; others in the same schema are another program's."""
        rows = self._run(
            "SELECT tablename::TEXT FROM pg_tables WHERE schemaname = current_schema() AND tablename = ANY (%s)",
            (sorted(our_tables() - {"store"}),),
        )
        return [name for (name,) in rows.fetchall()]

    def put(self, table: Table, rows: list[Row]) -> None:
        into = f'COPY "{table.name}" ({", ".join(table.columns)}) FROM STDIN'
        with _typed_errors(self._address), self._raw.cursor() as cursor, cursor.copy(into.encode()) as stream:
            for row in rows:
                stream.write_row(row)

    @contextmanager
    def filled(self) -> Generator[PostgresRows]:
        with _typed_errors(self._address), wired(self._raw) as wire:
            yield PostgresRows(wire)

    def finish(self) -> None:
        with _typed_errors(self._address):
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


def _address(field: str, url: str) -> Address:
    try:
        address = Address(url)
    except IncompatibleStore:
        allowed = "no URL of a database; it looks like postgresql://USER:PASSWORD@HOST:PORT/DATABASE"
        raise InvalidInput(field, allowed) from None
    if address.is_ambiguous:
        raise InvalidInput(field, "write / and @ in a password as %2F and %40")
    return address


def _connected(address: Address) -> psycopg.Connection[Any]:
    raw = address.connect("wvo-mcp store copy")
    raw.execute("SET idle_in_transaction_session_timeout = 0")  # it waits for the other end
    return raw


@contextmanager
def _typed_errors(address: Address) -> Generator[None]:
    try:
        yield
    except errors.LockNotAvailable:
        raise Conflict(f"Another copy into {address.where} is running.", hint="Wait until it has ended.") from None
    except psycopg.OperationalError as error:
        raise StoreUnavailable(
            f"The database {address.where} cannot be reached or used: {address.said(error)}.",
            hint="Nothing was copied. See that it runs, then give the same command again: it starts over.",
        ) from error
    except psycopg.Error as error:
        raise IncompatibleStore(f"The database {address.where} refused: {address.said(error)}.") from error
