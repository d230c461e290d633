"""The client's end of the pipes: lines are read and answered from here before the application is there."""

from __future__ import annotations

import json
import os
import select
import threading
from collections import deque

from wvo_mcp.front.opening import is_object

TYPE_CHECKING = False  # typing itself would cost milliseconds
if TYPE_CHECKING:
    from asyncio import Future
    from collections.abc import Mapping
    from typing import Any

    from wvo_mcp.front.opening import Opening

PARSE_ERROR, INVALID_REQUEST, INTERNAL_ERROR = -32700, -32600, -32603


class BadFrame(ValueError):
    """A line that is no JSON-RPC message; `answer` is the error that it earns."""

    def __init__(self, code: int, problem: str, request_id: str | int | None = None) -> None:
        self.answer = error(request_id, code, problem)


def error(request_id: str | int | None, code: int, message: str) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": request_id, "error": {"code": code, "message": message}}


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


_decode = json.JSONDecoder(parse_constant=_no_constant).decode


def frame(line: bytes | bytearray) -> dict[str, Any] | None:
    """The request or notification in a line; None for what needs no answer (a response, a broken notification).

    Raises BadFrame for what is not JSON in UTF-8 or not JSON-RPC 2.0.
    """
    try:
        message: Any = _decode(line.decode())
    except (ValueError, RecursionError):
        raise BadFrame(PARSE_ERROR, "Parse error: a line is one JSON object in UTF-8.") from None
    if not is_object(message):
        raise BadFrame(INVALID_REQUEST, "Invalid Request: a line is one JSON object; batches are not served.")
    request_id = message.get("id")
    named = isinstance(message.get("method"), str)
    if not named and ("result" in message or "error" in message):
        return None
    if "id" in message and (isinstance(request_id, bool) or not isinstance(request_id, str | int)):
        raise BadFrame(INVALID_REQUEST, "Invalid Request: id must be a string or an integer.")
    if named and message.get("jsonrpc") == "2.0" and isinstance(message.get("params"), dict | None):
        return message
    if named and "id" not in message:
        return None
    raise BadFrame(INVALID_REQUEST, "Invalid Request: jsonrpc, method or params is missing or wrong.", request_id)


def encode(message: Mapping[str, Any]) -> bytes:
    """One line of compact JSON, without its newline."""
    try:
        return json.dumps(message, separators=(",", ":"), ensure_ascii=False).encode()
    except UnicodeEncodeError:  # a lone surrogate can be escaped, but not encoded
        return json.dumps(message, separators=(",", ":")).encode()


LINE_BYTES = 16 << 20
"""A longer line is discarded up to its newline and answered as invalid."""
INBOX_MESSAGES = 1_000
UNSENT_BYTES = 64 << 20
"""Beyond either, what the client sends next stays in its pipe."""
FLUSH_SECONDS = 5.0
"""How long a client may take at the end to read what it was sent."""


class Wire:
    """The client's end of the pipes. Reads in a thread; writes at once what fits, the rest in a thread. Until it is handed
    over, messages pass through the opening; from then on they go to the receiver as they come."""

    muted = "wvo-mcp:answered"
    """A request with this id was answered by the wire; it must not be answered again."""

    def __init__(self, source: int, sink: int, opening: Opening) -> None:
        """`source` and `sink` are file descriptors."""
        self.acknowledged: set[str | int] = set()
        """Ids of subscriptions that the wire has acknowledged; it must not be done again."""
        self._source, self._sink = source, sink
        self._turn = threading.Condition()
        self.opening = opening
        self._opens, self._begun = True, False
        self._inbox: deque[dict[str, Any]] = deque()
        self._waiter: Future[None] | None = None
        self._ended = self._hung_up = False
        self._failure: str | None = None
        self._unsent: deque[memoryview] = deque()
        self._unsent_bytes = 0
        self._sink_broken = False
        self._writer: threading.Thread | None = None
        self._writable = select.poll()
        self._writable.register(sink, select.POLLOUT)

    def start(self) -> None:
        threading.Thread(target=self._read, name="wire-reader", daemon=True).start()

    async def receive(self) -> dict[str, Any] | None:
        """The next request or notification, as JSON; None when the client has gone or is to be left."""
        import asyncio  # Late: it is slow to load, and was loaded by whoever runs the loop.

        while True:
            with self._turn:
                if self._hung_up:
                    return None
                if self._inbox:
                    if len(self._inbox) == INBOX_MESSAGES:
                        self._turn.notify_all()
                    return self._inbox.popleft()
                if self._ended:
                    return None
                waiter = self._waiter = asyncio.get_running_loop().create_future()
            try:
                await waiter
            finally:
                self._waiter = None

    def send(self, message: bytes) -> None:
        """Send one line. Never blocks; without effect when the client no longer reads."""
        with self._turn:
            if self._sink_broken:
                return
            rest = memoryview(message + b"\n")
            if not self._unsent:
                rest = self._push(rest)
            if rest:
                self._unsent.append(rest)
                self._unsent_bytes += len(rest)
                if self._writer is None:
                    self._writer = threading.Thread(target=self._write, name="wire-writer", daemon=True)
                    self._writer.start()
                self._turn.notify_all()

    def hand_over(self) -> None:
        """From now on the opening answers nothing."""
        with self._turn:
            self._opens = False

    def hang_up(self) -> None:
        """End the conversation: `receive` gives None from now on, whatever still waits."""
        self._hung_up = True
        self._wake()

    def refuse(self, message: str) -> None:
        """Answer every request that is still waiting, and every later one, with an error."""
        with self._turn:
            self._failure = message
            while self._inbox:
                self._take(self._inbox.popleft())

    def close(self) -> None:
        """Wait until everything is written, for a client that reads."""
        with self._turn:
            self._turn.wait_for(lambda: not self._unsent or self._sink_broken, FLUSH_SECONDS)

    def _read(self) -> None:
        held = bytearray()
        too_long = False
        while chunk := self._chunk():
            start = 0
            while (end := chunk.find(b"\n", start)) >= 0:
                held += chunk[start:end]
                self._line(held, too_long)
                held, too_long, start = bytearray(), False, end + 1
            held += chunk[start:]
            if len(held) > LINE_BYTES:
                held, too_long = bytearray(), True
        self._line(held, too_long)
        self._ended = True
        self._wake()

    def _chunk(self) -> bytes:
        with self._turn:
            self._turn.wait_for(
                lambda: self._hung_up or (len(self._inbox) < INBOX_MESSAGES and self._unsent_bytes < UNSENT_BYTES)
            )
            if self._hung_up:
                return b""
        try:
            return os.read(self._source, 1 << 16)
        except OSError:  # a terminal or socket that was torn down
            return b""

    def _line(self, line: bytearray, too_long: bool) -> None:
        try:
            if too_long or len(line) > LINE_BYTES:
                raise BadFrame(INVALID_REQUEST, f"Invalid Request: a line has at most {LINE_BYTES} bytes.")
            if not line.strip():
                return
            message = frame(line)
        except BadFrame as bad:
            self.send(encode(bad.answer))
            return
        if message is not None:
            with self._turn:
                self._take(message)
            self._wake()

    def _take(self, message: dict[str, Any]) -> None:
        if self._failure is not None:
            if "id" in message and message["id"] != self.muted:
                self.send(encode(error(message["id"], INTERNAL_ERROR, self._failure)))
        elif self._opens and "id" in message:
            self._request(message)
        else:
            self._inbox.append(message)

    def _request(self, request: dict[str, Any]) -> None:
        if not self._begun:
            self._begun = True
            decisive = self.opening.begin(request)
            if decisive is not None:
                self._inbox.append({**decisive, "id": self.muted})
        answer = self.opening.answer(request)
        if answer is not None:
            self.send(encode({"jsonrpc": "2.0", "id": request["id"], **answer}))
            if request["method"] == "initialize":  # the SDK's own state follows from it
                self._inbox.append({**request, "id": self.muted})
            return
        acknowledgement = self.opening.acknowledgement(request)
        if acknowledgement is not None:
            self.acknowledged.add(request["id"])
            self.send(encode(acknowledgement))
        self._inbox.append(request)

    def _wake(self) -> None:
        with self._turn:
            waiter, self._waiter = self._waiter, None
        if waiter is not None:
            waiter.get_loop().call_soon_threadsafe(_resolve, waiter)

    def _push(self, rest: memoryview) -> memoryview:
        """Write what can be written without blocking; what is left."""
        try:
            while rest and self._writable.poll(0):
                rest = rest[os.write(self._sink, rest[: select.PIPE_BUF]) :]
        except OSError:
            self._lose_sink()
            return memoryview(b"")
        return rest

    def _write(self) -> None:
        while True:
            with self._turn:
                self._turn.wait_for(lambda: self._unsent)
                block = self._unsent[0]
            try:
                written = os.write(self._sink, block[: 1 << 16])
            except OSError:
                with self._turn:
                    self._lose_sink()
                return
            with self._turn:
                self._unsent[0] = block[written:]
                if not self._unsent[0]:
                    self._unsent.popleft()
                self._unsent_bytes -= written
                self._turn.notify_all()

    def _lose_sink(self) -> None:
        """The client no longer reads: nobody is left to serve. With the lock held."""
        self._sink_broken = self._hung_up = True
        self._unsent.clear()
        self._unsent_bytes = 0
        self._turn.notify_all()
        self._wake()


def _resolve(waiter: Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)
