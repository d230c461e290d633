"""Is the file at the database's path a whole database, and the same one as before?

Every look is bounded, whatever the size of the store: a whole check reads everything, and is made of the copy at every
backup.
"""

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from wvo_mcp.domain.instant import instant
from wvo_mcp.errors import IncompatibleStore, StoreUnavailable
from wvo_mcp.store.backups import BackupFolder
from wvo_mcp.store.sql import Rows
from wvo_mcp.store.sqlite.connection import REPAIR, DatabaseError, SqliteRows, check_ours, typed_errors
from wvo_mcp.store.sqlite.migrate import check_file
from wvo_mcp.store.sqlite.read_only import read_only
from wvo_mcp.store.versions import latest

SMALL = 8 << 20
"""A file of at most this size, in bytes, is checked page by page at the start (some 20 ms)."""

_EVENTS = 20


def marker_of(database: Path) -> Path:
    """There while a repair puts files in place: found later, it means that the repair was cut off."""
    return database.with_name(database.name + ".repair")


def log_of(database: Path) -> Path:
    return database.with_name(database.name + "-wal")


def backups_of(database: Path) -> BackupFolder:
    return BackupFolder(database.parent / "backups" / "db", "db")


def check_place(database: Path) -> None:
    """Before the file is opened, for opening makes what is missing. Raises IncompatibleStore, OSError."""
    if marker_of(database).exists():
        raise IncompatibleStore(
            f"A previous repair of {database} did not finish.",
            hint="Run wvo-mcp doctor --repair again: it starts over.",
        )
    size = database.stat().st_size if database.exists() else None
    log = log_of(database)
    logged = log.stat().st_size if log.exists() else 0
    if not size:
        _check_absence(database, "gone" if size is None else "empty", logged)


def _check_absence(database: Path, how: str, logged: int) -> None:
    if logged:
        raise IncompatibleStore(f"{database} is {how}, but {log_of(database).name} is still there.", hint=REPAIR)
    backups = backups_of(database)
    if backups.regular():
        raise IncompatibleStore(
            f"{database} is {how}, but there are backups of it.",
            hint="wvo-mcp doctor --repair restores the newest; to start over instead, move"
            f" {backups.folder} away and start again.",
        )


@dataclass(frozen=True, slots=True)
class Kept:
    """The newest backup: its name, when it was made, and the number of its last event."""

    name: str
    at: datetime
    event: int


def check_closed(database: Path) -> None:
    """Before the file is opened for work: read-only, for a connection that may write also merges the log into the file,
    and a log that is not its own must not get there. Raises IncompatibleStore, StoreBusy, StoreUnavailable."""
    with _typed(database):
        check_place(database)
        check_file(database)
        if database.exists() and database.stat().st_size:
            _check_content(database)


def check_open(database: Path) -> None:
    """For a process that has the file open: everything is read through SQLite. A descriptor of our own would, when it is
    closed, take the process's locks along, and another process could then merge and remove the log under it. Raises
    IncompatibleStore, StoreBusy, StoreUnavailable."""
    with _typed(database):
        _check_content(database)


@contextmanager
def _typed(database: Path) -> Generator[None]:
    try:
        with typed_errors(database):
            yield
    except OSError as error:
        raise StoreUnavailable(f"The database {database} cannot be used: {error.strerror}.") from error


def _check_content(database: Path) -> None:
    """The ends of every table and the last events."""
    kept = _newest_backup(database)
    with read_only(database) as raw:
        # Others write meanwhile: everything is asked of one moment, and the backup is older than that.
        raw.execute("BEGIN")
        rows = SqliteRows(raw)
        schema = int(rows.value("PRAGMA user_version"))
        check_ours(rows, database)
        if schema > latest():
            return  # to be refused as newer
        if not rows.value("SELECT count(*) FROM sqlite_schema"):
            # A young store may stand in its log alone: without it the file is whole, and empty.
            _check_absence(database, "empty", 0)
            return
        problem = next(_problems(rows, database, kept), None)
    if problem is not None:
        raise IncompatibleStore(f"{database} is damaged: {problem}.", hint=REPAIR)


def _problems(rows: Rows, database: Path, kept: Kept | None) -> Iterator[str]:
    if int(rows.value("PRAGMA page_count")) * int(rows.value("PRAGMA page_size")) <= SMALL:
        found = rows.value("PRAGMA quick_check(1)")
        if found != "ok":
            yield str(found).replace("\n", " ")
    for table in rows.column("SELECT name FROM sqlite_schema WHERE type = 'table' AND sql NOT LIKE 'CREATE VIRTUAL%'"):
        for order in ("", " DESC"):
            if _keyed(rows, table):
                rows.all(f'SELECT * FROM "{table}" ORDER BY 1{order} LIMIT 1')
    if rows.value("SELECT schema FROM store WHERE id = 1") != rows.value("PRAGMA user_version"):
        yield "the number of its schema is not that of its tables; the log may be another database's"
    yield from _torn_events(rows)
    if kept is not None:
        yield from _behind_backup(rows, database, kept)


def _keyed(rows: Rows, table: str) -> bool:
    """Does the first column lead the table's key, so that its ends are found without reading all of it?"""
    first = rows.one(f'SELECT pk FROM pragma_table_info("{table}") ORDER BY cid LIMIT 1')
    return first is not None and first["pk"] == 1


def _torn_events(rows: Rows) -> Iterator[str]:
    """The tasks of the last events know them: pages of two moments do not fit together. (An event that was edited is
    no damage of the file; doctor finds it.)"""
    heads: dict[str, str] = {}
    for event in rows.all(f"SELECT seq, task_id, hash FROM events WHERE seq > 0 ORDER BY seq DESC LIMIT {_EVENTS}"):
        if event["task_id"] is not None and event["task_id"] not in heads:
            heads[event["task_id"]] = event["hash"]
            head = rows.value("SELECT event_head FROM tasks WHERE id = ?", (event["task_id"],))
            if head != event["hash"]:
                yield (
                    f"task {event['task_id']} does not know its last event, {event['seq']}:"
                    " the file and its log are from different times or different databases"
                )


def _newest_backup(database: Path) -> Kept | None:
    newest = next(iter(backups_of(database).regular()), None)
    if newest is None:
        return None
    event = last_event(newest[1])
    return None if event is None else Kept(newest[1].name, newest[0], event[0])


def _behind_backup(rows: Rows, database: Path, kept: Kept) -> Iterator[str]:
    """A store that knows less than its own backup has lost its log."""
    restored = rows.value("SELECT max(at) FROM events WHERE kind = 'store.restored'")
    if restored is not None and instant(restored) >= kept.at:
        return
    own = rows.one("SELECT seq, hash FROM events WHERE seq > 0 ORDER BY seq DESC LIMIT 1")
    if own is None or kept.event <= own["seq"]:
        return
    # A backup of another store, which stood here before, says nothing about this one.
    if hash_of(backups_of(database).folder / kept.name, own["seq"]) == own["hash"]:
        yield (
            f"it ends with event {own['seq']}, and its backup {kept.name} with event {kept.event}:"
            f" {log_of(database).name} was probably removed"
        )


def hash_of(database: Path, seq: int) -> str | None:
    """The hash of one event of a file, if it can be read."""
    try:
        with read_only(database) as raw:
            row = raw.execute("SELECT hash FROM events WHERE seq = ?", (seq,)).fetchone()
    except (DatabaseError, OSError):
        return None
    return None if row is None else row[0]


def last_event(database: Path) -> tuple[int, str] | None:
    """Number and time of the last event of a file, if they can be read."""
    try:
        with read_only(database) as raw:
            return raw.execute("SELECT seq, at FROM events ORDER BY seq DESC LIMIT 1").fetchone()
    except (DatabaseError, OSError):
        return None
