"""Each live session has an OS lock: it ends with its process, however that ends.

`flock` on a file of its own per session; the kernel releases it when the last descriptor closes, also by SIGKILL.
"""

import fcntl
import os
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

from wvo_mcp.domain.text import as_id

_OLD_SECONDS = 60.0


class SessionLocks:
    """`ports.Liveness` over the lock files of a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def living(self) -> list[str]:
        """Ids of the sessions whose servers live, sorted."""
        names = sorted(path.stem for path in self._folder.glob("*.lock"))
        return [name for name in names if self.alive(name)]

    @contextmanager
    def lock(self, session_id: str) -> Generator[None]:
        """Held while the block lasts. The file is removed at its end; that of a killed server by the next server that
        finds it. Raises OSError when the folder cannot be written."""
        path = self._path(session_id)
        self._folder.mkdir(parents=True, exist_ok=True)
        before = time.time() - _OLD_SECONDS
        for other in self._folder.glob("*.lock"):  # those of killed servers that no other server has found
            with suppress(OSError):
                if other.stat().st_mtime < before:
                    self.alive(other.stem)
        while True:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            # A server that took the file for a dead one's between the two calls has removed it.
            if _is_at(path, descriptor):
                break
            os.close(descriptor)
        try:
            yield
        finally:
            path.unlink(missing_ok=True)
            os.close(descriptor)

    def alive(self, session_id: str) -> bool:
        path = self._path(session_id)
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        except OSError:
            return True  # unknown: a lease must not be cut on a guess
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_at(path, descriptor):
                path.unlink(missing_ok=True)
            return False
        except BlockingIOError:
            return True
        finally:
            os.close(descriptor)

    def _path(self, session_id: str) -> Path:
        return self._folder / f"{as_id(session_id)}.lock"


def _is_at(path: Path, descriptor: int) -> bool:
    with suppress(FileNotFoundError):
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    return False
