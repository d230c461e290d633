"""The queue of processes in front of the write lock.

SQLite's own lock can only be tried again and again: many writers then either burn the processor or sleep while it is
free, and some wait a hundred times as long as others. Here the kernel wakes them one by one, in order of arrival. The
lock that keeps the data safe is still SQLite's: without this queue, or with writers that do not stand in it, all is slower
and nothing else.
"""

import fcntl
import os
from collections import deque
from pathlib import Path


class Turnstile:
    """One place in the queue of a file. Left by itself when the process ends, however that ends."""

    def __init__(self, database: Path) -> None:
        try:
            self._fd: int | None = os.open(
                database.with_name(database.name + "-queue"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644
            )
        except OSError:
            self._fd = None  # a folder that cannot be written; there will be no writers either

    def enter(self) -> None:
        """Blocks until it is this one's turn, for as long as that takes."""
        if self._fd is not None:
            try:
                fcntl.flock(self._fd, fcntl.LOCK_EX)
            except OSError:
                self.close()  # a file system without locks

    def leave(self) -> None:
        if self._fd is not None:
            fcntl.flock(self._fd, fcntl.LOCK_UN)

    def close(self) -> None:
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None


class Patience:
    """Decides once, between two threads, whether a waiter begins or gives up."""

    def __init__(self) -> None:
        self._undecided = deque((None,))

    def decide(self) -> bool:
        """True for the first that asks."""
        try:
            self._undecided.pop()
        except IndexError:
            return False
        return True
