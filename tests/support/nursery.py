"""Processes that start in milliseconds: forked from one that has imported everything and opened nothing.

`python -m tests.support.nursery MODULE` calls `MODULE.warm()` and then reads one JSON object a line:
{"spawn": number, "with": {...}} forks a child that runs `MODULE.run(**with)`, {"kill": number} kills one. It answers
{"ended": number, "code": exit code} for each.
"""

import importlib
import json
import os
import select
import signal
import subprocess
import sys
import time
import traceback
from pathlib import Path
from types import TracebackType
from typing import IO, Any, NoReturn, cast

from tests.support.workspace import REPOSITORY


class Nursery:
    """The client's side: children by number. Leaving the context kills them all."""

    def __init__(self, module: str, log: Path) -> None:
        with log.open("ab") as stderr:
            self._process = subprocess.Popen(
                (sys.executable, "-m", "tests.support.nursery", module),
                cwd=REPOSITORY,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
            )
        self._sink = cast("IO[bytes]", self._process.stdin)
        self._source = cast("IO[bytes]", self._process.stdout)
        self._codes: dict[int, int] = {}
        self._count = 0
        self._held = b""

    def spawn(self, **arguments: Any) -> int:
        """Start a child; its number."""
        self._count += 1
        self._tell({"spawn": self._count, "with": arguments})
        return self._count

    def kill(self, child: int) -> None:
        """SIGKILL, at whatever it is doing; without effect when it has ended."""
        self._tell({"kill": child})

    def code(self, child: int) -> int | None:
        """The exit code of a child that is known to have ended: `listen` learns of it."""
        return self._codes.get(child)

    def wait(self, child: int, seconds: float = 60) -> int:
        """The exit code of a child. Fails the test when it takes longer."""
        until = time.monotonic() + seconds
        while child not in self._codes:
            left = until - time.monotonic()
            assert left > 0, f"child {child} did not end within {seconds} s"
            self.listen(left)
        return self._codes[child]

    def __enter__(self) -> "Nursery":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._sink.close()
        self._process.wait(120)
        self._source.close()

    def _tell(self, message: dict[str, Any]) -> None:
        self._sink.write(json.dumps(message).encode() + b"\n")
        self._sink.flush()

    def listen(self, seconds: float) -> None:
        """Take note of children that end, for so long at most."""
        ready, _, _ = select.select([self._source], [], [], seconds)
        if not ready:
            return
        chunk = os.read(self._source.fileno(), 1 << 16)
        assert chunk, "the nursery has ended"
        *lines, self._held = (self._held + chunk).split(b"\n")
        for line in lines:
            message = json.loads(line)
            self._codes[message["ended"]] = message["code"]


def main(module_name: str) -> None:
    module = importlib.import_module(module_name)
    module.warm()
    children: dict[int, int] = {}
    woken, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, _note)
    held = b""
    while True:
        ready, _, _ = select.select([0, woken], [], [])
        if woken in ready:
            os.read(woken, 1 << 16)
            _collect(children)
        if 0 in ready:
            chunk = os.read(0, 1 << 16)
            if not chunk:
                break
            *lines, held = (held + chunk).split(b"\n")
            for line in lines:
                _obey(json.loads(line), children, module)
    for pid in children:
        os.kill(pid, signal.SIGKILL)
    for pid in children:
        os.waitpid(pid, 0)


def _note(number: int, _: object) -> None:
    """That a handler is there makes the signal write to the pipe."""


def _collect(children: dict[int, int]) -> None:
    for pid in list(children):
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            code = os.waitstatus_to_exitcode(status)
            os.write(1, json.dumps({"ended": children.pop(pid), "code": code}).encode() + b"\n")


def _obey(order: dict[str, Any], children: dict[int, int], module: Any) -> None:
    if "kill" in order:
        for pid, number in children.items():
            if number == order["kill"]:
                os.kill(pid, signal.SIGKILL)
        return
    pid = os.fork()
    if pid == 0:
        _live(module, order["with"])
    children[pid] = order["spawn"]


def _live(module: Any, arguments: dict[str, Any]) -> NoReturn:
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)
    os.dup2(2, 1)
    try:
        module.run(**arguments)
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1])
