"""Backups of the SQLite store, made beside running servers, and how one takes the store's place.

At every moment of a restore the store is what it was, or the backup; never nothing. Into a sound store the backup goes as
one transaction, through the log: running servers see it as any other commit. In the place of a damaged file it is put by
renaming, and the damaged one is kept.
"""

import os
import shutil
import threading
import time
from collections.abc import Callable
from contextlib import closing, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

from wvo_mcp.domain.backup import Backup
from wvo_mcp.domain.instant import instant
from wvo_mcp.domain.lease import Caller
from wvo_mcp.errors import IncompatibleStore, NotFound, StoreBusy, StoreUnavailable, WvoError
from wvo_mcp.ports import Clock, Liveness
from wvo_mcp.ports.backend import DamagedStore, Restored
from wvo_mcp.store.backups import TOKENS_RAISED, FolderBackups, Stopped, record_restore, sync, typed_disk_errors
from wvo_mcp.store.sql import Rows
from wvo_mcp.store.sqlite.connection import APPLICATION_ID, REPAIR, Connection, DatabaseError, sqlite, typed_errors
from wvo_mcp.store.sqlite.integrity import backups_of, check_closed, last_event, log_of, marker_of
from wvo_mcp.store.sqlite.migrate import migrate
from wvo_mcp.store.sqlite.read_only import read_only
from wvo_mcp.store.transaction import HEAD, StoreTransaction, checked, store_time
from wvo_mcp.store.versions import latest, refuse_newer

STEP_PAGES = 1_024
"""Copied between two looks at the clock: 4 MB."""

BUSY_SECONDS = 20.0

_SHORTEST_NAP, _LONGEST_NAP = 0.005, 0.1
_OPENING_WAIT_SECONDS = 5.0


class SqliteBackups(FolderBackups):
    """`ports.Backups` of one database file."""

    def __init__(self, database: Path, folder: Path) -> None:
        super().__init__(folder, "db")
        self._database = database

    def make_copy(self, partial: Path, stop: threading.Event) -> None:
        for left in self._database.parent.glob(f"{self._database.name}.restoring*"):
            left.unlink(missing_ok=True)  # of a restore that was killed: a living one holds the lock
        self.copy(partial, stop)
        try:
            verify(partial, stop)
        except IncompatibleStore as error:
            damage = full_damage(self._database)
            if damage is not None:
                raise DamagedStore(damage.message, hint=damage.hint) from error
            raise IncompatibleStore(
                f"The copy does not pass the check, and {self._database} itself does ({error.message})",
                hint="Nothing was put in place. Look at the disk of the backups; the next backup is tried within minutes.",
            ) from error

    def check(self, path: Path, stop: threading.Event) -> None:
        verify(path, stop)

    def copy(self, target: Path, stop: threading.Event) -> None:
        """All pages of one moment into a new file."""
        try:
            log = log_of(self._database)
            self.folder.check_room(self._database.stat().st_size + (log.stat().st_size if log.exists() else 0))
        except FileNotFoundError:
            raise StoreUnavailable(f"The database {self._database} is gone.") from None
        try:
            with typed_disk_errors(target.parent), typed_errors(self._database):
                _copy(self._database, target, stop)
        except IncompatibleStore as error:
            raise DamagedStore(error.message, hint=error.hint) from error


def full_damage(database: Path) -> IncompatibleStore | None:
    """What is wrong with the database, every page of it read. Raises StoreBusy, StoreUnavailable."""
    try:
        with typed_errors(database), read_only(database) as raw:
            problem = raw.execute("PRAGMA integrity_check(1)").fetchone()[0]
    except IncompatibleStore as error:
        return error
    return None if problem == "ok" else IncompatibleStore(f"{database} is damaged: {problem}.", hint=REPAIR)


def _copy(source: Path, target: Path, stop: threading.Event) -> None:
    """Small steps, each synced, with a nap after it: one large sync at the end makes commits wait for a tenth of a second
    and more. Steps that each see a newer state start over after every commit; here one read transaction lasts over all
    of them, so they go through once, whatever is written meanwhile.
    """
    with closing(_connected(source, "ro", _OPENING_WAIT_SECONDS)) as reading:
        reading.execute("PRAGMA cache_size = -2000")
        reading.execute("BEGIN")
        reading.execute("SELECT count(*) FROM sqlite_schema").fetchone()
        with closing(sqlite.connect(str(target), isolation_level=None)) as writing:
            # An unfinished copy is thrown away, so it needs no journal; what it wrote is synced below.
            writing.execute("PRAGMA journal_mode = OFF")
            writing.execute("PRAGMA synchronous = OFF")
            writing.execute("PRAGMA cache_size = -4000")

            def paced(_status: int, left: int, _total: int) -> None:
                if stop.is_set():
                    raise Stopped
                if left:
                    began = time.monotonic()
                    sync(target)
                    time.sleep(min(_LONGEST_NAP, max(_SHORTEST_NAP, time.monotonic() - began)))

            reading.backup(writing, pages=STEP_PAGES, progress=paced)
            # The copy stands for itself: read without a log beside it.
            writing.execute("PRAGMA journal_mode = DELETE")
        reading.execute("ROLLBACK")
        # The log could not be emptied meanwhile. The next commit would merge all of it; this way it is done here.
        with suppress(DatabaseError), closing(_connected(source, "rw", 0)) as merging:
            merging.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()


def _connected(path: Path, mode: str, timeout: float) -> Any:
    """A raw connection that makes no file."""
    return sqlite.connect(f"file:{quote(str(path))}?mode={mode}", uri=True, isolation_level=None, timeout=timeout)


def verify(path: Path, stop: threading.Event | None = None, *, of: str | None = None) -> None:
    """Raises IncompatibleStore, which names `of` or the file, unless it is a whole, sound store that this program can work
    with."""
    try:
        with closing(_connected(path, "ro&immutable=1", 0)) as raw:
            if stop is not None:
                raw.set_progress_handler(lambda: int(stop.is_set()), 10_000)
            problem = _problem(raw)
    except DatabaseError as error:
        if stop is not None and stop.is_set():
            raise Stopped from None
        problem = str(error)
    if problem is not None:
        raise IncompatibleStore(
            f"{of or path.name} cannot be used: {problem}.", hint="Use an older backup (backup_list)."
        )


def _problem(raw: Any) -> str | None:
    if int(raw.execute("PRAGMA application_id").fetchone()[0]) != APPLICATION_ID:
        return "it is not a store of wvo-mcp"
    schema = int(raw.execute("PRAGMA user_version").fetchone()[0])
    if schema > latest():
        return f"it has schema {schema}, and this program knows schemas up to {latest()}"
    found = raw.execute("PRAGMA integrity_check(1)").fetchone()[0]
    if found != "ok":
        return str(found).removeprefix("*** in database main ***\n")
    if raw.execute("SELECT schema FROM store WHERE id = 1").fetchone() != (schema,):
        return "its schema number is not that of its tables"
    return None


class Restoring:
    """Restores one database. `at_step` is called before each step that changes a file; crash tests hang in there."""

    def __init__(self, database: Path, clock: Clock, liveness: Liveness, caller: Caller) -> None:
        self._database = database
        self._clock = clock
        self._liveness = liveness
        self._caller = caller
        self._backups = SqliteBackups(database, backups_of(database).folder)
        self._staged = database.with_name(database.name + ".restoring")
        self.at_step: Callable[[str], None] = lambda _: None

    async def restore(self, name: str | None = None) -> Restored:
        """The backup of that name, or the newest that passes the check. Raises NotFound, IncompatibleStore (the named one
        is damaged, or the store is of a newer program), StoreBusy, StoreUnavailable."""
        started = time.monotonic()
        with self._backups.folder.making() as unfinished, typed_disk_errors(self._database):
            try:
                return await self._restored(name, unfinished, started)
            finally:
                _remove(self._staged)

    async def _restored(self, name: str | None, unfinished: Path, started: float) -> Restored:
        problem = quick_damage(self._database)
        known = last_event(self._database)
        try:
            backup, passed_over = self._backups.folder.first_good(name, self._stage, self._database.name)
        except NotFound as error:
            if name is None:
                error.hint = (
                    "Keep the files: sqlite3 state.db .recover saves what can be read. To start over, move them and the"
                    " backups away and start a server: the roadmap is read again, progress is lost."
                )
            raise
        since = last_event(self._staged)
        safety = None if problem is not None else self._saved(unfinished, backup.name)
        lost_since = None if since is None else instant(since[1])
        lost_until = instant(known[1]) if known is not None else _written(self._database)
        if problem is not None and lost_since is not None and lost_until is not None and lost_until <= lost_since:
            lost_until = None  # what can still be read is older than the backup: how much there was is unknown
        await self._prepare(backup)
        self.at_step("before the swap")
        kept = self._replace() if safety is None else self._copy_in()
        self.at_step("after the swap")
        return Restored(backup, lost_since, lost_until, safety, kept, time.monotonic() - started, passed_over)

    def _stage(self, backup: Path) -> None:
        """A verified copy of the backup beside the database."""
        self.at_step("before staging")
        _remove(self._staged)
        shutil.copyfile(backup, self._staged)
        verify(self._staged, of=backup.name)

    def _saved(self, unfinished: Path, restored: str) -> str | None:
        """The name of a backup of the present store; None when it turns out to be damaged."""
        self.at_step("before the safety copy")
        try:
            self._backups.copy(unfinished, threading.Event())
            verify(unfinished)
        except IncompatibleStore:
            return None
        return self._backups.folder.put_safety(unfinished, self._clock.now(), restored)

    async def _prepare(self, backup: Backup) -> None:
        """The staged store is brought to the present schema and knows that it was restored."""

        async def mark(rows: Rows) -> None:
            rows.run("UPDATE tasks SET lease_token = lease_token + ?", (TOKENS_RAISED,))
            head = checked(rows.one(HEAD), latest())
            now = store_time(rows, head, self._clock, write=True)
            await record_restore(StoreTransaction(rows, now, self._caller, self._liveness, head["seq"] or 0), backup)

        staged = Connection(self._staged, read_only=False, synchronous="OFF")
        await staged.start()
        try:
            await migrate(staged)
            await staged.write(mark)
        finally:
            await staged.close()
        sync(self._staged)

    def _copy_in(self) -> None:
        """All pages in one transaction of the store itself."""
        deadline = time.monotonic() + BUSY_SECONDS

        def waited(status: int, _left: int, _total: int) -> None:
            if status and time.monotonic() > deadline:
                raise StoreBusy(f"The database {self._database.name} was busy for {BUSY_SECONDS:.0f} s.")

        with (
            typed_errors(self._database),
            closing(sqlite.connect(str(self._staged), isolation_level=None)) as source,
            closing(_connected(self._database, "rw", BUSY_SECONDS)) as target,
        ):
            target.execute("PRAGMA synchronous = FULL")
            source.backup(target, pages=-1, progress=waited, sleep=0.01)
            self.at_step("after the commit")
            target.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def _replace(self) -> str | None:
        """By renaming; the name of the file that was kept. The marker makes every server refuse whatever a crash in between
        leaves."""
        database, log = self._database, log_of(self._database)
        marker = marker_of(database)
        kept = database.with_name(f"{database.name}.damaged-{datetime.now(UTC):%Y-%m-%dT%H-%M-%SZ}")
        kept_log = log_of(kept)
        self.at_step("before the marker")
        marker.write_text(kept.name)
        sync(marker)
        sync(database.parent)
        for present, name in ((database, kept), (log, kept_log)):
            self.at_step(f"before keeping {present.name}")
            if present.exists():
                try:
                    os.link(present, name)
                except FileExistsError:
                    pass  # by a repair that was cut off in the same second
                except OSError:
                    shutil.copyfile(present, name)  # a file system without hard links
        self.at_step("before the log goes")
        log.unlink(missing_ok=True)
        database.with_name(database.name + "-shm").unlink(missing_ok=True)
        self.at_step("before the rename")
        self._staged.replace(database)
        self.at_step("before the marker goes")
        sync(database.parent)
        marker.unlink()
        sync(database.parent)
        return next((file.name for file in (kept, kept_log) if file.exists()), None)


def quick_damage(database: Path) -> WvoError | None:
    """What is damaged; None when the quick looks find nothing. Raises IncompatibleStore for the store of a newer program,
    and StoreBusy and StoreUnavailable for one that cannot be read at the moment: neither is damage, and a sound store
    must not be replaced for want of rights."""
    try:
        check_closed(database)
    except IncompatibleStore as error:
        return error
    if not database.exists() or not database.stat().st_size:
        return IncompatibleStore(f"{database} is not there.")
    with typed_errors(database), read_only(database) as raw:
        refuse_newer(database, int(raw.execute("PRAGMA user_version").fetchone()[0]))
    return None


def _written(database: Path) -> datetime | None:
    return datetime.fromtimestamp(database.stat().st_mtime, tz=UTC) if database.exists() else None


def _remove(path: Path) -> None:
    for ending in ("", "-wal", "-shm", "-journal"):
        path.with_name(path.name + ending).unlink(missing_ok=True)
