"""One process at a time makes or removes a place: a lock that ends with its process, however that ends."""

import fcntl
import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio

LOCKS = ".locks"
_BREATH = 0.05


class Busy(Exception):
    """Another process has had the lock all the time."""


@asynccontextmanager
async def alone(folder: Path, name: str, seconds: float) -> AsyncGenerator[None]:
    """Wait at most so long for the lock `name` of the folder of worktrees, and hold it while the block lasts. Raises Busy,
    OSError."""
    path = folder / LOCKS / f"{name}.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = _locked(path)
    with anyio.move_on_after(seconds):
        while descriptor is None:
            await anyio.sleep(_BREATH)
            descriptor = _locked(path)
    if descriptor is None:
        raise Busy
    try:
        yield
    finally:
        path.unlink(missing_ok=True)  # whoever waits for the file that is gone takes a new one
        os.close(descriptor)


def _locked(path: Path) -> int | None:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if path.exists() and os.path.samestat(path.stat(), os.fstat(descriptor)):
            return descriptor
    except (BlockingIOError, FileNotFoundError):
        pass
    os.close(descriptor)
    return None
