"""What is left of runs whose process was killed: known by a file for each run and by the labels of its container."""

import os
import secrets
import socket
import sys
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from wvo_mcp.errors import NotConfigured
from wvo_mcp.execution.sandbox.engine import CALL_SECONDS, Engine

RUN, PID, HOST, UNTIL, STORE = (f"wvo-mcp.{name}" for name in ("run", "pid", "host", "until", "store"))
_LEFT = ".left"
_SLACK = 2 * CALL_SECONDS
"""What making and removing a container may take beside the run."""


@dataclass(slots=True)
class Note:
    labels: Mapping[str, str]
    removed: bool = True
    """Is the container gone?"""


class Journal:
    """A file `RUN.PID.BORN` for each run that a process of this machine has begun, `RUN.left` for one that it could not clean
    up after. While there is none of a process that is gone, and none that was left, the engine is not asked."""

    def __init__(self, folder: Path, store: str) -> None:
        self._folder, self._store = folder, store

    @contextmanager
    def noted(self, seconds: float) -> Generator[Note]:
        """Around the life of a container. Raises OSError."""
        run, owner = secrets.token_hex(8), f"{os.getpid()}.{born(os.getpid())}"
        until = str(int(time.time() + seconds + _SLACK))
        note = Note({RUN: run, PID: owner, HOST: _host(), UNTIL: until, STORE: self._store})
        self._folder.mkdir(parents=True, exist_ok=True)
        file = self._folder / f"{run}.{owner}"
        file.touch(mode=0o600)
        try:
            yield note
        finally:
            if note.removed:
                file.unlink(missing_ok=True)
            else:
                file.rename(self._folder / f"{run}{_LEFT}")

    def left(self) -> list[Path]:
        """Of processes that are gone, and those that were left."""
        with suppress(FileNotFoundError):
            return [one for one in self._folder.iterdir() if _is_gone(one.name.partition(".")[2])]
        return []

    def reap(self, engine: Engine) -> int:
        """How many containers were removed. What could not be done is left for the next time."""
        left, removed = self.left(), 0
        if not left:
            return 0
        from docker.errors import APIError

        with suppress(NotConfigured), engine.client() as client:
            runs = {file.stem for file in left if file.suffix == _LEFT}
            found: list[dict[str, Any]] = client.containers(all=True, filters={"label": RUN})
            for one in found:
                if one["Labels"][RUN] in runs or _is_left(one["Labels"]):
                    with suppress(APIError):  # another process removes it
                        client.remove_container(one["Id"], force=True, v=True)
                        removed += 1
            # Its process may have been killed while the engine was still making the container: that is looked for again.
            for file in left:
                with suppress(FileNotFoundError):
                    if file.stat().st_mtime < time.time() - _SLACK:
                        file.unlink()
        return removed


def _is_left(labels: Mapping[str, str]) -> bool:
    """Is its process gone, as far as this machine can know, or its time over?"""
    over = labels.get(UNTIL, "")
    return (labels.get(HOST) == _host() and _is_gone(labels.get(PID, ""))) or (
        over.isdecimal() and int(over) < time.time()
    )


def _is_gone(owner: str) -> bool:
    pid, _, mark = owner.partition(".")
    return not pid.isdecimal() or born(int(pid)) != mark


def born(pid: int) -> str | None:
    """When the process began, in a form that another process with its number does not share; None without one."""
    if sys.platform != "linux":
        import psutil  # Linux says it in a file

        with suppress(psutil.Error):
            return f"{psutil.Process(pid).create_time():.2f}"
        return None
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] == "Z" else fields[19]


@cache
def _host() -> str:
    """This machine since its start, as far as process numbers mean the same."""
    with suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{socket.gethostname()}/{boot}/{Path('/proc/self/ns/pid').readlink()}"
    return socket.gethostname()
