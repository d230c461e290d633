"""Each live session has an OS lock: it ends with its process, however that ends.

`flock` on a file of its own per session; the kernel releases it when the last descriptor closes, also by SIGKILL.
"""

import fcntl
import os
import time
from collections.abc import Generator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path

from wvo_mcp.domain.text import as_id

_OLD_SECONDS = 60.0


@contextmanager
def session_lock(folder: Path, session_id: str) -> Generator[None]:
    """Held while the block lasts. The file is removed at its end; that of a killed server by the next server that finds it.

    Raises OSError when the folder cannot be written.
    """
    path = _path(folder, session_id)
    folder.mkdir(parents=True, exist_ok=True)
    _sweep(folder)
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        # A server that took the file for a dead one's between the two calls has removed it.
        if _inode(path) == os.fstat(descriptor).st_ino:
            break
        os.close(descriptor)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        os.close(descriptor)


class SessionLocks:
    """`ports.Liveness` over the lock files of a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def living(self) -> list[str]:
        """Ids of the sessions whose servers live, sorted."""
        names = sorted(path.stem for path in self._folder.glob("*.lock"))
        return [name for name in names if self.alive(name)]

    def lock(self, session_id: str) -> AbstractContextManager[None]:
        return session_lock(self._folder, session_id)

    def alive(self, session_id: str) -> bool:
        path = _path(self._folder, session_id)
        try:
            fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        except OSError:
            return True  # unknown: a lease must not be cut on a guess
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        else:
            if _inode(path) == os.fstat(fd).st_ino:
                path.unlink(missing_ok=True)
            return False
        finally:
            os.close(fd)


def _sweep(folder: Path) -> None:
    """Remove the locks of killed servers that no other server has found."""
    before = time.time() - _OLD_SECONDS
    for path in folder.glob("*.lock"):
        with suppress(OSError):
            if path.stat().st_mtime < before:
                SessionLocks(folder).alive(path.stem)


def _inode(path: Path) -> int | None:
    try:
        return path.stat().st_ino
    except FileNotFoundError:
        return None


def _path(folder: Path, session_id: str) -> Path:
    return folder / f"{as_id(session_id)}.lock"
