"""How the database file is, seen from outside."""

import shutil
import time
from pathlib import Path

import anyio.to_thread

from wvo_mcp.domain.health import Condition
from wvo_mcp.errors import IncompatibleStore, WvoError
from wvo_mcp.store.sqlite.integrity import check_open, log_of

_DAMAGE_SECONDS = 50.0
"""Sizes are asked for each time; the look for damage reads the file, and is made at most this often."""


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
            bytes=_size(self._path),
            journal_bytes=_size(log_of(self._path)) or 0,
            free_bytes=_free(self._path.parent),
            damage=self._damage,
        )


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:
        return None


def _free(folder: Path) -> int | None:
    try:
        return shutil.disk_usage(folder).free
    except OSError:
        return None
