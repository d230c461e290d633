"""The folder of backups: one maker at a time, nothing half-made under a backup's name."""

import difflib
import fcntl
import os
import secrets
import shutil
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from wvo_mcp.domain.backup import Backup, Kind, hour, kept, named_time, regular_name, safety_name
from wvo_mcp.domain.finding import Finding, ok, warn
from wvo_mcp.errors import IncompatibleStore, NotFound, StoreBusy, StoreUnavailable, WvoError

PARTIAL = ".partial"
_WAIT_SECONDS = 30.0


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
        with troubles(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            lock = os.open(self.folder / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            self._acquire(lock)
            self._clean()
            try:
                yield self.folder / f".{secrets.token_hex(4)}.{self.suffix}{PARTIAL}"
            finally:
                self._clean()
        finally:
            os.close(lock)

    def _acquire(self, lock: int) -> None:
        deadline = time.monotonic() + _WAIT_SECONDS
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise StoreBusy(
                        "Another backup or restore is at work.", hint="Wait until it has ended, then call again."
                    ) from None
                time.sleep(0.05)
            else:
                return

    def _clean(self) -> None:
        with troubles(self.folder):
            for left in self.folder.glob(f".*{PARTIAL}*"):
                left.unlink(missing_ok=True)

    def check_room(self, wanted: int) -> None:
        """Raises StoreUnavailable when `wanted` bytes do not fit with something left: a backup must not be what fills the
        disk that the store itself writes to."""
        with troubles(self.folder):
            free = shutil.disk_usage(self.folder).free
        if free < wanted + max(1 << 20, wanted // 10):
            raise StoreUnavailable(
                f"{self.folder} has room for {free / 1e6:.0f} MB; a backup takes {wanted / 1e6:.0f} MB and a tenth more.",
                hint="Free the disk; the next backup is tried within minutes.",
            )

    def put(self, made: Path, name: str, at: datetime) -> Backup:
        """The finished file gets its name, durably; a safety copy takes no other's place, even in the same second."""
        with troubles(self.folder):
            while (stated := named_time(name)) is not None and stated[1] and (self.folder / name).exists():
                name = safety_name(stated[0] + timedelta(seconds=1), self.suffix)
            target = self.folder / name
            os.utime(made, (at.timestamp(), at.timestamp()))
            sync(made)
            made.replace(target)
            sync(self.folder)
            size = target.stat().st_size
        safety = (named_time(name) or (at, False))[1]
        return Backup(name, at, size, Kind.SAFETY if safety else Kind.HOURLY)

    def all(self, now: datetime) -> list[Backup]:
        """Newest first, each with the rule that keeps it."""
        found: list[tuple[str, datetime, int, bool]] = []
        with troubles(self.folder):
            for path in self.folder.glob(f"*.{self.suffix}"):
                stated = named_time(path.name)
                if stated is None:
                    continue
                try:
                    status = path.stat()
                except FileNotFoundError:
                    continue
                at, safety = stated
                written = datetime.fromtimestamp(status.st_mtime, tz=at.tzinfo)
                # The name gives the hour; the minutes come from the file, unless it was copied here later.
                exact = written.replace(microsecond=written.microsecond // 1000 * 1000)
                at = exact if not safety and hour(written) == at else at
                found.append((path.name, at, status.st_size, safety))
        kinds = kept((at for _, at, _, safety in found if not safety), now)
        backups = [
            Backup(name, at, size, Kind.SAFETY if safety else kinds.get(hour(at), Kind.WEEKLY))
            for name, at, size, safety in found
        ]
        return sorted(backups, key=lambda backup: (backup.at, backup.name), reverse=True)

    def regular(self) -> Iterator[tuple[datetime, Path]]:
        """(hour, file) of the backups that are no safety copies, newest first."""
        found: list[tuple[datetime, Path]] = []
        for path in self.folder.glob(f"*.{self.suffix}"):
            stated = named_time(path.name)
            if stated is not None and not stated[1]:
                found.append((stated[0], path))
        return iter(sorted(found, reverse=True))

    def path(self, name: str) -> Path:
        """Raises NotFound; only names of backups are looked for."""
        path = self.folder / name
        if named_time(name) is None or not path.is_file():
            names = [backup.name for backup in self.all(datetime.now().astimezone())]
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
            path = self.path(name)
            check(path)
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
        with troubles(self.folder):
            for name in names:
                (self.folder / name).unlink(missing_ok=True)
            if names:
                sync(self.folder)


def what_could_be_restored(folder: BackupFolder, now: datetime) -> Finding:
    try:
        found = [backup for backup in folder.all(now) if backup.kind is not Kind.SAFETY]
    except WvoError as error:
        return warn("backups", error.message, error.hint)
    if not found:
        return ok("backups", "none yet; a running server makes one every hour")
    age = (now - found[0].at).total_seconds() / 3600
    size = sum(backup.bytes for backup in found) / 1e6
    return ok("backups", f"{len(found)}, {size:.1f} MB; the newest, {found[0].name}, is {age:.1f} hours old")


@contextmanager
def troubles(where: Path) -> Generator[None]:
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
