"""A project folder and a shell in it: commands run in this process, as processes, and on a terminal."""

import codecs
import io
import json
import os
import pty
import re
import select
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support import forked
from tests.support.forked import Forked
from tests.support.waiting import eventually
from wvo_mcp import app
from wvo_mcp.faces.cli import main

REPOSITORY = Path(__file__).resolve().parents[3]
PROGRAM = [sys.executable, "-m", "wvo_mcp"]
DEADLINE = 200.0


@dataclass(frozen=True)
class Ran:
    """What a command left behind; on a terminal both streams are in `out`."""

    code: int
    out: str
    err: str = ""

    @property
    def text(self) -> str:
        """`out` without colours."""
        return re.sub("\x1b\\[[0-9;]*m", "", self.out)

    @property
    def json(self) -> Any:
        assert self.out.count("\n") == 1, f"one line of JSON is expected: {self.out!r} {self.err!r}"
        return json.loads(self.out)

    @property
    def error(self) -> dict[str, Any]:
        assert self.code == 1, (self.code, self.out, self.err)
        return self.json["error"]


class Shell:
    """Works in `root`, a fresh git repository, with a home of its own."""

    def __init__(
        self, root: Path, home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        self.root = root
        self.home = home
        self._monkeypatch = monkeypatch
        self._capsys = capsys

    def __call__(self, *argv: str, stdin: str = "") -> Ran:
        """Run a command in this process, with stdout and stdin piped."""
        self._monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin.encode())))
        self._capsys.readouterr()
        code = main([*argv], lambda: app)
        seen = self._capsys.readouterr()
        return Ran(code, seen.out, seen.err)

    def environment(self, **more: str) -> dict[str, str]:
        plain = {
            "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin",
            "HOME": str(self.home),
            "PYTHONPATH": str(REPOSITORY),
            "LANG": "C.UTF-8",
            "TERM": "xterm-256color",
        }
        return {**plain, **more}

    def process(self, *argv: str, stdin: str = "", **environ: str) -> Ran:
        """Run a command as a process of its own, with every stream piped."""
        done = forked.run(
            ["wvo_mcp", *argv], cwd=self.root, env=self.environment(**environ), input=stdin, timeout=DEADLINE
        )
        return Ran(done.returncode, done.stdout, done.stderr)

    def terminal(self, *argv: str, **environ: str) -> "Terminal":
        """Start a command on a terminal of 100 columns and 50 lines."""
        environ = {"COLUMNS": "100", "LINES": "50", **environ}
        return Terminal(["wvo_mcp", *argv], self.root, self.environment(**environ))

    def on_terminal(self, *argv: str, **environ: str) -> Ran:
        """Run a command in this process, with output that says it is a terminal of 100 columns and 50 lines."""
        with self._monkeypatch.context() as patch:
            for name, value in {"COLUMNS": "100", "LINES": "50", "TERM": "xterm-256color", **environ}.items():
                patch.setenv(name, value)
            patch.setattr(sys.stdout, "isatty", lambda: True)
            patch.setattr(sys.stderr, "isatty", lambda: True)
            ran = self(*argv)
        return Ran(ran.code, ran.err + ran.out)


class Terminal:
    """A process whose streams are a pseudo-terminal."""

    def __init__(self, command: list[str], cwd: Path, environ: dict[str, str]) -> None:
        self._fd, inner = pty.openpty()
        self._process = Forked(
            command, cwd=cwd, env=environ, stdin=inner, stdout=inner, stderr=inner, start_new_session=True
        )
        os.close(inner)
        self.seen = ""
        self._text = codecs.getincrementaldecoder("utf-8")("replace")  # a sign may come in two pieces

    def __enter__(self) -> "Terminal":
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._fd)

    @property
    def pid(self) -> int:
        return self._process.pid

    def until(self, there: Callable[[str], bool]) -> str:
        """Everything seen so far, once `there` holds of it. Fails at the deadline or at the end of the output."""
        deadline = time.monotonic() + DEADLINE
        while not there(self.seen):
            assert self._read(deadline), f"it ended, or took too long: {self.seen!r}"
        return self.seen

    def until_it_reads(self) -> None:
        """Until the process waits for what is typed: an interrupt between the question and the wait is lost in C code."""
        eventually(lambda: _is_reading(self.pid), DEADLINE)

    def type(self, text: str) -> None:
        os.write(self._fd, text.encode())

    def interrupt(self) -> None:
        """What Ctrl-C does."""
        os.killpg(self._process.pid, signal.SIGINT)

    def finish(self) -> Ran:
        deadline = time.monotonic() + DEADLINE
        while self._read(deadline):
            pass
        return Ran(self._process.wait(DEADLINE), self.seen.replace("\r\n", "\n"))

    def _read(self, deadline: float) -> bool:
        ready, _, _ = select.select([self._fd], [], [], max(0.0, deadline - time.monotonic()))
        try:
            chunk = os.read(self._fd, 65_536) if ready else b""
        except OSError:
            return False  # the last process closed the terminal
        self.seen += self._text.decode(chunk)
        return bool(chunk)


def _is_reading(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/wchan").read_text().startswith("n_tty_read") or _in_read(pid)
    except OSError:
        return False


def _in_read(pid: int) -> bool:
    return Path(f"/proc/{pid}/syscall").read_text().startswith("0 0x0 ")
