"""Making, checking and pruning backups, whatever the database: what `ports.Backups` asks, over a folder of files."""

import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

import anyio.to_thread

from wvo_mcp.domain.backup import Backup, regular_name, surplus
from wvo_mcp.ports.backend import Made
from wvo_mcp.store.backup_folder import BackupFolder

T = TypeVar("T")


class Stopped(Exception):
    """The caller no longer waits for the result."""


async def in_thread(work: Callable[[threading.Event], T]) -> T:
    """The work may take minutes: a caller that is cancelled does not wait for it, and it stops soon."""
    stop = threading.Event()
    try:
        return await anyio.to_thread.run_sync(work, stop, abandon_on_cancel=True)
    finally:
        stop.set()


class FolderBackups(ABC):
    """`ports.Backups`; a database says how it is copied and how a copy is checked."""

    def __init__(self, folder: Path, suffix: str) -> None:
        self._folder = BackupFolder(folder, suffix)

    @property
    def folder(self) -> BackupFolder:
        return self._folder

    @abstractmethod
    def copied(self, partial: Path, stop: threading.Event) -> None:
        """A whole and checked copy at `partial`; for threads. Raises as `create`, and Stopped."""

    @abstractmethod
    def check(self, path: Path, stop: threading.Event) -> None:
        """Raises IncompatibleStore, and Stopped."""

    async def create(self, at: datetime) -> Made:
        return await in_thread(lambda stop: self.make(regular_name(at, self._folder.suffix), at, stop))

    async def all(self) -> list[Backup]:
        return await in_thread(lambda _: self._folder.all(datetime.now(UTC)))

    async def verify(self, name: str) -> None:
        await in_thread(lambda stop: self.check(self._folder.path(name), stop))

    async def prune(self, now: datetime) -> list[str]:
        def pruned(_: threading.Event) -> list[str]:
            gone = surplus(self._folder.all(now), now)
            self._folder.delete(gone)
            return gone

        return await in_thread(pruned)

    def make(self, name: str, at: datetime, stop: threading.Event) -> Made:
        """Copy, check, name; for threads. Raises as `create`."""
        started = time.monotonic()
        with self._folder.making() as partial:
            self.copied(partial, stop)
            backup = self._folder.put(partial, name, at)
        return Made(backup, time.monotonic() - started)
