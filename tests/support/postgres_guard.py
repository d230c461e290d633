"""Removes a cluster as soon as nobody holds its lifeline. Runs as a process of its own: python postgres_guard.py FOLDER

The lifeline is a lock that the kernel frees however its holder ends, so that killed tests leave no servers behind.
"""

import fcntl
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path


def hold(folder: Path) -> int:
    """The descriptor that keeps the cluster of `folder` alive while it is open."""
    lifeline = os.open(folder / "lifeline", os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(lifeline, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return lifeline


def is_abandoned(folder: Path) -> bool:
    """Whether nobody holds the lifeline."""
    try:
        os.close(hold(folder))
    except OSError:
        return False
    return True


def postmaster(folder: Path) -> int | None:
    """The process id of the cluster's server, when it runs."""
    try:
        pid = int((folder / "data" / "postmaster.pid").read_text().split("\n")[0])
    except (OSError, ValueError):
        return None
    asked = subprocess.run(["ps", "-o", "stat=,command=", "-p", str(pid)], capture_output=True, text=True, check=False)
    # The number may have gone to another process since.
    alive = str(folder) in asked.stdout and not asked.stdout.startswith("Z")
    return pid if alive else None


def remove(folder: Path) -> None:
    """End the server, at once if need be, and remove its folder."""
    ways = (signal.SIGQUIT, signal.SIGKILL)  # an immediate stop, then force
    for way in ways:
        pid = postmaster(folder)
        if pid is None:
            break
        with suppress(ProcessLookupError):  # it may end by itself just now
            os.kill(pid, way)
            os.kill(pid, signal.SIGCONT)
        until = time.monotonic() + 30
        while time.monotonic() < until and postmaster(folder) is not None:
            time.sleep(0.02)
    until = time.monotonic() + 30
    while folder.exists() and time.monotonic() < until:  # the last of the server's children may still write
        shutil.rmtree(folder, ignore_errors=True)


def main(folder: Path) -> None:
    """Watch in the background: who started this waits for nothing."""
    if os.fork():
        os._exit(0)
    lifeline = os.open(folder / "lifeline", os.O_RDWR)
    fcntl.flock(lifeline, fcntl.LOCK_EX)
    remove(folder)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
