"""A client of the stdio server: JSON-RPC by hand over raw pipes, light enough that sixteen fit beside sixteen servers.

One thread uses a client; `kill`, `freeze` and `thaw` may come from another. Every wait has a deadline.
"""

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.support.forked import Forked, forkable

SERVER = (sys.executable, "-m", "wvo_mcp")
START_SECONDS = 240.0
"""Sixteen servers that start at once on two cores take their time."""
CALL_SECONDS = 120.0

HANDSHAKE = "2025-06-18"
MODERN = "2026-07-28"
_META = "io.modelcontextprotocol/"

Message = dict[str, Any]


class Gone(Exception):
    """The server closed its end before it answered."""


class Late(Exception):
    """No answer before the deadline."""


class Refused(Exception):
    """A tool answered an error: `code`, `retryable`, `details` and `hint` as in the contract."""

    def __init__(self, error: Message) -> None:
        super().__init__(f"{error['code']}: {error['message']}")
        self.code: str = error["code"]
        self.retryable: bool = error["retryable"]
        self.details: Message = error["details"]
        self.hint: str = error["hint"]


class StdioClient:
    """One server process and its client's end of the pipes. stderr goes to the file `log`."""

    def __init__(
        self,
        environ: Mapping[str, str],
        cwd: Path,
        log: Path,
        *,
        era: str = HANDSHAKE,
        enter: Sequence[str] = (),
        constants: Mapping[str, float] | None = None,
    ) -> None:
        """`enter` is a command that runs the server elsewhere (`ip netns exec NAME`) and replaces itself with it. With
        `constants` (of modules, by their full names) the server is forked where it can be; without it is started as
        clients do."""
        self.era = era
        self.log = log
        self.notifications: list[Message] = []
        self._answers: dict[str | int, list[Message]] = {}
        self._strays: list[Message] = []
        self._last_id = 0
        self._held = bytearray()
        self._unsent = bytearray()
        self._ended = False
        theirs, ours = os.pipe(), os.pipe()
        self._process: Forked | subprocess.Popen[bytes]
        with log.open("ab") as stderr:
            if constants is None or enter or not forkable(environ):
                assert not constants, "only what is forked has other constants"
                self._process = subprocess.Popen(
                    [*enter, *SERVER], cwd=cwd, env=dict(environ), stdin=theirs[0], stdout=ours[1], stderr=stderr
                )
            else:
                self._process = Forked(
                    ["wvo_mcp"],
                    cwd=cwd,
                    env=environ,
                    stdin=theirs[0],
                    stdout=ours[1],
                    stderr=stderr.fileno(),
                    constants=constants,
                )
        os.close(theirs[0])
        os.close(ours[1])
        self._sink, self._source = os.fdopen(theirs[1], "wb", 0), os.fdopen(ours[0], "rb", 0)
        for pipe in (self._source, self._sink):
            os.set_blocking(pipe.fileno(), False)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    @property
    def strays(self) -> list[Message]:
        """Answers without an id that was asked for: to lines that could not be understood."""
        return self._strays

    def open(self, deadline: float = START_SECONDS) -> "StdioClient":
        """Shake hands as the era does, and wait until a tool has answered: from then on calls are not delayed by the start."""
        if self.era == MODERN:
            self.result("server/discover", deadline=deadline)
        else:
            hello = {"protocolVersion": self.era, "capabilities": {}, "clientInfo": {"name": "tests", "version": "1"}}
            self.result("initialize", hello, deadline=deadline)
            self.notify("notifications/initialized")
        self.call("plan_next", {"limit": 1}, deadline=deadline)
        return self

    def post(
        self, method: str, params: Mapping[str, Any] | None = None, *, message_id: str | int | None = None
    ) -> str | int:
        """Send a request and do not wait; its id, for `receive`."""
        if message_id is None:
            self._last_id += 1
            message_id = self._last_id
        asked = dict(params or {})
        if self.era == MODERN:
            asked["_meta"] = {
                f"{_META}protocolVersion": MODERN,
                f"{_META}clientCapabilities": {},
                f"{_META}clientInfo": {"name": "tests", "version": "1"},
            }
        self.send({"jsonrpc": "2.0", "id": message_id, "method": method, "params": asked})
        return message_id

    def notify(self, method: str, params: Mapping[str, Any] | None = None) -> None:
        self.send({"jsonrpc": "2.0", "method": method, **({} if params is None else {"params": params})})

    def send(self, message: Mapping[str, Any]) -> None:
        self.send_line(json.dumps(message).encode())

    def send_line(self, line: bytes) -> None:
        """Send any bytes as one line. Raises Gone; what does not fit into the pipe is sent while waiting for answers."""
        self._unsent += line + b"\n"
        self._push()

    def receive(self, message_id: str | int, deadline: float = CALL_SECONDS) -> Message:
        """The whole answer to a request that was posted. Raises Gone, Late."""
        self._pump(lambda: bool(self._answers.get(message_id)), deadline)
        return self._answers[message_id].pop(0)

    def stray(self, deadline: float = CALL_SECONDS) -> Message:
        """The next answer without an id. Raises Gone, Late."""
        self._pump(lambda: bool(self._strays), deadline)
        return self._strays.pop(0)

    def result(
        self, method: str, params: Mapping[str, Any] | None = None, *, deadline: float = CALL_SECONDS
    ) -> Message:
        """The result of a request. An error of the protocol fails the test."""
        answer = self.receive(self.post(method, params), deadline)
        assert "result" in answer, f"{method} answered {answer.get('error')}"
        return answer["result"]

    def answer(self, tool: str, arguments: Any = None, *, deadline: float = CALL_SECONDS) -> Message:
        """The result of a tool call as it stands on the wire: content, isError, structuredContent."""
        return self.result("tools/call", {"name": tool, "arguments": arguments or {}}, deadline=deadline)

    def call(self, tool: str, arguments: Mapping[str, Any] | None = None, *, deadline: float = CALL_SECONDS) -> Message:
        """What a tool gives. Raises Refused, Gone, Late."""
        return given(self.answer(tool, arguments, deadline=deadline))

    def end(self, deadline: float = CALL_SECONDS) -> int:
        """Close the pipe to the server and wait for it to go; its exit code."""
        self._sink.close()
        try:
            return self._process.wait(deadline)
        finally:
            self.close()

    def kill(self) -> None:
        """SIGKILL, at whatever it is doing."""
        self._process.kill()

    def wait(self, deadline: float = CALL_SECONDS) -> int:
        """Wait until the server is gone; its exit code, negative for a signal."""
        return self._process.wait(deadline)

    def freeze(self) -> None:
        """SIGSTOP; returns when every thread of it stands still."""
        if isinstance(self._process, Forked):
            self._process.stop()
        else:
            self._process.send_signal(signal.SIGSTOP)
            os.waitid(os.P_PID, self.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)

    def thaw(self) -> None:
        self._process.send_signal(signal.SIGCONT)

    def close(self) -> None:
        """Nothing is left behind: neither process nor pipe."""
        self._process.kill()
        self._process.wait(CALL_SECONDS)
        self._sink.close()
        self._source.close()

    def _pump(self, done: Callable[[], bool], seconds: float) -> None:
        until = time.monotonic() + seconds
        while not done():
            if self._ended:
                raise Gone(f"the server {self.pid} closed its end")
            left = until - time.monotonic()
            if left <= 0:
                raise Late(f"no answer from the server {self.pid} within {seconds} s")
            poll = select.poll()
            poll.register(self._source, select.POLLIN)
            if self._unsent:
                poll.register(self._sink, select.POLLOUT)
            ready = dict(poll.poll(left * 1000))
            if self._sink.fileno() in ready:
                self._push()
            if self._source.fileno() in ready:
                self._pull()

    def _push(self) -> None:
        try:
            while self._unsent:
                written = os.write(self._sink.fileno(), self._unsent[: 1 << 16])
                del self._unsent[:written]
        except BlockingIOError:
            return
        except BrokenPipeError:
            raise Gone(f"the server {self.pid} no longer reads") from None

    def _pull(self) -> None:
        try:
            chunk = os.read(self._source.fileno(), 1 << 16)
        except BlockingIOError:
            return
        if not chunk:
            self._ended = True
            return
        *lines, rest = (self._held + chunk).split(b"\n")
        self._held = bytearray(rest)
        for line in lines:
            self._take(json.loads(line))

    def _take(self, message: Message) -> None:
        if "method" in message:
            self.notifications.append(message)
        elif message.get("id") is None:
            self._strays.append(message)
        else:
            self._answers.setdefault(message["id"], []).append(message)


def given(answer: Message) -> Message:
    """What a tool's answer gives. Raises Refused."""
    if answer["isError"]:
        raise Refused(answer["structuredContent"]["error"])
    return answer["structuredContent"]
