"""A file that changes as a whole: a reader sees the old content or the new one, also after a crash."""

import contextlib
import os
import stat
from collections.abc import Generator
from pathlib import Path
from typing import BinaryIO

from wvo_mcp.errors import StoreUnavailable


def fingerprint(path: Path) -> str | None:
    """Changes whenever the file may have changed; None while there is no file. Reads nothing."""
    try:
        now = path.stat()
    except OSError:
        return None
    return f"{now.st_ino}-{now.st_size}-{now.st_mtime_ns}"


@contextlib.contextmanager
def replacement(path: Path, mode: int | None = None) -> Generator[BinaryIO]:
    """A new file that takes the place of `path` when the block ends, synced; when it fails, nothing is left of it. Its mode
    is the given one, else that of the file it replaces, else what the umask leaves.

    Raises OSError.
    """
    made = path.with_name(f".{path.name}.{os.urandom(4).hex()}.tmp")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(made, flags, 0o666 if mode is None else mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            if mode is None:
                with contextlib.suppress(FileNotFoundError):
                    os.fchmod(descriptor, stat.S_IMODE(path.stat().st_mode))
            yield file
            file.flush()
            os.fsync(descriptor)
        made.replace(path)
    finally:
        made.unlink(missing_ok=True)


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
        raise StoreUnavailable(f"{place} cannot be written: {error.strerror or error}.", cause=str(error)) from error
