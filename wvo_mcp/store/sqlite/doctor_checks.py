"""What doctor and the health loop look at in a database file, read-only and bounded in time, also in one that cannot be
opened for work."""

import shutil
import time
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import anyio.to_thread

from wvo_mcp.domain.finding import Finding, fail, ok, warn
from wvo_mcp.domain.health import Condition
from wvo_mcp.errors import IncompatibleStore, WvoError
from wvo_mcp.store import doctor_checks
from wvo_mcp.store.doctor_checks import SECONDS, Interrupted, View, content_checks
from wvo_mcp.store.sqlite.connection import REPAIR, DatabaseError, SqliteRows, sqlite, typed_errors
from wvo_mcp.store.sqlite.integrity import backups_of, check_closed, check_open, log_of
from wvo_mcp.store.sqlite.migrate import check_library
from wvo_mcp.store.sqlite.read_only import read_only
from wvo_mcp.store.versions import latest, refuse_newer

_DAMAGE_SECONDS = 50.0
"""Sizes are asked for each time; the look for damage reads the file, and is made at most this often."""


def library() -> Finding:
    """The SQLite that this program brings along."""
    try:
        check_library()
    except IncompatibleStore as error:
        return fail("sqlite", error.message, error.hint)
    return ok("sqlite", f"SQLite {sqlite.sqlite_version}")


def examine(path: Path, alive: Callable[[str], bool], now: datetime) -> list[Finding]:
    """Every check that the file allows, in order; a check that cannot be made ends the list with its reason."""
    findings: list[Finding] = []
    try:
        check_closed(path)
        if not path.exists():
            return [ok("database", f"{path} is not there yet; the first server or command makes it")]
        with typed_errors(path), read_only(path) as raw:
            version = int(raw.execute("PRAGMA user_version").fetchone()[0])
            refuse_newer(path, version)
            if version < latest():
                return [ok("database", f"{path} has schema {version}; the next server moves it to {latest()}")]
            findings.append(ok("database", f"{path}, schema {version}, {path.stat().st_size / 1e6:.1f} MB"))
            view = partial(_view, raw)
            mode = raw.execute("PRAGMA journal_mode").fetchone()[0]
            remedy = "Stop all servers and start one again: it turns WAL on; without it readers and writers block each other."
            said = f"the journal mode is {mode}"
            findings.append(ok("journal", "WAL") if mode == "wal" else warn("journal", said, remedy))
            findings.append(_integrity(view))
            findings += content_checks(view, lambda _: alive, lambda _: now)
    except WvoError as error:
        findings.append(fail("database", error.message, error.hint))
    return [*findings, backups_of(path).examine(now)]


def known_ids(path: Path, wanted: Iterable[str]) -> set[str]:
    """Those of the ids that the store has; all of them when the store cannot be read."""

    @contextmanager
    def look() -> Generator[SqliteRows]:
        with typed_errors(path), read_only(path) as raw:
            yield SqliteRows(raw)

    return doctor_checks.known_ids(look, wanted) if path.exists() else set()


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


class SqliteProbe:
    """`ports.Probe` of one file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._damage: str | None = None
        self._looked: float | None = None

    async def look(self) -> Condition:
        return await anyio.to_thread.run_sync(self._look)

    def _look(self) -> Condition:
        if self._looked is None or time.monotonic() - self._looked >= _DAMAGE_SECONDS:
            try:
                check_open(self._path)
                self._damage = None
            except IncompatibleStore as error:
                self._damage = error.message
            except WvoError:
                pass  # busy or away: the cycle's own reads and writes show it
            self._looked = time.monotonic()
        return Condition(
            bytes=_known(lambda: self._path.stat().st_size),
            journal_bytes=_known(lambda: log_of(self._path).stat().st_size) or 0,
            free_bytes=_known(lambda: shutil.disk_usage(self._path.parent).free),
            damage=self._damage,
        )


def _known(look: Callable[[], int]) -> int | None:
    try:
        return look()
    except OSError:
        return None
