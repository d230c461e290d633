"""Runs a program under a deadline, in a group of its own that does not outlive the call."""

import json
import os
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

LAST_WORDS_SECONDS = 5.0


class DeadlinePassed(AssertionError):
    """A program was still running at its deadline; what it printed until then is in the message, and `finished`."""

    def __init__(self, message: str, finished: "Finished | None" = None) -> None:
        super().__init__(message)
        self.finished = finished


@dataclass(frozen=True)
class Finished:
    """What a program left behind. `exit_code` is negative when a signal ended it; `seconds` is wall time."""

    command: tuple[str, ...]
    exit_code: int
    stdout: str
    stderr: str
    seconds: float

    @property
    def events(self) -> list[dict[str, Any]]:
        """The lines of stdout that are JSON objects."""
        events: list[dict[str, Any]] = []
        for line in self.stdout.splitlines():
            with suppress(json.JSONDecodeError):
                event = json.loads(line)
                if isinstance(event, dict):
                    events.append(event)
        return events

    def report(self) -> str:
        """Everything, for the message of a failed assertion."""
        return f"$ {' '.join(self.command)}\nexit {self.exit_code}\n{self.stdout}\n{self.stderr}"


def run(
    command: Sequence[str | Path],
    *,
    cwd: Path,
    env: Mapping[str, str],
    deadline: float = 200.0,
    ends: Callable[[str], bool] = lambda _: False,
    stop: threading.Event | None = None,
) -> Finished:
    """Runs `command` with nothing on its stdin and exactly `env`; never longer than `deadline` seconds.

    After a line of stdout for which `ends` is true the program has a few seconds to leave; then it is stopped, and that
    counts as an exit with 0 (claude may linger after its result). When `stop` is set, the deadline has passed. Raises
    DeadlinePassed.
    """
    words = tuple(str(word) for word in command)
    lines: list[str] = []
    ended = False
    overdue = threading.Event()
    started = time.monotonic()
    with (
        tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as stderr,
        subprocess.Popen(
            words,
            cwd=cwd,
            env=dict(env),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            errors="replace",
            start_new_session=True,
        ) as process,
    ):
        over = stop or threading.Event()
        done = threading.Event()

        def watch() -> None:
            over.wait(deadline)
            if not done.is_set():
                overdue.set()
                _kill_group(process.pid)

        watchdog = threading.Thread(target=watch, daemon=True)
        watchdog.start()
        try:
            assert process.stdout is not None
            for line in process.stdout:
                lines.append(line)
                if ended := ends(line):
                    break
            with suppress(subprocess.TimeoutExpired):
                process.wait(LAST_WORDS_SECONDS if ended else None)
        finally:
            done.set()
            over.set()
            watchdog.join()
            lingered = process.poll() is None
            _kill_group(process.pid)
        exit_code = process.wait()
        stderr.seek(0)
        finished = Finished(
            words, 0 if lingered and ended else exit_code, "".join(lines), stderr.read(), time.monotonic() - started
        )
    if overdue.is_set():
        raise DeadlinePassed(f"still running after {deadline:g} s\n{finished.report()}", finished)
    return finished


@contextmanager
def running(
    command: Sequence[str | Path], *, cwd: Path, env: Mapping[str, str], deadline: float = 200.0
) -> Generator[str]:
    """A server in the background, stopped with its group at the end; yields the first line of its stdout.

    Raises DeadlinePassed when that line does not come within `deadline` seconds, or never.
    """
    with (
        tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as stderr,
        subprocess.Popen(
            [str(word) for word in command],
            cwd=cwd,
            env=dict(env),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            start_new_session=True,
        ) as process,
    ):
        watchdog = threading.Timer(deadline, _kill_group, [process.pid])
        watchdog.start()
        try:
            assert process.stdout is not None
            first_line = process.stdout.readline()
            watchdog.cancel()
            if not first_line:
                stderr.seek(0)
                raise DeadlinePassed(f"it said nothing on stdout within {deadline:g} s:\n{stderr.read()}")
            yield first_line
        finally:
            watchdog.cancel()
            _kill_group(process.pid)


def _kill_group(leader: int) -> None:
    # The leader may be gone while others of its group are not.
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, signal.SIGKILL)
