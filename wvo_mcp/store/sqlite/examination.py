"""Checks of the database file, read-only and bounded in time, also of one that cannot be opened for work."""

import time
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, cast

from pysqlite3 import dbapi2 as sqlite  # pyright: ignore

from wvo_mcp.domain.finding import Finding, fail, ok, warn
from wvo_mcp.domain.instant import instant
from wvo_mcp.errors import WvoError
from wvo_mcp.store.backup_folder import what_could_be_restored
from wvo_mcp.store.soundness import Chains, counters, miscounted, store_time
from wvo_mcp.store.sqlite.connection import OLDEST_SQLITE, DatabaseError, SqliteRows, typed
from wvo_mcp.store.sqlite.damage import REPAIR, backups_of, look_at
from wvo_mcp.store.sqlite.glance import looking
from wvo_mcp.store.sqlite.migrate import APPLICATION_ID
from wvo_mcp.store.versions import latest

SECONDS = 5.0
"""For each of the checks that read much."""

_driver = cast(Any, sqlite)


def library() -> Finding:
    """The SQLite that this program brings along."""
    version: str = _driver.sqlite_version
    if tuple(_driver.sqlite_version_info) < OLDEST_SQLITE:
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
        look_at(path)
    except WvoError as error:
        return [fail("database", error.message, error.hint), *_backups(path, now)]
    if not path.exists():
        return [ok("database", f"{path} is not there yet; the first server or command makes it")]
    findings: list[Finding] = []
    try:
        with looking(path) as raw:
            findings.append(_schema(raw, path))
            if findings[0].outcome == "fail" or _version(raw) != latest():
                return findings
            findings += [
                _journal(raw),
                _integrity(raw),
                _chains(raw),
                _counters(raw),
                _sessions(raw, alive),
                _leader(raw, alive, now),
                store_time(SqliteRows(raw), now),
            ]
    except DatabaseError as error:
        known = typed(error, path)
        findings.append(fail("database", known.message, known.hint))
    return [*findings, *_backups(path, now)]


def _backups(path: Path, now: datetime) -> list[Finding]:
    return [what_could_be_restored(backups_of(path), now)]


def known_ids(path: Path, wanted: Iterable[str]) -> set[str]:
    """Those of the ids that the store has; all of them when that cannot be told."""
    asked = set(wanted)
    try:
        with looking(path) as raw:
            return {one for one in asked if raw.execute("SELECT 1 FROM tasks WHERE id = ?", (one,)).fetchone()}
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
def _bounded(raw: Any) -> Generator[None]:
    """Statements inside are interrupted after SECONDS."""
    deadline = time.monotonic() + SECONDS
    raw.set_progress_handler(lambda: int(time.monotonic() > deadline), 10_000)
    try:
        yield
    finally:
        raw.set_progress_handler(None, 0)


def _interrupted(error: Exception) -> bool:
    return "interrupted" in str(error)


def _integrity(raw: Any) -> Finding:
    try:
        with _bounded(raw):
            problems = [row[0] for row in raw.execute("PRAGMA quick_check(5)")]
    except DatabaseError as error:
        if _interrupted(error):
            return ok("integrity", f"no damage within {SECONDS:.0f} s; the file is too large for a whole check")
        problems = [str(error)]
    if problems != ["ok"]:
        return fail(
            "integrity",
            f"the file is damaged: {problems[0]}",
            REPAIR,
        )
    return ok("integrity", "quick_check found no damage")


def _chains(raw: Any) -> Finding:
    chains = Chains(SqliteRows(raw))
    try:
        with _bounded(raw):
            return chains.follow(SECONDS)
    except DatabaseError as error:
        if not _interrupted(error):
            raise
        return chains.sound()


def _counters(raw: Any) -> Finding:
    """The kept counters against a recount, in one view of the data."""
    raw.execute("BEGIN")
    try:
        with _bounded(raw):
            wrong = miscounted(SqliteRows(raw))
    except DatabaseError as error:
        if not _interrupted(error):
            raise
        return ok("counters", f"not recounted within {SECONDS:.0f} s: the store is too large")
    finally:
        raw.execute("ROLLBACK")
    return counters(wrong)


def _sessions(raw: Any, alive: Callable[[str], bool]) -> Finding:
    """Servers that run, and sessions whose server is gone and whose tasks come back by themselves."""
    rows = raw.execute(
        "SELECT session_id, agent_id FROM sessions WHERE ended_at IS NULL AND durable = 0 ORDER BY started_at DESC LIMIT 200"
    ).fetchall()
    living = [agent for session, agent in rows if alive(session)]
    gone = len(rows) - len(living)
    found = f"{len(living)} servers connected" + (f": {', '.join(living[:8])}" if living else "")
    if gone:
        found += f"; {gone} ended without a word, their tasks come back after the grace"
    return ok("sessions", found)


def _leader(raw: Any, alive: Callable[[str], bool], now: datetime) -> Finding:
    """Who does what only one may do: watch the roadmap, refresh scores."""
    row = raw.execute("SELECT session_id, expires_at FROM leaders WHERE role = 'background'").fetchone()
    if row is None or row[0] is None:
        return ok("leader", "none: no server has run yet, or all have ended")
    if instant(row[1]) > now and alive(row[0]):
        return ok("leader", f"session {row[0]}, until {row[1]}")
    return ok("leader", "none at the moment; the next server takes over")
