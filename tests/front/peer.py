"""The client's end of a wire, inside the test's own process."""

import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import anyio.to_thread

import wvo_mcp
from wvo_mcp.front.opening import Opening, Record, load
from wvo_mcp.front.wire import Wire

PATIENCE = 120.0
"""Seconds until a missing answer fails the test."""
PREFIX = "io.modelcontextprotocol/"
CLIENT = {"name": "tester", "version": "1.0"}
ENVELOPE = {f"{PREFIX}protocolVersion": "2026-07-28", f"{PREFIX}clientInfo": CLIENT, f"{PREFIX}clientCapabilities": {}}
INITIALIZED = {"jsonrpc": "2.0", "method": "notifications/initialized"}

Message = dict[str, Any]


@cache
def recorded() -> Message:
    return load()


def request(request_id: int | str, method: str, params: Message | None = None) -> Message:
    return {"jsonrpc": "2.0", "id": request_id, "method": method, **({"params": params} if params is not None else {})}


def initialize(request_id: int | str = 0, version: str = "2025-11-25") -> Message:
    params = {"protocolVersion": version, "capabilities": {}, "clientInfo": CLIENT}
    return request(request_id, "initialize", params)


def modern(request_id: int | str, method: str, **params: Any) -> Message:
    return request(request_id, method, {**params, "_meta": ENVELOPE})


def call(request_id: int | str, tool: str, arguments: Message | None = None) -> Message:
    return request(request_id, "tools/call", {"name": tool, "arguments": arguments or {}})


def cancelled(request_id: int | str) -> Message:
    return {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": request_id}}


class Line:
    """The client's end of two pipes."""

    def __init__(self, to_server: int, from_server: int) -> None:
        self._to, self._from = to_server, from_server
        self._held = b""

    def says(self, *messages: Message | bytes) -> None:
        """All in one write; bytes go as they are, messages as one line each."""
        lines = [
            message if isinstance(message, bytes) else json.dumps(message).encode() + b"\n" for message in messages
        ]
        data = b"".join(lines)
        while data:
            data = data[os.write(self._to, data) :]

    def hears(self) -> Message:
        """The next message; fails after two minutes without one, or at the end of the stream."""
        deadline = time.monotonic() + PATIENCE
        while b"\n" not in self._held:
            left = deadline - time.monotonic()
            assert left > 0, f"no whole message within {PATIENCE} s, only {self._held[:200]!r}"
            if select.select([self._from], [], [], left)[0]:
                chunk = os.read(self._from, 1 << 16)
                assert chunk, "the stream ended"
                self._held += chunk
        line, self._held = self._held.split(b"\n", 1)
        return json.loads(line)

    async def heard(self, count: int = 1) -> list[Message]:
        """The next messages, while the loop runs on."""
        return [await anyio.to_thread.run_sync(self.hears) for _ in range(count)]

    def hears_only(self, request_id: int | str) -> Message:
        """The next message, which must be the answer to this request: nothing else was answered before."""
        message = self.hears()
        assert message.get("id") == request_id, message
        return message

    def hears_all(self) -> list[Message]:
        """Every message until the server closes its end."""
        while chunk := os.read(self._from, 1 << 16):
            self._held += chunk
        lines, self._held = self._held.splitlines(), b""
        return [json.loads(line) for line in lines]

    def hears_the_end(self) -> None:
        """Nothing more comes, and the server has closed its end."""
        assert self._held == b""
        assert os.read(self._from, 1 << 16) == b""

    def stops_talking(self) -> None:
        """EOF for the server."""
        if self._to >= 0:
            os.close(self._to)
        self._to = -1

    def stops_listening(self) -> None:
        if self._from >= 0:
            os.close(self._from)
        self._from = -1


class Peer(Line):
    """Speaks to `wire`, whose other side is the test's to serve."""

    def __init__(self, toolsets: frozenset[str] | None) -> None:
        source, to_server = os.pipe()
        from_server, self._sink = os.pipe()
        super().__init__(to_server, from_server)
        self.wire = Wire(source, self._sink, Opening(Record(recorded(), toolsets)))

    def server_leaves(self) -> None:
        """As a process does at its end: everything is written, then the pipe is closed."""
        self.wire.close()
        os.close(self._sink)


class Program(Line):
    """A server process."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdin is not None and process.stdout is not None
        super().__init__(os.dup(process.stdin.fileno()), os.dup(process.stdout.fileno()))
        process.stdin.close()
        process.stdout.close()
        self.process = process

    def ends(self) -> tuple[int, str]:
        """Its exit code and what it wrote to stderr, within two minutes."""
        assert self.process.stderr is not None
        code = self.process.wait(PATIENCE)
        return code, self.process.stderr.read().decode()


@contextmanager
def program(root: Path, *command: str, **environ: str) -> Generator[Program]:
    """`python COMMAND` (default: the server) in this workspace; killed at the end when it still runs."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("WVO_", "CLAUDE", "ROOT"))}
    process = subprocess.Popen(
        [sys.executable, *(command or ("-m", "wvo_mcp"))],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**clean, "ROOT": str(root), "PYTHONPATH": str(Path(wvo_mcp.__path__[0]).parent), **environ},
    )
    here = Program(process)
    try:
        yield here
    finally:
        here.stops_talking()
        here.stops_listening()
        process.kill()
        process.wait()
        assert process.stderr is not None
        process.stderr.close()


@contextmanager
def peer(toolsets: frozenset[str] | None = None) -> Generator[Peer]:
    """A peer whose wire reads already and was not yet handed over."""
    here = Peer(toolsets)
    here.wire.start()
    try:
        yield here
    finally:
        here.stops_talking()
        here.stops_listening()
