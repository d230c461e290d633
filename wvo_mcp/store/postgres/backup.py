"""Backups of a PostgreSQL store by the server's own programs, pg_dump and pg_restore."""

import ctypes
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.errors import LockNotAvailable

from wvo_mcp.domain.backup import Backup, regular_name, safety_name, surplus
from wvo_mcp.domain.finding import Finding, warn
from wvo_mcp.domain.instant import instant
from wvo_mcp.domain.lease import Caller
from wvo_mcp.errors import IncompatibleStore, NotFound, StoreBusy, StoreUnavailable
from wvo_mcp.ports import Transaction
from wvo_mcp.ports.backups import Made, Restored
from wvo_mcp.store.backup_folder import BackupFolder, what_could_be_restored
from wvo_mcp.store.postgres.link import Link, conninfo, settle
from wvo_mcp.store.postgres.store import PostgresStore
from wvo_mcp.store.sql import Rows
from wvo_mcp.store.sqlite.backup import Stopped, in_thread
from wvo_mcp.store.sqlite.restore import TOKENS_RAISED
from wvo_mcp.store.versions import migrations

_SECONDS = 3_600.0
_LOCK_SECONDS = 30
_PR_SET_PDEATHSIG = 1
_libc: ctypes.CDLL | None = ctypes.CDLL(None) if sys.platform == "linux" else None
_PRESENT = b"""
SELECT relname::TEXT FROM pg_class WHERE relnamespace = current_schema()::regnamespace AND relkind IN ('r', 'p')"""
_HOLDERS = b"""
SELECT DISTINCT pid, coalesce(nullif(application_name, ''), usename::TEXT) FROM pg_locks JOIN pg_stat_activity USING (pid)
WHERE locktype = 'relation' AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
  AND relation IN (SELECT oid FROM pg_class WHERE relnamespace = current_schema()::regnamespace)
  AND granted AND pid <> pg_backend_pid()"""
_PLACES = ((Path("/usr/lib/postgresql"), "*"), (Path("/opt/homebrew/opt"), "postgresql@*"))
_NEEDED = {"store", "tasks", "events"}


class PostgresBackups:
    """`ports.Backups` of the schema that a URL leads to. The files stand on this machine."""

    def __init__(self, url: str, folder: Path) -> None:
        self._url = url
        self._folder = BackupFolder(folder, "dump")

    @property
    def folder(self) -> BackupFolder:
        return self._folder

    async def create(self, at: datetime) -> Made:
        return await in_thread(lambda stop: self.make(regular_name(at, "dump"), at, stop))

    async def all(self) -> list[Backup]:
        return await in_thread(lambda _: self._folder.all(datetime.now(UTC)))

    async def verify(self, name: str) -> None:
        await in_thread(lambda stop: verify(self._folder.path(name), stop))

    async def prune(self, now: datetime) -> list[str]:
        def pruned(_: threading.Event) -> list[str]:
            gone = surplus(self._folder.all(now), now)
            self._folder.delete(gone)
            return gone

        return await in_thread(pruned)

    def make(self, name: str, at: datetime, stop: threading.Event) -> Made:
        """Dump, verify, name; for threads. Raises as `create`."""
        started = time.monotonic()
        with self._folder.making() as partial:
            self.dump(partial, stop)
            verify(partial, stop)
            backup = self._folder.put(partial, name, at)
        return Made(backup, time.monotonic() - started)

    def dump(self, target: Path, stop: threading.Event) -> None:
        schema = own_schema(self._url)
        _run(
            "pg_dump", "--format=custom", "--no-owner", "--no-privileges", f"--schema={schema}",
            f"--file={target}", url=self._url, stop=stop,
        )  # fmt: skip


def own_schema(url: str) -> str:
    """The schema of the store. Raises IncompatibleStore when others have tables there: a restore would undo their work."""
    try:
        with psycopg.connect(url) as raw:
            schema, tables = raw.execute(
                """
                SELECT current_schema(), coalesce(array_agg(relname::TEXT), '{}') FROM pg_class
                WHERE relnamespace = current_schema()::regnamespace AND relkind IN ('r', 'p')
                """
            ).fetchone() or ("", [])
    except psycopg.Error as error:
        raise StoreUnavailable(f"The database cannot be reached: {str(error).splitlines()[0]}") from error
    strangers = sorted(set(tables) - _our_tables())
    if strangers:
        raise IncompatibleStore(
            f"The schema {schema} has tables of others: {', '.join(strangers[:5])}.",
            hint="Give wvo-mcp a database or schema of its own, and move it there with wvo-mcp store copy; until then back"
            " up the whole database with its own means.",
        )
    return str(schema)


def _our_tables() -> set[str]:
    scripts = "".join(script for _, script in migrations("postgres"))
    return set(re.findall(r"CREATE TABLE (?:IF NOT EXISTS )?(\w+)", scripts)) | {"store_unfinished"}


def verify(path: Path, stop: threading.Event | None = None) -> None:
    """All of it is read and unpacked. Raises IncompatibleStore."""
    found = _run("pg_restore", "--list", str(path), stop=stop, damaged=path)
    held = {line.split()[6] for line in found.splitlines() if " TABLE DATA " in line}
    if not held >= _NEEDED:
        raise IncompatibleStore(
            f"{path.name} cannot be used: it is no store of this program.", hint="Use an older backup (backup_list)."
        )
    _run("pg_restore", f"--file={os.devnull}", str(path), stop=stop, damaged=path)


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
            backup, passed_over, safety, until = self._replace(name, unfinished)
        since = await self._mark(backup)
        return Restored(backup, since, until, safety, None, time.monotonic() - started, passed_over)

    def _replace(
        self, name: str | None, unfinished: Path
    ) -> tuple[Backup, dict[str, str], str | None, datetime | None]:
        backup, passed_over = self._chosen(name)
        own_schema(self._url)
        until = _last_event(self._url)
        safety = None
        if until is not None:
            self._backups.dump(unfinished, threading.Event())
            verify(unfinished)
            now = datetime.now(UTC)
            safety = self._backups.folder.put(unfinished, safety_name(now, "dump"), now).name
        path = self._backups.folder.path(backup.name)
        _check_free(self._url)
        listed = _run("pg_restore", "--list", str(path), damaged=path)
        with tempfile.NamedTemporaryFile("w", suffix=".list") as chosen:
            # The schema itself stays: it may be `public`, and its rights are not ours.
            chosen.writelines(f"{line}\n" for line in listed.splitlines() if not re.search(r" (SCHEMA|ACL) ", line))
            chosen.flush()
            _run(
                "pg_restore", "--single-transaction", "--exit-on-error", "--clean", "--if-exists", "--no-owner",
                "--no-privileges", f"--use-list={chosen.name}", str(path), url=self._url, connect="--dbname=",
            )  # fmt: skip
        return backup, passed_over, safety, until

    def _chosen(self, name: str | None) -> tuple[Backup, dict[str, str]]:
        folder = self._backups.folder
        now = datetime.now(UTC)
        everything = sorted(folder.all(now), key=lambda backup: backup.at > now)  # dated by a clock in the future: last
        if name is not None:
            verify(folder.path(name))
            return next(backup for backup in everything if backup.name == name), {}
        passed_over: dict[str, str] = {}
        for backup in everything:
            if backup.name != regular_name(backup.at, "dump"):
                continue
            try:
                verify(folder.path(backup.name))
            except IncompatibleStore as error:
                passed_over[backup.name] = error.message
            else:
                return backup, passed_over
        tried = f"; tried {', '.join(passed_over)}" if passed_over else ""
        raise NotFound("good backup in", f"{folder.folder}{tried}")

    async def _mark(self, backup: Backup) -> datetime | None:
        """The restored store knows it, and no lease token comes again. The time of its last event before that."""
        store = PostgresStore(self._url)
        await store.open()
        try:
            since = _last_event(self._url)

            async def raised(rows: Rows) -> None:
                rows.run("UPDATE tasks SET lease_token = lease_token + ?", (TOKENS_RAISED,))

            async def told(tx: Transaction) -> None:
                await tx.sessions.ensure()
                said = {"backup": backup.name, "tokens_raised": TOKENS_RAISED}
                await tx.events.append("store.restored", None, said)

            await store.writer.write(raised)
            await store.write(self._caller, told)
        finally:
            await store.close()
        return since


def _last_event(url: str) -> datetime | None:
    try:
        with psycopg.connect(url) as raw:
            row = raw.execute("SELECT at FROM events ORDER BY seq DESC LIMIT 1").fetchone()
    except psycopg.Error:
        return None
    return None if row is None else instant(row[0])


def examine(folder: Path, now: datetime) -> Finding:
    """What could be restored, and whether backups can be made here at all."""
    found = what_could_be_restored(BackupFolder(folder, "dump"), now)
    try:
        for name in ("pg_dump", "pg_restore"):
            _program(name)
    except StoreUnavailable as error:
        return warn("backups", f"{error.message.rstrip('.')} (in {folder}: {found.found})", error.hint)
    return found


def _program(name: str, major: int | None = None) -> Path:
    """The one of the server's version, or the newest here: a pg_dump that is older than the server refuses, and what a
    newer pg_restore sets at first an older server does not know. Raises StoreUnavailable."""
    usual = [path for place, pattern in _PLACES for path in place.glob(f"{pattern}/bin/{name}")]
    found = sorted((int("0" + "".join(re.findall(r"\d+", path.parts[-3]))), path) for path in usual)
    of_server = [path for version, path in found if version == major]
    on_path = shutil.which(name)
    if of_server:
        return of_server[-1]
    if found:
        return found[-1][1]
    if on_path:
        return Path(on_path)
    raise StoreUnavailable(
        f"{name} was not found; backups of a PostgreSQL store are made with it.",
        hint="Install PostgreSQL's client programs (Debian: postgresql-client).",
    )


def _major(url: str) -> int:
    try:
        with psycopg.connect(conninfo(url)) as raw:
            return raw.info.server_version // 10_000
    except psycopg.Error as error:
        raise Link(url).typed(error) from error


def _end_with(parent: int) -> Callable[[], None] | None:
    """For a new process, so that it does not outlive this one, however this one ends; Linux only.

    It runs between fork and exec beside other threads: nothing is imported or locked there.
    """
    if _libc is None:
        return None
    prctl = _libc.prctl

    def ask() -> None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)

    return ask


def _ended(child: subprocess.Popen[str], name: str, stop: threading.Event | None) -> tuple[str, str]:
    deadline = time.monotonic() + _SECONDS
    while True:
        try:
            return child.communicate(timeout=0.2)
        except subprocess.TimeoutExpired:
            if stop is not None and stop.is_set():
                raise Stopped from None
            if time.monotonic() > deadline:
                raise StoreUnavailable(f"{name} did not end within {_SECONDS:.0f} s.") from None


def _check_free(url: str) -> None:
    """pg_restore waits for locks without end and says nothing (it sets its own lock_timeout to 0): who holds one is told
    before. Raises StoreBusy."""
    try:
        with psycopg.connect(conninfo(url, application_name="wvo-mcp restore")) as raw:
            settle(raw)
            raw.execute(f"SET lock_timeout = {_LOCK_SECONDS * 1_000}".encode())
            present = {row[0] for row in raw.execute(_PRESENT)} & _our_tables()
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
                    f" {', '.join(f'{who} (process {pid})' for pid, who in holders[:8]) or 'nobody does any more'}.",
                    hint="Let them end their transactions, or end them: SELECT pg_terminate_backend(PROCESS). Then restore"
                    " again.",
                ) from None
    except psycopg.Error as error:
        raise Link(url).typed(error) from error


def _run(
    name: str, *arguments: str, url: str | None = None, connect: str = "--dbname=", stop: threading.Event | None = None,
    damaged: Path | None = None,
) -> str:  # fmt: skip
    """What the program printed. The password goes by the environment, where other users do not see it."""
    environ: dict[str, str] = {**os.environ, "LC_ALL": "C"}
    command = [str(_program(name, None if url is None else _major(url))), *arguments]
    if url is not None:
        given: dict[str, Any] = conninfo_to_dict(url)
        password = given.pop("password", None)
        if password is not None:
            environ["PGPASSWORD"] = str(password)
        command.insert(1, f"{connect}{make_conninfo(**given)}")
    child = subprocess.Popen(  # noqa: S603 - PostgreSQL's own programs, without a shell
        command, env=environ, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        errors="replace", preexec_fn=_end_with(os.getpid()),
    )  # fmt: skip
    try:
        out, err = _ended(child, name, stop)
    finally:
        if child.poll() is None:
            child.kill()
            child.communicate()
    if child.returncode == 0:
        return out
    reason = next((line for line in err.splitlines() if "error" in line), err.strip() or "no reason given")
    if damaged is not None:
        raise IncompatibleStore(f"{damaged.name} cannot be used: {reason}.", hint="Use an older backup (backup_list).")
    raise StoreUnavailable(f"{name} failed: {reason}", cause=reason)
