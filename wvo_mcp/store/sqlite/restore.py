"""A backup takes the place of the store. At every moment the store is what it was, or the backup; never nothing.

Into a sound store it goes as one transaction, through the log: running servers see it as any other commit. In the place
of a damaged file it is put by renaming, and the damaged one is kept.
"""

import os
import shutil
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from wvo_mcp.domain.backup import Backup, safety_name, surplus
from wvo_mcp.domain.instant import instant
from wvo_mcp.domain.lease import Caller
from wvo_mcp.errors import IncompatibleStore, NotFound, StoreBusy, WvoError
from wvo_mcp.ports import Clock, Liveness
from wvo_mcp.ports.backend import Restored
from wvo_mcp.store.backup_folder import sync, troubles
from wvo_mcp.store.clock import HEAD, checked, store_time
from wvo_mcp.store.sql import Rows
from wvo_mcp.store.sqlite.backup import SqliteBackups, connected, unsound, verify
from wvo_mcp.store.sqlite.connection import Connection, DatabaseError, sqlite, typed, typed_errors
from wvo_mcp.store.sqlite.integrity import backups_of, check_closed, last_event, log_of, marker_of
from wvo_mcp.store.sqlite.migrate import migrate
from wvo_mcp.store.sqlite.read_only import read_only
from wvo_mcp.store.transaction import StoreTransaction
from wvo_mcp.store.versions import latest, refuse_newer

TOKENS_RAISED = 1_000
"""Added to every lease token: those that were given out after the backup must not come again."""

BUSY_SECONDS = 20.0


class Restoring:
    """Restores one database. `at_step` is called before each step that changes a file; crash tests hang in there."""

    def __init__(self, database: Path, clock: Clock, liveness: Liveness, caller: Caller) -> None:
        self._database = database
        self._clock = clock
        self._liveness = liveness
        self._caller = caller
        self._folder = backups_of(database)
        self._staged = database.with_name(database.name + ".restoring")
        self.at_step: Callable[[str], None] = lambda _: None

    async def restore(self, name: str | None = None) -> Restored:
        """The backup of that name, or the newest that passes the check. Raises NotFound, IncompatibleStore (the named one
        is damaged, or the store is of a newer program), StoreBusy, StoreUnavailable."""
        started = time.monotonic()
        with self._folder.making() as unfinished:
            try:
                with troubles(self._database):
                    return await self._restored(name, unfinished, started)
            finally:
                _remove(self._staged)

    async def _restored(self, name: str | None, unfinished: Path, started: float) -> Restored:
        problem = trouble(self._database)
        known = last_event(self._database)
        backup, passed_over = self._stage(name)
        since = last_event(self._staged)
        safety = None
        if problem is None:
            safety = self._saved(unfinished)
        lost_since = None if since is None else instant(since[1])
        lost_until = instant(known[1]) if known is not None else _written(self._database)
        if problem is not None and lost_since is not None and lost_until is not None and lost_until <= lost_since:
            lost_until = None  # what can still be read is older than the backup: how much there was is unknown
        await self._prepare(backup)
        self.at_step("before the swap")
        kept = None
        if safety is not None:
            self._pour()
        else:
            kept = self._replace()
        self.at_step("after the swap")
        seconds = time.monotonic() - started
        return Restored(backup, lost_since, lost_until, safety, kept, seconds, passed_over)

    def _stage(self, name: str | None) -> tuple[Backup, dict[str, str]]:
        """A verified copy of the backup beside the database."""
        try:
            return self._folder.first_good(name, self._staged_and_checked, self._database.name)
        except NotFound as error:
            if name is None:
                error.hint = (
                    "Keep the files: sqlite3 state.db .recover saves what can be read. To start over, move them and the"
                    " backups away and start a server: the roadmap is read again, progress is lost."
                )
            raise

    def _staged_and_checked(self, backup: Path) -> None:
        self.at_step("before staging")
        _remove(self._staged)
        shutil.copyfile(backup, self._staged)
        try:
            verify(self._staged)
        except IncompatibleStore as error:
            said = error.message.replace(self._staged.name, backup.name)
            raise IncompatibleStore(said, hint=error.hint) from error

    def _saved(self, unfinished: Path) -> str | None:
        """The name of a backup of the present store; None when it turns out to be damaged."""
        now = self._clock.now()
        self.at_step("before the safety copy")
        try:
            SqliteBackups(self._database, self._folder.folder).copy(unfinished, threading.Event())
            verify(unfinished)
        except IncompatibleStore:
            return None
        name = self._folder.put(unfinished, safety_name(now, "db"), now).name
        self._folder.delete([old for old in surplus(self._folder.all(now), now) if old != name])
        return name

    async def _prepare(self, backup: Backup) -> None:
        """The staged store is brought to the present schema and knows that it was restored."""
        staged = Connection(self._staged, read_only=False, synchronous="OFF")
        await staged.start()
        try:
            await migrate(staged)
            await staged.write(partial(self._mark, backup))
        finally:
            await staged.close()
        sync(self._staged)

    async def _mark(self, backup: Backup, rows: Rows) -> None:
        rows.run("UPDATE tasks SET lease_token = lease_token + ?", (TOKENS_RAISED,))
        head = checked(rows.one(HEAD), latest())
        now = store_time(rows, head, self._clock, write=True)
        tx = StoreTransaction(rows, now, self._caller, self._liveness, head["seq"] or 0)
        await tx.sessions.ensure()
        await tx.events.append("store.restored", None, {"backup": backup.name, "tokens_raised": TOKENS_RAISED})

    def _pour(self) -> None:
        """All pages in one transaction of the store itself."""
        deadline = time.monotonic() + BUSY_SECONDS
        source = sqlite.connect(str(self._staged), isolation_level=None)
        try:
            target = connected(self._database, "rw", BUSY_SECONDS)
            try:
                target.execute("PRAGMA synchronous = FULL")

                def waited(status: int, _left: int, _total: int) -> None:
                    if status and time.monotonic() > deadline:
                        raise StoreBusy(f"The database {self._database.name} was busy for {BUSY_SECONDS:.0f} s.")

                source.backup(target, pages=-1, progress=waited, sleep=0.01)
                self.at_step("after the commit")
                target.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            finally:
                target.close()
        except DatabaseError as error:
            raise typed(error, self._database) from error
        finally:
            source.close()

    def _replace(self) -> str | None:
        """By renaming. The marker makes every server refuse whatever a crash in between leaves."""
        database, log = self._database, log_of(self._database)
        marker = marker_of(database)
        stamp = f"{datetime.now(UTC):%Y-%m-%dT%H-%M-%SZ}"
        kept = database.with_name(f"{database.name}.damaged-{stamp}")
        self.at_step("before the marker")
        with marker.open("w") as file:
            file.write(kept.name)
            file.flush()
            os.fsync(file.fileno())
        sync(database.parent)
        for present, name in ((database, kept), (log, kept.with_name(kept.name + "-wal"))):
            self.at_step(f"before keeping {present.name}")
            if present.exists():
                _link(present, name)
        self.at_step("before the log goes")
        log.unlink(missing_ok=True)
        database.with_name(database.name + "-shm").unlink(missing_ok=True)
        self.at_step("before the rename")
        self._staged.replace(database)
        self.at_step("before the marker goes")
        sync(database.parent)
        marker.unlink()
        sync(database.parent)
        kept_log = kept.with_name(kept.name + "-wal")
        return kept.name if kept.exists() else kept_log.name if kept_log.exists() else None


def trouble(database: Path) -> WvoError | None:
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


def whole_damage(database: Path) -> WvoError | None:
    """As `trouble`, and every page is read."""
    found = trouble(database)
    if found is not None:
        return found
    return unsound(database)


def _written(database: Path) -> datetime | None:
    return datetime.fromtimestamp(database.stat().st_mtime, tz=UTC) if database.exists() else None


def _link(present: Path, name: Path) -> None:
    try:
        os.link(present, name)
    except FileExistsError:
        return  # by a repair that was cut off in the same second
    except OSError:
        shutil.copyfile(present, name)  # a file system without hard links


def _remove(path: Path) -> None:
    for name in (path.name, f"{path.name}-wal", f"{path.name}-shm", f"{path.name}-journal"):
        path.with_name(name).unlink(missing_ok=True)
