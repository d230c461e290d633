"""Backups of a PostgreSQL store by the server's own programs, and a dump in its place, in one transaction."""

import os
import re
import shutil
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.errors import LockNotAvailable

from wvo_mcp.domain.backup import Backup
from wvo_mcp.domain.finding import Finding, warn
from wvo_mcp.domain.instant import instant
from wvo_mcp.domain.lease import Caller
from wvo_mcp.errors import IncompatibleStore, StoreBusy, StoreUnavailable
from wvo_mcp.ports.backend import OwnedStore, Restored
from wvo_mcp.processes import Limit, NotStarted, Program, run_blocking
from wvo_mcp.store.backups import TOKENS_RAISED, BackupFolder, FolderBackups, Stopped, in_thread, record_restore
from wvo_mcp.store.postgres.address import Address
from wvo_mcp.store.versions import migrations

_PROGRAM_SECONDS = 3_600.0
_KEPT_BYTES = 1 << 26
_PLACES = ((Path("/usr/lib/postgresql"), "*"), (Path("/opt/homebrew/opt"), "postgresql@*"))
_NEEDED = {"store", "tasks", "events"}
_LOCK_SECONDS = 30
_GIVES_WAY = 4
_HOLDERS = b"""
SELECT DISTINCT pid, coalesce(nullif(application_name, ''), usename::TEXT) FROM pg_locks JOIN pg_stat_activity USING (pid)
WHERE locktype = 'relation' AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
  AND relation IN (SELECT oid FROM pg_class WHERE relnamespace = current_schema()::regnamespace)
  AND granted AND pid <> pg_backend_pid()"""
# Extensions of others may have functions in the same schema; ours are those that answer triggers, and the one that finds words.
_OUR_FUNCTIONS = b"""
SELECT p.oid::regprocedure::TEXT FROM pg_proc AS p
WHERE p.pronamespace = current_schema()::regnamespace AND p.proname = ANY (%s)"""


class PostgresBackups(FolderBackups):
    """`ports.Backups` of the schema that a URL leads to. The files stand on this machine."""

    def __init__(self, url: str, folder: Path) -> None:
        super().__init__(folder, "dump")
        self._url = url

    def make_copy(self, partial: Path, stop: threading.Event) -> None:
        schema = own_schema(self._url)
        run_program(
            "pg_dump", "--format=custom", "--no-owner", "--no-privileges", f"--schema={schema}",
            f"--file={partial}", url=self._url, stop=stop,
        )  # fmt: skip
        verify(partial, stop)

    def check(self, path: Path, stop: threading.Event) -> None:
        verify(path, stop)


def own_schema(url: str) -> str:
    """The schema of the store. Raises IncompatibleStore when others have tables there: a restore would undo their work."""
    with Address(url).session() as raw:
        schema, tables = _present(raw)
    strangers = sorted(tables - our_tables())
    if strangers:
        raise IncompatibleStore(
            f"The schema {schema} has tables of others: {', '.join(strangers[:5])}.",
            hint="Give wvo-mcp a database or schema of its own, and move it there with wvo-mcp store copy; until then back"
            " up the whole database with its own means.",
        )
    return schema


def _present(raw: psycopg.Connection[Any]) -> tuple[str, set[str]]:
    """The present schema, and the tables in it."""
    row = raw.execute(
        """
        SELECT current_schema()::TEXT, coalesce(array_agg(relname::TEXT), '{}') FROM pg_class
        WHERE relnamespace = current_schema()::regnamespace AND relkind IN ('r', 'p')
        """
    ).fetchone()
    return ("public", set()) if row is None else (row[0], set(row[1]))


def our_tables() -> set[str]:
    """Names of the tables that any version of this program has made."""
    return _made(r"CREATE TABLE (?:IF NOT EXISTS )?(\w+)")


def _made(pattern: str) -> set[str]:
    return set(re.findall(pattern, "".join(script for _, script in migrations("postgres"))))


def verify(path: Path, stop: threading.Event | None = None) -> None:
    """All of it is read and unpacked. Raises IncompatibleStore."""
    found = run_program("pg_restore", "--list", str(path), stop=stop, damaged=path)
    held = {line.split()[6] for line in found.splitlines() if " TABLE DATA " in line}
    if not held >= _NEEDED:
        raise IncompatibleStore(
            f"{path.name} cannot be used: it is not a store of wvo-mcp.", hint="Use an older backup (backup_list)."
        )
    run_program("pg_restore", f"--file={os.devnull}", str(path), stop=stop, damaged=path)


def examine(folder: Path, now: datetime) -> Finding:
    """What could be restored, and whether backups can be made here at all."""
    found = BackupFolder(folder, "dump").examine(now)
    try:
        for name in ("pg_dump", "pg_restore", "psql"):
            find_program(name)
    except StoreUnavailable as error:
        return warn("backups", f"{error.message.rstrip('.')} (in {folder}: {found.found})", error.hint)
    return found


class PostgresRestoring:
    """Restores the store of one URL; `store` is it, and not open."""

    def __init__(self, url: str, folder: Path, caller: Caller, store: OwnedStore) -> None:
        self._url = url
        self._store = store
        self._backups = PostgresBackups(url, folder)
        self._caller = caller

    async def restore(self, name: str | None = None) -> Restored:
        """The dump of that name, or the newest that passes the check, replaces the store in one transaction. Raises
        NotFound, IncompatibleStore, StoreBusy, StoreUnavailable."""
        started = time.monotonic()
        with self._backups.folder.making() as unfinished:
            backup, passed_over, safety, until = await in_thread(lambda stop: self._replace(name, unfinished, stop))
        await self._store.open()
        try:
            since = _last_event(self._url)
            await self._store.write(self._caller, lambda tx: record_restore(tx, backup))
        finally:
            await self._store.close()
        return Restored(backup, since, until, safety, None, time.monotonic() - started, passed_over)

    def _replace(
        self, name: str | None, unfinished: Path, stop: threading.Event
    ) -> tuple[Backup, dict[str, str], str | None, datetime | None]:
        folder = self._backups.folder
        backup, passed_over = folder.first_good(name, lambda path: verify(path, stop), "the database")
        own_schema(self._url)
        until, safety = _last_event(self._url), None
        if until is not None:
            self._backups.make_copy(unfinished, stop)
            safety = folder.put_safety(unfinished, datetime.now(UTC), backup.name)
        path = folder.path(backup.name)
        cleared, raised = self._clearing()
        listed = run_program("pg_restore", "--list", str(path), stop=stop, damaged=path)
        # Removed with the unfinished copy.
        chosen, script = (unfinished.with_name(f"{unfinished.name}.{end}") for end in ("list", "sql"))
        # The schema itself stays: it may be `public`, and its rights are not ours.
        chosen.write_text("\n".join(line for line in listed.splitlines() if not re.search(r" (SCHEMA|ACL) ", line)))
        # pg_restore on its own drops only what the dump knows, which leaves what later versions made; and it commits before
        # anything else can be done. So it writes a script, and psql runs that only when it is whole.
        wanted = ("--clean", "--if-exists", "--no-owner", "--no-privileges", f"--use-list={chosen}")
        run_program("pg_restore", *wanted, f"--file={script}", str(path), major_of=self._url, stop=stop)
        parts = ("-c", cleared or ";", "-f", str(script), "-c", raised)
        options = ("-X", "-q", "--single-transaction", "-v", "ON_ERROR_STOP=1")
        self._run_whole(lambda: run_program("psql", *options, *parts, url=self._url, stop=stop))
        return backup, passed_over, safety, until

    @staticmethod
    def _run_whole(run: Callable[[], object]) -> None:
        """Beside live servers PostgreSQL may choose it as what gives way in a deadlock: then all of it is undone, and it may be
        run again."""
        for _ in range(_GIVES_WAY):
            try:
                run()
            except StoreUnavailable as error:
                if "deadlock detected" not in str(error):
                    raise
            else:
                return
        run()

    def _clearing(self) -> tuple[str, str]:
        """What has to be done before: every table and function of ours is dropped, also what the dump does not know, since
        it may be of an earlier version, whose migration makes them again. And after: no lease token comes again. Raises
        StoreBusy."""
        with Address(self._url).session("wvo-mcp restore") as raw:
            schema, tables = _present(raw)
            ours = [sql.Identifier(schema, table) for table in sorted(tables & our_tables())]
            if ours:
                _check_free(raw, ours)
            drops = [sql.SQL("DROP TABLE IF EXISTS {} CASCADE;").format(table) for table in ours]
            drops += [
                sql.SQL("DROP FUNCTION IF EXISTS {} CASCADE;").format(sql.SQL(row[0]))
                for row in raw.execute(_OUR_FUNCTIONS, (list(_made(r"CREATE FUNCTION (\w+)")),))
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


def _check_free(raw: psycopg.Connection[Any], tables: list[sql.Identifier]) -> None:
    """pg_restore waits for locks without end and says nothing (it sets its own lock_timeout to 0): the holders are named
    before. Raises StoreBusy."""
    raw.execute(f"SET lock_timeout = {_LOCK_SECONDS * 1_000}".encode())
    try:
        with raw.transaction():
            raw.execute(sql.SQL("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE").format(sql.SQL(", ").join(tables)))
    except LockNotAvailable:
        holders = raw.execute(_HOLDERS).fetchall()
        raise StoreBusy(
            f"Others have held the tables for {_LOCK_SECONDS:g} s:"
            f" {', '.join(f'{who} (process {pid})' for pid, who in holders[:8]) or 'no one does any more'}.",
            hint="Let them end their transactions, or end them: SELECT pg_terminate_backend(PROCESS). Then restore again.",
        ) from None


def run_program(name: str, *arguments: str, url: str | None = None, major_of: str | None = None,
                stop: threading.Event | None = None, damaged: Path | None = None) -> str:  # fmt: skip
    """What the program printed; of the version of the server at `url` or `major_of`. Raises StoreUnavailable, or
    IncompatibleStore when `damaged` names the file at fault, and Stopped."""
    environ: dict[str, str] = {**os.environ, "LC_ALL": "C", "PGAPPNAME": f"wvo-mcp {name}"}
    major = None
    if server := major_of or url:
        with Address(server).session() as raw:
            major = raw.info.server_version // 10_000
    command = [str(find_program(name, major)), *arguments]
    if url is not None:
        given: dict[str, Any] = conninfo_to_dict(url)
        password = given.pop("password", None)
        if password is not None:  # by the environment, where other users do not see it
            environ["PGPASSWORD"] = str(password)
        command.insert(1, f"--dbname={make_conninfo(**given)}")
    try:
        ended = run_blocking(
            Program(argv=command, env=environ, deadline=_PROGRAM_SECONDS, stop=stop, ends_with_us=True), _KEPT_BYTES
        )
    except NotStarted as error:
        raise StoreUnavailable(f"{name} cannot be started: {error}.") from error
    if ended.limit is Limit.STOPPED:
        raise Stopped
    if ended.limit is not None:
        raise StoreUnavailable(f"{name} did not end within {_PROGRAM_SECONDS:.0f} s.")
    if ended.code == 0:
        return ended.stdout.decode(errors="replace")
    said = ended.stderr.decode(errors="replace")
    reason = next((line for line in said.splitlines() if "error" in line.lower()), said.strip() or "no reason given")
    if damaged is not None:
        raise IncompatibleStore(f"{damaged.name} cannot be used: {reason}.", hint="Use an older backup (backup_list).")
    raise StoreUnavailable(f"{name} failed: {reason}", cause=reason)


def find_program(name: str, major: int | None = None) -> Path:
    """The one of the server's version, or the newest here: a pg_dump that is older than the server refuses, and what a
    newer pg_restore sets at first an older server does not know. Raises StoreUnavailable."""
    usual = [path for place, pattern in _PLACES for path in place.glob(f"{pattern}/bin/{name}")]
    found = sorted((int("0" + "".join(re.findall(r"\d+", path.parts[-3]))), path) for path in usual)
    on_path = shutil.which(name)
    if found:
        return next((path for version, path in reversed(found) if version == major), found[-1][1])
    if on_path:
        return Path(on_path)
    raise StoreUnavailable(
        f"{name} was not found; backups of a PostgreSQL store are made with it.",
        hint="Install PostgreSQL's client programs (Debian: postgresql-client).",
    )
