"""Files that are read within bounds, and that change as a whole: a reader sees the old content or the new one, also after
a crash."""

import contextlib
import fcntl
import os
import stat
import time
from collections.abc import Generator
from pathlib import Path
from typing import BinaryIO

from wvo_mcp.errors import InvalidInput, StoreBusy, StoreUnavailable

_LOCK_TRIES = 100
_LOCK_PAUSE_SECONDS = 0.02


def fingerprint(path: Path) -> str | None:
    """Changes whenever the file may have changed; None while there is no file. Reads nothing."""
    try:
        now = path.stat()
    except OSError:
        return None
    return f"{now.st_ino}-{now.st_size}-{now.st_mtime_ns}"


def read_at_most(path: Path, most: int, subject: str, name: str) -> bytes | None:
    """None without a file. One byte more than `most` is read at most. Raises InvalidInput for a folder or a pipe, and
    OSError."""
    try:
        # Opening a pipe for reading would otherwise wait for a writer.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except (FileNotFoundError, NotADirectoryError):
        return None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        problem = "is not a regular file"
        raise InvalidInput(subject, problem, message=f"{name} {problem}; expected a text file.")
    with os.fdopen(descriptor, "rb") as file:
        return file.read(most + 1)


@contextlib.contextmanager
def replacement(path: Path, mode: int | None = None) -> Generator[BinaryIO]:
    """A new file that takes the place of `path` when the block ends, synced; when it fails, nothing is left of it. Its mode
    is the given one, else with its owner that of the file it replaces, else what the umask leaves.

    Raises OSError.
    """
    made = path.with_name(f".{path.name}.{os.urandom(4).hex()}.tmp")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(made, flags, 0o666 if mode is None else mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            # It may go at any moment: git takes a file away before it makes the new one.
            with contextlib.suppress(FileNotFoundError):
                if mode is None:
                    old = path.stat()
                    with contextlib.suppress(PermissionError):  # only root may give a file away
                        os.fchown(descriptor, old.st_uid, old.st_gid)
                    os.fchmod(descriptor, stat.S_IMODE(old.st_mode))
            yield file
            file.flush()
            os.fsync(descriptor)
        made.replace(path)
        with _folder(path.parent) as folder:
            os.fsync(folder)
    finally:
        made.unlink(missing_ok=True)


@contextlib.contextmanager
def locked(folder: Path) -> Generator[None]:
    """One writer of ours at a time in the folder. Raises StoreBusy after two seconds, OSError."""
    with _folder(folder) as descriptor:
        for left in range(_LOCK_TRIES, 0, -1):
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if left == 1:
                    raise StoreBusy(f"Another process keeps writing in {folder}.") from None
                time.sleep(_LOCK_PAUSE_SECONDS)
        yield


@contextlib.contextmanager
def _folder(path: Path) -> Generator[int]:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def write_whole(path: Path, content: bytes, mode: int | None = None) -> None:
    """The file's new content; its folder is made. Raises StoreUnavailable."""
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacement(path, mode) as file:
            file.write(content)


@contextlib.contextmanager
def disk_errors(path: Path) -> Generator[None]:
    """An OSError leaves as StoreUnavailable that names the file."""
    try:
        yield
    except OSError as error:
        place = error.filename or path
        problem = f"{place} cannot be read or written: {error.strerror or error}."
        raise StoreUnavailable(problem, cause=str(error)) from error
