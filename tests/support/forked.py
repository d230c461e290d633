"""Python programs that start in milliseconds, for tests whose subject is not the start: each is forked from one process
that has imported the product and opened nothing.

`Forked(["wvo_mcp", ...], ...)` is to a test what `python -m wvo_mcp ...` is: a process of its own, with these
descriptors, environment and folder, to be signalled, waited for and killed.
"""

import atexit
import gc
import importlib
import json
import os
import pkgutil
import runpy
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryFile
from threading import Lock
from typing import Any

import anyio

import wvo_mcp

REPOSITORY = Path(__file__).resolve().parents[2]


def forkable(environ: Mapping[str, str]) -> bool:
    """Whether a program may be forked under this environment. What Python itself reads at its start, and ids of traces,
    which would be the same in each child, take a start of its own."""
    plain = environ.get("PYTHONPATH", str(REPOSITORY)) == str(REPOSITORY)
    return plain and not {name for name in environ if name.startswith(("LD_", "DYLD_", "OTEL_", "COVERAGE_"))}


class Forked:
    """A running `python -m MODULE ARGUMENTS`."""

    def __init__(
        self,
        command: Sequence[str],
        *,
        cwd: Path,
        env: Mapping[str, str],
        stdin: int,
        stdout: int,
        stderr: int,
        start_new_session: bool = False,
        constants: Mapping[str, float] | None = None,
    ) -> None:
        """`command` is the module and its arguments; the descriptors stay the caller's to close. `constants` of modules,
        such as `wvo_mcp.store.sqlite.connection.BUSY_BUDGET_SECONDS`, have another value there."""
        self._lock = Lock()
        self._news, told = os.pipe()
        self._heard: list[str] = []
        order = {
            "command": [*command],
            "cwd": str(cwd),
            "env": dict(env),
            "session": start_new_session,
            "constants": dict(constants or {}),
        }
        try:
            _ask(order, [stdin, stdout, stderr, told])
        finally:
            os.close(told)
        self._listen(lambda: len(self._heard) > 0, None)
        self.pid = int(self._heard[0])

    def poll(self) -> int | None:
        """The exit code, negative for a signal; None while it runs."""
        self._listen(lambda: self.returncode is not None, 0)
        return self.returncode

    @property
    def returncode(self) -> int | None:
        """As far as is known."""
        ended = [news for news in self._heard[1:] if news != "stopped"]
        return int(ended[0]) if ended else None

    def wait(self, timeout: float | None = None) -> int:
        """The exit code. Raises subprocess.TimeoutExpired."""
        if not self._listen(lambda: self.returncode is not None, timeout):
            raise subprocess.TimeoutExpired(f"forked process {self.pid}", timeout or 0)
        assert self.returncode is not None
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Without effect when it has ended."""
        if self.poll() is None:
            with suppress(ProcessLookupError):  # its parent has just learned of its end, and tells it in a moment
                os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def stop(self) -> None:
        """SIGSTOP; returns when every thread of it stands still, or it has ended."""
        before = len(self._heard)
        self.send_signal(signal.SIGSTOP)
        self._listen(lambda: len(self._heard) > before or self.returncode is not None, None)

    def _listen(self, heard: Callable[[], bool], timeout: float | None) -> bool:
        """Take in what the parent tells of it until `heard`, for so long at most; whether it was."""
        until = None if timeout is None else time.monotonic() + timeout
        with self._lock:
            while not heard():
                left = None if until is None else max(0.0, until - time.monotonic())
                if not select.select([self._news], [], [], left)[0]:
                    return False
                chunk = os.read(self._news, 64)
                assert chunk, "the process that others are forked from is gone"
                self._heard += chunk.decode().split()
        return True

    def __del__(self) -> None:
        os.close(self._news)


class Speaking(Forked):
    """One that leads a session of its own and whose output is read from `stdout`, to be closed by the caller."""

    def __init__(
        self,
        command: Sequence[str],
        *,
        cwd: Path,
        env: Mapping[str, str],
        stderr: int,
        constants: Mapping[str, float] | None = None,
    ) -> None:
        ours, theirs = os.pipe()
        self.stdout = os.fdopen(ours, "rb")
        nothing = os.open(os.devnull, os.O_RDONLY)
        try:
            super().__init__(
                command, cwd=cwd, env=env, stdin=nothing, stdout=theirs, stderr=stderr, start_new_session=True,
                constants=constants,
            )  # fmt: skip
        finally:
            os.close(nothing)
            os.close(theirs)


def run(
    command: Sequence[str], *, cwd: Path, env: Mapping[str, str], timeout: float = 120, input: str = ""
) -> subprocess.CompletedProcess[str]:
    """`subprocess.run` of `python -m MODULE ARGUMENTS`, with what it wrote."""
    with TemporaryFile() as given, TemporaryFile() as out, TemporaryFile() as err:
        given.write(input.encode())
        given.seek(0)
        child = Forked(command, cwd=cwd, env=env, stdin=given.fileno(), stdout=out.fileno(), stderr=err.fileno())
        try:
            code = child.wait(timeout)
        finally:
            child.kill()
        out.seek(0)
        err.seek(0)
        return subprocess.CompletedProcess([*command], code, out.read().decode(), err.read().decode())


_parents: list[socket.socket] = []
_one_by_one = Lock()


def _ask(order: dict[str, Any], descriptors: list[int]) -> None:
    """Have a child forked, by a process that is started for the first and ends when this one does."""
    with _one_by_one:
        if not _parents:
            ours, theirs = socket.socketpair()
            with theirs:
                process = subprocess.Popen(
                    [sys.executable, "-m", "tests.support.forked"], cwd=REPOSITORY, stdin=theirs.fileno()
                )
            _parents.append(ours)
            atexit.register(lambda: (ours.close(), process.wait(60)))
        socket.send_fds(_parents[0], [json.dumps(order).encode() + b"\n"], descriptors)
        assert _parents[0].recv(1), "the process that others are forked from is gone"


def _warm() -> None:
    for module in pkgutil.walk_packages(wvo_mcp.__path__, "wvo_mcp."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    anyio.run(anyio.sleep, 0)  # loads what runs the loop
    gc.collect()
    gc.freeze()


def _order(connection: socket.socket) -> tuple[dict[str, Any], list[int]] | None:
    """The next one, with its descriptors; None when nobody is left to ask."""
    text, descriptors = b"", list[int]()
    while not text.endswith(b"\n"):
        chunk, found, _, _ = socket.recv_fds(connection, 1 << 16, 4)
        if not chunk:
            return None
        text += chunk
        descriptors += found
    return json.loads(text), descriptors


def _children_of(connection: socket.socket) -> tuple[dict[str, Any], list[int]] | None:
    """Fork a child for each order. Returns in the child, with what it is to become, and here when there is no more to do."""
    told: dict[int, int] = {}
    woken, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, _note)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    while True:
        ready, _, _ = select.select([connection, woken], [], [])
        if woken in ready:
            os.read(woken, 1 << 12)
            _report(told)
        if connection in ready:
            asked = _order(connection)
            if asked is None:
                return None
            order, descriptors = asked
            pid = os.fork()
            if pid == 0:
                signal.set_wakeup_fd(-1)
                for number in (*told.values(), descriptors.pop(), woken, wake):
                    os.close(number)
                connection.close()
                return order, descriptors
            for number in descriptors[:3]:
                os.close(number)
            told[pid] = descriptors[3]
            _tell(told[pid], pid)
            connection.send(b".")


def _note(number: int, _: object) -> None:
    """That a handler is there makes the signal write to the pipe."""


def _report(told: dict[int, int]) -> None:
    for pid in [*told]:
        found, status = os.waitpid(pid, os.WNOHANG | os.WUNTRACED)
        if found and os.WIFSTOPPED(status):
            _tell(told[pid], "stopped")
        elif found:
            _tell(told[pid], os.waitstatus_to_exitcode(status))
            os.close(told.pop(pid))


def _tell(reader: int, news: object) -> None:
    with suppress(BrokenPipeError):
        os.write(reader, f"{news}\n".encode())


def _become(order: dict[str, Any], descriptors: list[int]) -> None:
    """What `python -m` makes of a fresh process."""
    if order["session"]:
        os.setsid()
    for standard, given in enumerate(descriptors):
        os.dup2(given, standard)
        os.close(given)
    # The old ones have nothing to write: whoever is to be forked writes nothing.
    sys.stdin = os.fdopen(0, encoding="utf-8")
    sys.stdout = sys.__stdout__ = os.fdopen(1, "w", 1 if os.isatty(1) else -1, "utf-8")
    sys.stderr = sys.__stderr__ = os.fdopen(2, "w", 1, "utf-8", "backslashreplace")
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.clear()
    os.environ.update(order["env"])
    time.tzset()
    os.chdir(order["cwd"])
    for path, value in order["constants"].items():
        place, _, name = path.rpartition(".")
        assert hasattr(sys.modules[place], name), path
        setattr(sys.modules[place], name, value)
    module, *arguments = order["command"]
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


def main() -> None:
    _warm()
    connection = socket.socket(fileno=os.dup(0))
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)
    os.close(nothing)
    child = _children_of(connection)
    if child is not None:
        _become(*child)


if __name__ == "__main__":
    main()
