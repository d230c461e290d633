"""A dump in the place of a PostgreSQL store, in one transaction."""

import re
import tempfile
import threading
import time
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from psycopg import sql
from psycopg.errors import LockNotAvailable

from wvo_mcp.domain.backup import Backup, safety_name
from wvo_mcp.domain.instant import instant
from wvo_mcp.domain.lease import Caller
from wvo_mcp.errors import IncompatibleStore, StoreBusy, StoreUnavailable
from wvo_mcp.ports import Transaction
from wvo_mcp.ports.backend import Restored
from wvo_mcp.store.backup_making import in_thread
from wvo_mcp.store.postgres import programs
from wvo_mcp.store.postgres.address import Address
from wvo_mcp.store.postgres.backup import PostgresBackups, our_tables, own_schema, verify
from wvo_mcp.store.postgres.store import PostgresStore
from wvo_mcp.store.sqlite.restore import TOKENS_RAISED
from wvo_mcp.store.versions import migrations

_LOCK_SECONDS = 30
_PRESENT = b"""
SELECT relname::TEXT FROM pg_class WHERE relnamespace = current_schema()::regnamespace AND relkind IN ('r', 'p')"""
_HOLDERS = b"""
SELECT DISTINCT pid, coalesce(nullif(application_name, ''), usename::TEXT) FROM pg_locks JOIN pg_stat_activity USING (pid)
WHERE locktype = 'relation' AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
  AND relation IN (SELECT oid FROM pg_class WHERE relnamespace = current_schema()::regnamespace)
  AND granted AND pid <> pg_backend_pid()"""
# Extensions of others may have functions in the same schema; ours are those that answer triggers, and the one that finds words.
_OUR_FUNCTIONS = b"""
SELECT p.oid::regprocedure::TEXT FROM pg_proc AS p
WHERE p.pronamespace = current_schema()::regnamespace AND p.proname = ANY (%s)"""


class PostgresRestoring:
    """Restores the store of one URL."""

    def __init__(self, url: str, folder: Path, caller: Caller) -> None:
        self._url = url
        self._backups = PostgresBackups(url, folder)
        self._caller = caller

    async def restore(self, name: str | None = None) -> Restored:
        """The dump of that name, or the newest that passes the check, replaces the store in one transaction. Raises
        NotFound, IncompatibleStore, StoreBusy, StoreUnavailable."""
        started = time.monotonic()
        with self._backups.folder.making() as unfinished:
            backup, passed_over, safety, until = await in_thread(lambda stop: self._replace(name, unfinished, stop))
        since = await self._mark(backup)
        return Restored(backup, since, until, safety, None, time.monotonic() - started, passed_over)

    def _replace(
        self, name: str | None, unfinished: Path, stop: threading.Event
    ) -> tuple[Backup, dict[str, str], str | None, datetime | None]:
        backup, passed_over = self._backups.folder.first_good(name, lambda path: verify(path, stop), "the database")
        own_schema(self._url)
        until = _last_event(self._url)
        safety = None
        if until is not None:
            self._backups.dump(unfinished, stop)
            verify(unfinished, stop)
            now = datetime.now(UTC)
            safety = self._backups.folder.put(unfinished, safety_name(now, "dump"), now).name
        path = self._backups.folder.path(backup.name)
        _check_free(self._url)
        listed = programs.run("pg_restore", "--list", str(path), stop=stop, damaged=path)
        with tempfile.NamedTemporaryFile("w", suffix=".list") as chosen:
            # The schema itself stays: it may be `public`, and its rights are not ours.
            chosen.writelines(f"{line}\n" for line in listed.splitlines() if not re.search(r" (SCHEMA|ACL) ", line))
            chosen.flush()
            cleared, raised = _around(self._url)
            script = unfinished.with_name(f"{unfinished.name}.sql")
            programs.restore(path, Path(chosen.name), script, cleared, raised, self._url, stop)
        return backup, passed_over, safety, until

    async def _mark(self, backup: Backup) -> datetime | None:
        """The restored store knows it. The time of its last event before that."""
        store = PostgresStore(self._url)
        await store.open()
        try:
            since = _last_event(self._url)

            async def record(tx: Transaction) -> None:
                await tx.sessions.ensure()
                said = {"backup": backup.name, "tokens_raised": TOKENS_RAISED}
                await tx.events.append("store.restored", None, said)

            await store.write(self._caller, record)
        finally:
            await store.close()
        return since


def _around(url: str) -> tuple[str, str]:
    """What has to be done before: every table and function of ours is dropped, also what the dump does not know, since it
    may be of an earlier version, whose migration makes them again. And after: no lease token comes again."""
    scripts = "".join(script for _, script in migrations("postgres"))
    names = re.findall(r"CREATE FUNCTION (\w+)", scripts)
    with Address(url).session() as raw:
        schema = str((raw.execute("SELECT current_schema()").fetchone() or ("public",))[0])
        present = sorted({row[0] for row in raw.execute(_PRESENT)} & our_tables())
        drops = [sql.SQL("DROP TABLE IF EXISTS {} CASCADE;").format(sql.Identifier(schema, table)) for table in present]
        drops += [
            sql.SQL("DROP FUNCTION IF EXISTS {} CASCADE;").format(sql.SQL(row[0]))
            for row in raw.execute(_OUR_FUNCTIONS, (names,))
        ]
        raised = sql.SQL("UPDATE {} SET lease_token = lease_token + {};").format(
            sql.Identifier(schema, "tasks"), sql.Literal(TOKENS_RAISED)
        )
        return "\n".join(drop.as_string(raw) for drop in drops), raised.as_string(raw)


def _last_event(url: str) -> datetime | None:
    with suppress(StoreUnavailable, IncompatibleStore), Address(url).session() as raw:
        row = raw.execute("SELECT at FROM events ORDER BY seq DESC LIMIT 1").fetchone()
        return None if row is None else instant(row[0])
    return None


def _check_free(url: str) -> None:
    """pg_restore waits for locks without end and says nothing (it sets its own lock_timeout to 0): the holders are named
    before. Raises StoreBusy."""
    with Address(url).session("wvo-mcp restore") as raw:
        raw.execute(f"SET lock_timeout = {_LOCK_SECONDS * 1_000}".encode())
        present = {row[0] for row in raw.execute(_PRESENT)} & our_tables()
        if not present:
            return
        tables = sql.SQL(", ").join(map(sql.Identifier, sorted(present)))
        try:
            with raw.transaction():
                raw.execute(sql.SQL("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE").format(tables))
        except LockNotAvailable:
            holders = raw.execute(_HOLDERS).fetchall()
            raise StoreBusy(
                f"Others have held the tables for {_LOCK_SECONDS:g} s:"
                f" {', '.join(f'{who} (process {pid})' for pid, who in holders[:8]) or 'no one does any more'}.",
                hint="Let them end their transactions, or end them: SELECT pg_terminate_backend(PROCESS). Then restore"
                " again.",
            ) from None
