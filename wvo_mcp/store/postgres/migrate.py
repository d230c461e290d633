"""Schema migrations on PostgreSQL: the numbers are those of SQLite, and `store.schema` is that of the last one applied."""

from typing import Any

import psycopg

from wvo_mcp.errors import IncompatibleStore
from wvo_mcp.store import versions
from wvo_mcp.store.postgres.address import WRITE_LOCK
from wvo_mcp.store.postgres.executor import PostgresExecutor

_FOUND = """
SELECT count(*) FILTER (WHERE relname = 'store' AND has_schema),
  count(*) FILTER (WHERE relname IN ('tasks', 'events', 'store'))
FROM (
  SELECT c.relname, EXISTS (
    SELECT 1 FROM pg_attribute AS a WHERE a.attrelid = c.oid AND a.attname = 'clock_offset_ms'
  ) AS has_schema
  FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
  WHERE n.nspname = current_schema() AND c.relkind IN ('r', 'v', 'p')
) AS found"""


async def migrate(executor: PostgresExecutor) -> None:
    """Bring the schema up to date. Raises IncompatibleStore for a newer or foreign database.

    A migration is one transaction with everything else shut out: a server that dies in it leaves the old version whole.
    """

    def apply(raw: psycopg.Connection[Any]) -> None:
        if version(raw) < versions.latest():
            with raw.transaction():
                raw.execute(f"SELECT pg_advisory_xact_lock({WRITE_LOCK})".encode(), prepare=False)
                apply_migrations(raw, version(raw))  # another server may have been faster

    await executor.run(apply)


def apply_migrations(raw: psycopg.Connection[Any], present: int) -> None:
    """Those that follow the version `present`, within a transaction."""
    for number, script in versions.migrations("postgres"):
        if number > present:
            raw.execute(script.encode(), prepare=False)
            raw.execute(f"UPDATE store SET schema = {number}".encode(), prepare=False)


def version(raw: psycopg.Connection[Any]) -> int:
    """The schema's number, 0 for a database without our tables. Raises IncompatibleStore."""
    ours, named_alike = raw.execute(_FOUND, prepare=False).fetchone() or (0, 0)
    if not ours:
        if named_alike:
            raise IncompatibleStore(
                "The database has tables of another program that are named like ours.",
                hint="Give wvo-mcp a database of its own, or a schema: WVO_DATABASE_URL=...?options=-csearch_path%3Dwvo",
            )
        return 0
    row = raw.execute("SELECT schema FROM store WHERE id = 1", prepare=False).fetchone()
    found = 0 if row is None else int(row[0])
    versions.refuse_newer("The database", found)
    return found
