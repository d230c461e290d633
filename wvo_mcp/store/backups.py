"""Backups in a folder, whatever the database: one maker at a time, nothing half-made under a backup's name."""

import difflib
import fcntl
import os
import secrets
import shutil
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeVar

import anyio.to_thread

from wvo_mcp.domain.backup import Backup, Kind, hour, kept, named_time, regular_name, safety_name, surplus
from wvo_mcp.domain.finding import Finding, ok, warn
from wvo_mcp.errors import IncompatibleStore, NotFound, StoreBusy, StoreUnavailable, WvoError
from wvo_mcp.ports import Transaction
from wvo_mcp.ports.backend import Made

T = TypeVar("T")

TOKENS_RAISED = 1_000
"""Added by a restore to every lease token: those that were given out after the backup must not come again."""

_PARTIAL = ".partial"
_WAIT_SECONDS = 30.0


class Stopped(Exception):
    """The caller no longer waits for the result."""


class BackupFolder:
    """Files of one kind (`suffix`: db or dump). Errors of the disk leave as StoreUnavailable."""

    def __init__(self, folder: Path, suffix: str) -> None:
        self.folder = folder
        self.suffix = suffix

    @contextmanager
    def making(self) -> Generator[Path]:
        """A path to make a copy at, removed at the end with the files beside it. Raises StoreBusy while another
        process makes one.

        The holder of the lock is the only maker: all other unfinished files are of processes that were killed.
        """
        with typed_disk_errors(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            lock = os.open(self.folder / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            deadline = time.monotonic() + _WAIT_SECONDS
            while True:
                with suppress(BlockingIOError):
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                if time.monotonic() > deadline:
                    raise StoreBusy(
                        "Another backup or restore is at work.", hint="Wait until it has ended, then call again."
                    )
                time.sleep(0.05)
            self._clean()
            try:
                yield self.folder / f".{secrets.token_hex(4)}.{self.suffix}{_PARTIAL}"
            finally:
                self._clean()
        finally:
            os.close(lock)

    def _clean(self) -> None:
        with typed_disk_errors(self.folder):
            for left in self.folder.glob(f".*{_PARTIAL}*"):
                left.unlink(missing_ok=True)

    def check_room(self, wanted: int) -> None:
        """Raises StoreUnavailable when `wanted` bytes do not fit with something left: a backup must not be what fills the
        disk that the store itself writes to."""
        with typed_disk_errors(self.folder):
            free = shutil.disk_usage(self.folder).free
        if free < wanted + max(1 << 20, wanted // 10):
            raise StoreUnavailable(
                f"{self.folder} has room for {free / 1e6:.0f} MB; a backup takes {wanted / 1e6:.0f} MB and a tenth more.",
                hint="Free the disk; the next backup is tried within minutes.",
            )

    def put(self, made: Path, name: str, at: datetime) -> Backup:
        """The finished file gets its name, durably; a safety copy takes no other's place, even in the same second."""
        with typed_disk_errors(self.folder):
            while (stated := named_time(name)) is not None and stated[1] and (self.folder / name).exists():
                name = safety_name(stated[0] + timedelta(seconds=1), self.suffix)
            target = self.folder / name
            os.utime(made, (at.timestamp(), at.timestamp()))
            sync(made)
            made.replace(target)
            sync(self.folder)
            size = target.stat().st_size
        return Backup(name, at, size, Kind.SAFETY if stated is not None and stated[1] else Kind.HOURLY)

    def put_safety(self, made: Path, now: datetime, restored: str) -> str:
        """The finished copy of a store that `restored` is about to replace gets a name, which is returned; others that no rule
        keeps go."""
        name = self.put(made, safety_name(now, self.suffix), now).name
        self.delete([old for old in surplus(self.all(now), now) if old not in (name, restored)])
        return name

    def _named(self) -> Iterator[tuple[datetime, bool, Path]]:
        for path in self.folder.glob(f"*.{self.suffix}"):
            stated = named_time(path.name)
            if stated is not None:
                yield *stated, path

    def all(self, now: datetime) -> list[Backup]:
        """Newest first, each with the rule that keeps it."""
        found: list[Backup] = []
        with typed_disk_errors(self.folder):
            for at, safety, path in self._named():
                with suppress(FileNotFoundError):
                    status = path.stat()
                    written = datetime.fromtimestamp(status.st_mtime, tz=at.tzinfo)
                    # The name gives the hour; the minutes come from the file, unless it was copied here later.
                    if not safety and hour(written) == at:
                        at = written.replace(microsecond=written.microsecond // 1000 * 1000)
                    found.append(Backup(path.name, at, status.st_size, Kind.SAFETY if safety else Kind.WEEKLY))
        kinds = kept((backup.at for backup in found if backup.kind is not Kind.SAFETY), now)
        judged = (
            backup if backup.kind is Kind.SAFETY else replace(backup, kind=kinds.get(hour(backup.at), backup.kind))
            for backup in found
        )
        return sorted(judged, key=lambda backup: (backup.at, backup.name), reverse=True)

    def regular(self) -> list[tuple[datetime, Path]]:
        """(hour, file) of the backups that are no safety copies, newest first."""
        return sorted(((at, path) for at, safety, path in self._named() if not safety), reverse=True)

    def path(self, name: str) -> Path:
        """Raises NotFound; only names of backups are looked for."""
        path = self.folder / name
        if named_time(name) is None or not path.is_file():
            names = [backup.name for backup in self.all(datetime.now(UTC))]
            near = difflib.get_close_matches(name, names, 5)
            raise NotFound("backup", name, near, field="name", hint="wvo-mcp backup-list shows those that there are.")
        return path

    def first_good(self, name: str | None, check: Callable[[Path], None], store: str) -> tuple[Backup, dict[str, str]]:
        """The named backup, or the newest that passes the check, and why others did not. Raises NotFound; IncompatibleStore
        for the named one."""
        now = datetime.now(UTC)
        # One that a clock in the future dated is the newest for ever, and mostly the oldest: it comes last.
        everything = sorted(self.all(now), key=lambda backup: backup.at > now)
        if name is not None:
            check(self.path(name))
            return next(backup for backup in everything if backup.name == name), {}
        passed_over: dict[str, str] = {}
        for backup in everything:
            if backup.name == regular_name(backup.at, self.suffix):
                try:
                    check(self.folder / backup.name)
                except IncompatibleStore as error:
                    passed_over[backup.name] = error.message
                else:
                    return backup, passed_over
        tried = f"; tried {', '.join(passed_over)}" if passed_over else ""
        raise NotFound("good backup of", f"{store}{tried}")

    def delete(self, names: list[str]) -> None:
        with typed_disk_errors(self.folder):
            for name in names:
                (self.folder / name).unlink(missing_ok=True)
            if names:
                sync(self.folder)

    def examine(self, now: datetime) -> Finding:
        """What could be restored."""
        try:
            found = [backup for backup in self.all(now) if backup.kind is not Kind.SAFETY]
        except WvoError as error:
            return warn("backups", error.message, error.hint)
        if not found:
            return ok("backups", "none yet; a running server makes one every hour")
        age = (now - found[0].at).total_seconds() / 3600
        size = sum(backup.bytes for backup in found) / 1e6
        return ok("backups", f"{len(found)}, {size:.1f} MB; the newest, {found[0].name}, is {age:.1f} hours old")


class FolderBackups(ABC):
    """`ports.Backups`; a database says how it is copied and how a copy is checked."""

    def __init__(self, folder: Path, suffix: str) -> None:
        self.folder = BackupFolder(folder, suffix)

    @abstractmethod
    def make_copy(self, partial: Path, stop: threading.Event) -> None:
        """A whole and checked copy at `partial`; for threads. Raises as `create`, and Stopped."""

    @abstractmethod
    def check(self, path: Path, stop: threading.Event) -> None:
        """Raises IncompatibleStore, and Stopped."""

    async def create(self, at: datetime) -> Made:
        return await in_thread(lambda stop: self.make(regular_name(at, self.folder.suffix), at, stop))

    async def all(self) -> list[Backup]:
        return await in_thread(lambda _: self.folder.all(datetime.now(UTC)))

    async def verify(self, name: str) -> None:
        await in_thread(lambda stop: self.check(self.folder.path(name), stop))

    async def prune(self, now: datetime) -> list[str]:
        def pruned(_: threading.Event) -> list[str]:
            gone = surplus(self.folder.all(now), now)
            self.folder.delete(gone)
            return gone

        return await in_thread(pruned)

    def make(self, name: str, at: datetime, stop: threading.Event) -> Made:
        """Copy, check, name; for threads. Raises as `create`."""
        started = time.monotonic()
        with self.folder.making() as partial:
            self.make_copy(partial, stop)
            backup = self.folder.put(partial, name, at)
        return Made(backup, time.monotonic() - started)


async def in_thread(work: Callable[[threading.Event], T]) -> T:
    """The work may take minutes: a caller that is cancelled does not wait for it, and it stops soon."""
    stop = threading.Event()
    try:
        return await anyio.to_thread.run_sync(work, stop, abandon_on_cancel=True)
    finally:
        stop.set()


async def record_restore(tx: Transaction, backup: Backup) -> None:
    """The restored store knows that it was restored."""
    await tx.sessions.ensure()
    await tx.events.append("store.restored", None, {"backup": backup.name, "tokens_raised": TOKENS_RAISED})


@contextmanager
def typed_disk_errors(where: Path) -> Generator[None]:
    """OSError leaves as StoreUnavailable that names the place."""
    try:
        yield
    except OSError as error:
        place = error.filename or where
        raise StoreUnavailable(f"{place} cannot be used: {error.strerror or error}.", cause=str(error)) from error


def sync(path: Path) -> None:
    """What was written to the file, or the names in the folder, are on disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
