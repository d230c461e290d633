"""Is the file at the database's path a whole database, and the same one as before?

Every look is bounded, whatever the size of the store: a whole check reads everything, and is made of the copy at every
backup.
"""

from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

from wvo_mcp.domain.instant import instant
from wvo_mcp.errors import IncompatibleStore
from wvo_mcp.store.backups import BackupFolder, typed_disk_errors
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


def check_closed(database: Path) -> None:
    """Before the file is opened for work: read-only, for a connection that may write also merges the log into the file,
    and a log that is not its own must not get there. Raises IncompatibleStore, StoreBusy, StoreUnavailable."""
    with typed_disk_errors(database), typed_errors(database):
        if marker_of(database).exists():
            raise IncompatibleStore(
                f"A previous repair of {database} did not finish.",
                hint="Run wvo-mcp doctor --repair again: it starts over.",
            )
        check_file(database)
        size = database.stat().st_size if database.exists() else None
        if size:
            _check_content(database)
        else:
            log = log_of(database)
            _check_absence(database, "gone" if size is None else "empty", log.stat().st_size if log.exists() else 0)


def check_open(database: Path) -> None:
    """For a process that has the file open: everything is read through SQLite. A descriptor of our own would, when it is
    closed, take the process's locks along, and another process could then merge and remove the log under it. Raises
    IncompatibleStore, StoreBusy, StoreUnavailable."""
    with typed_disk_errors(database), typed_errors(database):
        _check_content(database)


def _check_content(database: Path) -> None:
    """The ends of every table and the last events."""
    newest = next(iter(backups_of(database).regular()), None)
    kept = None if newest is None else last_event(newest[1])
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
        problem = next(_problems(rows), None)
        if problem is None and newest is not None and kept is not None:
            problem = _behind_backup(rows, database, *newest, kept[0])
    if problem is not None:
        raise IncompatibleStore(f"{database} is damaged: {problem}.", hint=REPAIR)


def _problems(rows: Rows) -> Iterator[str]:
    if int(rows.value("PRAGMA page_count")) * int(rows.value("PRAGMA page_size")) <= SMALL:
        found = rows.value("PRAGMA quick_check(1)")
        if found != "ok":
            yield str(found).replace("\n", " ")
    for table in rows.column("SELECT name FROM sqlite_schema WHERE type = 'table' AND sql NOT LIKE 'CREATE VIRTUAL%'"):
        # Where the first column leads the table's key, its ends are found without reading all of it.
        if rows.value(f'SELECT pk FROM pragma_table_info("{table}") ORDER BY cid LIMIT 1') == 1:
            for order in ("", " DESC"):
                rows.all(f'SELECT * FROM "{table}" ORDER BY 1{order} LIMIT 1')
    if rows.value("SELECT schema FROM store WHERE id = 1") != rows.value("PRAGMA user_version"):
        yield "the number of its schema is not that of its tables; the log may be another database's"
    # The tasks of the last events know them: pages of two moments do not fit together. (An event that was edited is no
    # damage of the file; doctor finds it.)
    seen: set[str] = set()
    for event in rows.all(f"SELECT seq, task_id, hash FROM events WHERE seq > 0 ORDER BY seq DESC LIMIT {_EVENTS}"):
        task_id = event["task_id"]
        if task_id is not None and task_id not in seen:
            seen.add(task_id)
            if rows.value("SELECT event_head FROM tasks WHERE id = ?", (task_id,)) != event["hash"]:
                yield (
                    f"task {task_id} does not know its last event, {event['seq']}:"
                    " the file and its log are from different times or different databases"
                )


def _behind_backup(rows: Rows, database: Path, at: datetime, backup: Path, event: int) -> str | None:
    """A store that knows less than its own backup, made at `at` with that last event, has lost its log."""
    restored = rows.value("SELECT max(at) FROM events WHERE kind = 'store.restored'")
    if restored is not None and instant(restored) >= at:
        return None
    own = rows.one("SELECT seq, hash FROM events WHERE seq > 0 ORDER BY seq DESC LIMIT 1")
    if own is None or event <= own["seq"]:
        return None
    # A backup of another store, which stood here before, says nothing about this one.
    if _row_of(backup, "SELECT hash FROM events WHERE seq = ?", own["seq"]) != (own["hash"],):
        return None
    return (
        f"it ends with event {own['seq']}, and its backup {backup.name} with event {event}:"
        f" {log_of(database).name} was probably removed"
    )


def last_event(database: Path) -> tuple[int, str] | None:
    """Number and time of the last event of a file, if they can be read."""
    return _row_of(database, "SELECT seq, at FROM events ORDER BY seq DESC LIMIT 1")


def _row_of(database: Path, sql: str, *params: Any) -> Any:
    with suppress(DatabaseError, OSError), read_only(database) as raw:
        return raw.execute(sql, params).fetchone()
    return None
