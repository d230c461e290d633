"""Backups of the SQLite store, made beside running servers."""

import threading
import time
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

from wvo_mcp.errors import IncompatibleStore, StoreUnavailable
from wvo_mcp.ports.backend import DamagedStore
from wvo_mcp.store.backup_folder import sync, troubles
from wvo_mcp.store.backup_making import FolderBackups, Stopped
from wvo_mcp.store.sqlite.connection import APPLICATION_ID, REPAIR, DatabaseError, sqlite, typed_errors
from wvo_mcp.store.sqlite.read_only import read_only
from wvo_mcp.store.versions import latest

T = TypeVar("T")

STEP_PAGES = 1_024
"""Copied between two looks at the clock: 4 MB."""

_SHORTEST_NAP, _LONGEST_NAP = 0.005, 0.1
_OPENING_WAIT_SECONDS = 5.0


class SqliteBackups(FolderBackups):
    """`ports.Backups` of one database file."""

    def __init__(self, database: Path, folder: Path) -> None:
        super().__init__(folder, "db")
        self._database = database

    def copied(self, partial: Path, stop: threading.Event) -> None:
        for left in self._database.parent.glob(f"{self._database.name}.restoring*"):
            left.unlink(missing_ok=True)  # of a restore that was killed: a living one holds the lock
        self.copy(partial, stop)
        try:
            verify(partial, stop)
        except IncompatibleStore as error:
            damage = unsound(self._database)
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
            self._folder.check_room(_size(self._database))
        except FileNotFoundError:
            raise StoreUnavailable(f"The database {self._database} is gone.") from None
        try:
            with troubles(target.parent), typed_errors(self._database):
                _copy(self._database, target, stop)
        except IncompatibleStore as error:
            raise DamagedStore(error.message, hint=error.hint) from error


def unsound(database: Path) -> IncompatibleStore | None:
    """What is wrong with the database, every page of it read. Raises StoreBusy, StoreUnavailable."""
    try:
        with typed_errors(database), read_only(database) as raw:
            problem = raw.execute("PRAGMA integrity_check(1)").fetchone()[0]
    except IncompatibleStore as error:
        return error
    return None if problem == "ok" else IncompatibleStore(f"{database} is damaged: {problem}.", hint=REPAIR)


def _size(database: Path) -> int:
    log = database.with_name(database.name + "-wal")
    return database.stat().st_size + (log.stat().st_size if log.exists() else 0)


def _copy(source: Path, target: Path, stop: threading.Event) -> None:
    """Small steps, each synced, with a nap after it: one large sync at the end makes commits wait for a tenth of a second
    and more. Steps that each see a newer state start over after every commit; here one read transaction lasts over all
    of them, so they go through once, whatever is written meanwhile.
    """
    reading = connected(source, "ro", _OPENING_WAIT_SECONDS)
    try:
        reading.execute("PRAGMA cache_size = -2000")
        reading.execute("BEGIN")
        reading.execute("SELECT count(*) FROM sqlite_schema").fetchone()
        writing = sqlite.connect(str(target), isolation_level=None)
        try:
            # An unfinished copy is thrown away, so it needs no journal; what it wrote is synced below.
            writing.execute("PRAGMA journal_mode = OFF")
            writing.execute("PRAGMA synchronous = OFF")
            writing.execute("PRAGMA cache_size = -4000")

            def paced(_status: int, left: int, _total: int) -> None:
                if stop.is_set():
                    raise Stopped
                if not left:
                    return
                began = time.monotonic()
                sync(target)
                passed = time.monotonic() - began
                time.sleep(min(_LONGEST_NAP, max(_SHORTEST_NAP, passed)))

            reading.backup(writing, pages=STEP_PAGES, progress=paced)
            # The copy stands for itself: read without a log beside it.
            writing.execute("PRAGMA journal_mode = DELETE")
        finally:
            writing.close()
        reading.execute("ROLLBACK")
        # The log could not be emptied meanwhile. The next commit would merge all of it; this way it is done here.
        with suppress(DatabaseError), closing(connected(source, "rw", 0)) as merging:
            merging.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
    finally:
        reading.close()


def connected(path: Path, mode: str, timeout: float) -> Any:
    """A raw connection that makes no file."""
    return sqlite.connect(f"file:{quote(str(path))}?mode={mode}", uri=True, isolation_level=None, timeout=timeout)


def verify(path: Path, stop: threading.Event | None = None) -> None:
    """Raises IncompatibleStore unless the file is a whole, sound store that this program can work with."""
    try:
        raw = sqlite.connect(f"file:{quote(str(path))}?mode=ro&immutable=1", uri=True, isolation_level=None)
        try:
            if stop is not None:
                raw.set_progress_handler(lambda: int(stop.is_set()), 10_000)
            problem = _problem(raw)
        finally:
            raw.close()
    except DatabaseError as error:
        if stop is not None and stop.is_set():
            raise Stopped from None
        problem = str(error)
    if problem is not None:
        raise IncompatibleStore(f"{path.name} cannot be used: {problem}.", hint="Use an older backup (backup_list).")


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
