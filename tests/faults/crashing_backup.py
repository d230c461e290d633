"""A process that makes a backup or restores one, and is killed at the n-th step; run by the nursery.

It writes its steps to a file. With `fill`, the disk is full from the first step of the copy on.
"""

import json
import os
import shutil
import signal
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TextIO

import anyio

from tests.support.sessions import a_person
from wvo_mcp.errors import WvoError
from wvo_mcp.execution.clock import SystemClock
from wvo_mcp.execution.session_lock import SessionLocks
from wvo_mcp.store import backups as folder
from wvo_mcp.store.sqlite import backup
from wvo_mcp.store.sqlite.backup import Restoring
from wvo_mcp.store.sqlite.integrity import backups_of


class Steps:
    """Told of every step; the process dies at number `kill_at`."""

    def __init__(self, kill_at: int, said: TextIO) -> None:
        self._kill_at = kill_at
        self._said = said
        self._count = 0

    def __call__(self, step: str) -> None:
        self._count += 1
        print(step, file=self._said, flush=True)
        if self._count == self._kill_at:
            os.kill(os.getpid(), signal.SIGKILL)


def create(database: Path, steps: Callable[[str], None]) -> None:
    """Every step of the copy and every sync is a step."""
    sync = folder.sync

    def told(path: Path) -> None:
        steps(f"before syncing {path.suffix}")
        sync(path)
        steps(f"after syncing {path.suffix}")

    backup.sync = told
    folder.sync = told
    backup.STEP_PAGES = 16
    backups = backup.SqliteBackups(database, backups_of(database).folder)
    backups.make("state-2031-01-01-00.db", datetime(2031, 1, 1, tzinfo=UTC), threading.Event())


def fill(database: Path, _: Callable[[str], None]) -> None:
    disk = database.parents[2]

    def full(path: Path) -> None:
        with (disk / "ballast").open("ab") as ballast:
            ballast.write(b"x" * shutil.disk_usage(path.parent).free)

    backup.sync = full
    backup.STEP_PAGES = 16
    backups = backup.SqliteBackups(database, backups_of(database).folder)
    backups.make("state-2031-01-01-00.db", datetime(2031, 1, 1, tzinfo=UTC), threading.Event())


def restore(database: Path, steps: Callable[[str], None]) -> None:
    restoring = Restoring(database, SystemClock(), SessionLocks(database.parent / "sessions"), a_person())
    restoring.at_step = steps
    anyio.run(restoring.restore)


def warm() -> None:
    """What a child needs is imported with this module."""


def run(action: str, database: str, kill_at: int, said: str) -> None:
    """Do it, and write to the file `said`: the steps, or the error. An error ends the process with 1."""
    with Path(said).open("w") as told:
        try:
            {"create": create, "fill": fill, "restore": restore}[action](Path(database), Steps(kill_at, told))
        except WvoError as error:
            print(json.dumps(error.payload()), file=told, flush=True)
            raise
