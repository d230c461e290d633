"""Checks of the database file, read-only and bounded in time, also of one that cannot be opened for work."""

import time
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

from wvo_mcp.domain.finding import Finding, fail, ok, warn
from wvo_mcp.errors import WvoError
from wvo_mcp.store import doctor_checks
from wvo_mcp.store.doctor_checks import SECONDS, Interrupted, View, content_checks
from wvo_mcp.store.sqlite.connection import (
    APPLICATION_ID,
    OLDEST_SQLITE,
    REPAIR,
    DatabaseError,
    SqliteRows,
    sqlite,
    typed,
)
from wvo_mcp.store.sqlite.integrity import backups_of, check_closed
from wvo_mcp.store.sqlite.read_only import read_only
from wvo_mcp.store.versions import latest


def library() -> Finding:
    """The SQLite that this program brings along."""
    version: str = sqlite.sqlite_version
    if tuple(sqlite.sqlite_version_info) < OLDEST_SQLITE:
        wanted = ".".join(map(str, OLDEST_SQLITE))
        return fail(
            "sqlite",
            f"SQLite {version} can lose commits when several processes share a file",
            f"Install pysqlite3 with SQLite {wanted} or newer: pip install --upgrade pysqlite3",
        )
    return ok("sqlite", f"SQLite {version}")


def examine(path: Path, alive: Callable[[str], bool], now: datetime) -> list[Finding]:
    """Every check that the file allows, in order; a check that cannot be made ends the list with its reason."""
    try:
        check_closed(path)
    except WvoError as error:
        return [fail("database", error.message, error.hint), *_backups(path, now)]
    if not path.exists():
        return [ok("database", f"{path} is not there yet; the first server or command makes it")]
    findings: list[Finding] = []
    try:
        with read_only(path) as raw:
            findings.append(_schema(raw, path))
            if findings[0].outcome == "fail" or _version(raw) != latest():
                return findings
            view = partial(_view, raw)
            findings += [_journal(raw), _integrity(view)]
            findings += content_checks(view, lambda _: alive, lambda _: now)
    except DatabaseError as error:
        known = typed(error, path)
        findings.append(fail("database", known.message, known.hint))
    return [*findings, *_backups(path, now)]


def _backups(path: Path, now: datetime) -> list[Finding]:
    return [backups_of(path).examine(now)]


def known_ids(path: Path, wanted: Iterable[str]) -> set[str]:
    """Those of the ids that the store has; all of them when the store cannot be read."""
    asked = set(wanted)
    try:
        with read_only(path) as raw:
            return doctor_checks.known_ids(SqliteRows(raw), asked)
    except DatabaseError:
        return asked if path.exists() else set()


def _version(raw: Any) -> int:
    return int(raw.execute("PRAGMA user_version").fetchone()[0])


def _schema(raw: Any, path: Path) -> Finding:
    version, newest = _version(raw), latest()
    application = int(raw.execute("PRAGMA application_id").fetchone()[0])
    tables = int(raw.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0])
    if tables and application != APPLICATION_ID:
        return fail(
            "database",
            f"{path} belongs to another program",
            "Set WVO_STATE_DIR to a folder of its own, or move that file away.",
        )
    if version > newest:
        return fail(
            "database",
            f"{path} has schema {version}; this program knows schemas up to {newest}",
            "Upgrade wvo-mcp on this machine: an older one must not write a newer database.",
        )
    if version < newest:
        return ok("database", f"{path} has schema {version}; the next server moves it to {newest}")
    return ok("database", f"{path}, schema {version}, {path.stat().st_size / 1e6:.1f} MB")


def _journal(raw: Any) -> Finding:
    mode = raw.execute("PRAGMA journal_mode").fetchone()[0]
    if mode != "wal":
        remedy = (
            "Stop all servers and start one again: it turns WAL on. Without it readers and writers block each other."
        )
        return warn("journal", f"the journal mode is {mode}", remedy)
    return ok("journal", "WAL")


@contextmanager
def _view(raw: Any) -> Generator[SqliteRows]:
    deadline = time.monotonic() + SECONDS
    raw.set_progress_handler(lambda: int(time.monotonic() > deadline), 10_000)
    raw.execute("BEGIN")
    try:
        yield SqliteRows(raw)
    except DatabaseError as error:
        if "interrupted" in str(error):
            raise Interrupted from None
        raise
    finally:
        raw.set_progress_handler(None, 0)
        if raw.in_transaction:
            raw.execute("ROLLBACK")


def _integrity(view: View) -> Finding:
    try:
        with view() as rows:
            problems = rows.column("PRAGMA quick_check(5)")
    except Interrupted:
        return ok("integrity", f"no damage within {SECONDS:.0f} s; the file is too large for a whole check")
    except DatabaseError as error:
        problems = [str(error)]
    if problems != ["ok"]:
        return fail("integrity", f"the file is damaged: {problems[0]}", REPAIR)
    return ok("integrity", "quick_check found no damage")
