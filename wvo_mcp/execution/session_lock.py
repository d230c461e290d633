"""An OS lock stands for a live session: it dies with its process, however that ends.

`flock` on a file of its own per session; the kernel releases it when the last descriptor closes, also by SIGKILL.
"""

import fcntl
import os
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from wvo_mcp.domain.text import as_id

_OLD_SECONDS = 60.0


class SessionLock:
    """Held from `acquire` to `release`. The file is removed at the end; a dead one's is removed by whoever finds it."""

    def __init__(self, folder: Path, session_id: str) -> None:
        self._path = _path(folder, session_id)
        self._fd: int | None = None

    def acquire(self) -> None:
        """Raises OSError when the folder cannot be written."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        sweep(self._path.parent)
        while True:
            fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            fcntl.flock(fd, fcntl.LOCK_EX)
            # Whoever took the file for a dead one's between the two calls has removed it.
            if _inode(self._path) == os.fstat(fd).st_ino:
                break
            os.close(fd)
        self._fd = fd

    def release(self) -> None:
        if self._fd is not None:
            self._path.unlink(missing_ok=True)
            os.close(self._fd)
            self._fd = None

    def __enter__(self) -> "SessionLock":
        self.acquire()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


class SessionLocks:
    """`ports.Liveness` over the lock files of a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def living(self) -> list[str]:
        """Ids of the sessions whose servers live, sorted."""
        names = sorted(path.stem for path in self._folder.glob("*.lock"))
        return [name for name in names if self.alive(name)]

    def lock(self, session_id: str) -> SessionLock:
        return SessionLock(self._folder, session_id)

    def alive(self, session_id: str) -> bool:
        path = _path(self._folder, session_id)
        try:
            fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        except OSError:
            return True  # it cannot be told: a lease must not be cut on a guess
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


def sweep(folder: Path) -> None:
    """Remove the locks of servers that were killed before anybody heard of them."""
    before = time.time() - _OLD_SECONDS
    locks = SessionLocks(folder)
    for path in folder.glob("*.lock"):
        with suppress(OSError):
            if path.stat().st_mtime < before:
                locks.alive(path.stem)


def _inode(path: Path) -> int | None:
    try:
        return path.stat().st_ino
    except FileNotFoundError:
        return None


def _path(folder: Path, session_id: str) -> Path:
    return folder / f"{as_id(session_id)}.lock"
