"""Runs one program and outlives nothing of it: `python -I -S warden.py FD PROGRAM ...`.

FD is the reading end of a pipe whose other end only our server holds: when it closes, however the server ended, everything
that the program started is ended, also what left its group and session (Linux: this process adopts orphans). The same
happens at SIGTERM and when the program has ended. Its exit code is the program's. Only the standard library is imported:
it starts once for each worker.
"""

import contextlib
import ctypes
import os
import select
import signal
import sys
import time
from collections.abc import Callable

_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36
TERM_SECONDS, KILL_SECONDS = 2.0, 2.0


def main(lifeline: int, argv: list[str]) -> int:
    linux = sys.platform == "linux"
    prctl = ctypes.CDLL(None).prctl if linux else None
    if prctl is not None:
        prctl(_PR_SET_CHILD_SUBREAPER, 1)
    woken, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, _heard)
    us = os.getpid()
    program = os.fork()
    if program == 0:
        _become(argv, us, prctl, (lifeline, woken, wake))
    status = _wait(program, lifeline, woken)
    _end_all(program)
    if status is None:
        status = _reaped(program)
    code = 128 if status is None else os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


def _heard(number: int, frame: object) -> None:
    """The pipe of set_wakeup_fd tells."""


def _become(argv: list[str], parent: int, prctl: Callable[[int, int], object] | None, close: tuple[int, ...]) -> None:
    try:
        for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)
        for fd in close:
            os.close(fd)
        if prctl is not None:
            prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() != parent:
                os._exit(127)
        os.execvp(argv[0], argv)  # noqa: S606 - its arguments are a list of ours
    except OSError as error:
        sys.stderr.write(f"{argv[0]}: {error.strerror}\n")
    finally:
        os._exit(127)


_found: dict[int, int] = {}
"""Statuses of the children that have ended."""


def _reaped(program: int) -> int | None:
    with contextlib.suppress(ChildProcessError):
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                break
            if pid == program:
                _found[pid] = status
    return _found.get(program)


def _wait(program: int, lifeline: int, woken: int) -> int | None:
    """The program's status; None when it is to be ended."""
    while True:
        ready, _, _ = select.select([lifeline, woken], [], [])
        if woken in ready:
            numbers = os.read(woken, 512)
            status = _reaped(program)
            if status is not None:
                return status
            if set(numbers) - {signal.SIGCHLD}:
                return None
        if lifeline in ready and not os.read(lifeline, 512):
            return None


def _end_all(program: int) -> None:
    for number, seconds in ((signal.SIGTERM, TERM_SECONDS), (signal.SIGKILL, KILL_SECONDS)):
        until = time.monotonic() + seconds
        told: set[int] = set()
        while True:
            _reaped(program)
            left = _descendants() or _descendants()  # a parent that goes while they are read hides its children
            if not left:
                return
            for pid in left - told if number is signal.SIGTERM else left:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, number)
            told |= left
            if time.monotonic() > until:
                break
            time.sleep(0.01)


def _descendants() -> set[int]:
    """All processes below this one. Orphans of theirs are ours. The first thread of one that is ending is a zombie while its
    children still are its own."""
    parents: dict[int, int] = {}
    ended: set[int] = set()
    if os.path.isdir("/proc/self"):
        for name in os.listdir("/proc"):
            if name.isdigit():
                with contextlib.suppress(OSError, IndexError, ValueError), open(f"/proc/{name}/stat", "rb") as stat:
                    fields = stat.read().rpartition(b")")[2].split()
                    parents[int(name)] = int(fields[1])
                    if fields[0] == b"Z":
                        ended.add(int(name))
    else:
        import subprocess  # where there is no /proc

        listed = subprocess.run(["/bin/ps", "-axo", "pid=,ppid="], capture_output=True, check=False)
        for line in listed.stdout.splitlines():
            pid, parent = line.split()
            parents[int(pid)] = int(parent)
    ours = {os.getpid()}
    while grown := {pid for pid, parent in parents.items() if parent in ours and pid not in ours}:
        ours |= grown
    return ours - ended - {os.getpid()}


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), sys.argv[2:]))
