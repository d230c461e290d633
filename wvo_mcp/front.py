"""The instant front: the client is answered while the application is still being imported.

Clients take their first turn about a second after they started us. So a reader thread answers the handshake and the lists
from a recorded snapshot and keeps everything else in order. Only small parts of the standard library are loaded here.
"""

from __future__ import annotations

import fcntl
import json
import os
import select
import signal
import sys
import threading
from collections import deque

TYPE_CHECKING = False  # typing itself would cost milliseconds
if TYPE_CHECKING:
    from asyncio import Future
    from collections.abc import Mapping
    from typing import Any, NoReturn, TypeGuard

    from wvo_mcp.faces.opening import Opening

LINE_BYTES = 16 << 20
"""A longer line is discarded up to its newline and answered as invalid."""
INBOX_MESSAGES = 1_000
UNSENT_BYTES = 64 << 20
"""Beyond either, what the client sends next stays in its pipe."""
FLUSH_SECONDS = 5.0
"""How long a client may take at the end to read what it was sent."""

PARSE_ERROR, INVALID_REQUEST, INTERNAL_ERROR = -32700, -32600, -32603
_SIGNALS = (signal.SIGINT, signal.SIGTERM) + (
    () if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN else (signal.SIGHUP,)  # nohup's word stands
)


class BadFrame(ValueError):
    """A line that is no JSON-RPC message; `answer` is the error that it earns."""

    def __init__(self, code: int, problem: str, request_id: str | int | None = None) -> None:
        self.answer = _error(request_id, code, problem)


def _error(request_id: str | int | None, code: int, message: str) -> dict[str, Any]:
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
    if not _is_object(message):
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


def _is_object(value: Any) -> TypeGuard[dict[str, Any]]:
    return isinstance(value, dict)


def encode(message: Mapping[str, Any]) -> bytes:
    """One line of compact JSON, without its newline."""
    try:
        return json.dumps(message, separators=(",", ":"), ensure_ascii=False).encode()
    except UnicodeEncodeError:  # a lone surrogate can be escaped, but not encoded
        return json.dumps(message, separators=(",", ":")).encode()


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
        self._opens = True
        self._first: dict[str, Any] | None = None
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
        except BadFrame as error:
            self.send(encode(error.answer))
            return
        if message is not None:
            with self._turn:
                self._take(message)
            self._wake()

    def _take(self, message: dict[str, Any]) -> None:
        if self._failure is not None:
            if "id" in message and message["id"] != self.muted:
                self.send(encode(_error(message["id"], INTERNAL_ERROR, self._failure)))
        elif self._opens and "id" in message:
            self._request(self.opening, message)
        elif not (self._opens and message["method"] == "notifications/cancelled" and self._cancel(message)):
            self._inbox.append(message)

    def _request(self, opening: Opening, request: dict[str, Any]) -> None:
        if self._first is None:
            self._first = request
            opening.begin(request)
        answer = opening.answer(request)
        if answer is not None:
            self.send(encode({"jsonrpc": "2.0", "id": request["id"], **answer}))
            if request is self._first or request["method"] == "initialize":  # the SDK's own state follows from these
                self._inbox.append({**request, "id": self.muted})
            return
        acknowledgement = opening.acknowledgement(request)
        if acknowledgement is not None:
            self.acknowledged.add(request["id"])
            self.send(encode(acknowledgement))
        self._inbox.append(request)

    def _cancel(self, notification: dict[str, Any]) -> bool:
        """Forget a request that still waits, if it does."""
        params: dict[str, Any] = notification.get("params") or {}
        request_id = params.get("requestId")
        for place, waiting in enumerate(self._inbox):
            if "id" in waiting and str(waiting["id"]) == str(request_id) and waiting["id"] != self.muted:
                self.acknowledged.discard(waiting["id"])
                if waiting is self._first:
                    self._inbox[place] = {**self.opening.stand_in(waiting), "id": self.muted}
                else:
                    del self._inbox[place]
                return True
        return False

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


def main() -> int:
    """Serve MCP on stdio until the client goes; the exit code. A start that fails says why in one line on stderr."""
    # Late: only the front's own needs are loaded with it.
    from wvo_mcp.faces.opening import Opening, Record
    from wvo_mcp.project import Project, WrongSetting, chosen_toolsets

    for number in _SIGNALS:
        signal.signal(number, _exit)
    while (spare := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass  # a standard descriptor that was closed must not be given to anything else
    os.close(spare)
    with open(__file__.removesuffix("front.py") + "snapshot.json", "rb") as file:  # noqa: PTH123 - pathlib costs 3 ms
        snapshot = json.load(file)
    try:
        project = Project(os.environ, os.getcwd())  # noqa: PTH109 - as above
        hidden = "WVO_TOOLSETS" in project.referring
        toolsets = chosen_toolsets(project.environ.get("WVO_TOOLSETS", ""), snapshot["toolsets"], referring=hidden)
    except (WrongSetting, OSError) as error:
        _say(_reason(error))
        return 2
    for warning in project.warnings():
        _say(warning)
    source, sink = _claim(0, os.open(os.devnull, os.O_RDONLY)), _claim(1, os.dup(2))
    if os.isatty(source):
        _say("serving MCP on this terminal, one JSON-RPC message a line; wvo-mcp --help lists the commands")
    wire = Wire(source, sink, Opening(Record(snapshot, toolsets)))
    wire.start()
    try:
        return _serve(wire)
    except Exception as error:  # the edge of the process: the client and the person are told
        reason = _reason(error)
        wire.refuse(f"wvo-mcp cannot serve: {reason}")
        _say(reason)
        return getattr(error, "exit_code", 1)
    finally:
        wire.close()


def _serve(wire: Wire) -> int:
    sys.setswitchinterval(0.0005)  # threads here are few and short; none should wait the usual 5 ms for its turn
    # Late: the SDK and the application take a second to import; the wire answers meanwhile.
    import asyncio
    import gc

    gc.disable()  # until the wire is served: nothing of what is imported is garbage, and looking took a tenth of the time

    from wvo_mcp import app

    async def serve() -> int:
        loop = asyncio.get_running_loop()

        def leave() -> None:
            for number in _SIGNALS:
                loop.remove_signal_handler(number)  # a second one does not wait
            wire.hang_up()

        for number in _SIGNALS:
            loop.add_signal_handler(number, leave)
        return await app.serve(wire)

    return asyncio.run(serve())


def _claim(standard: int, instead: int) -> int:
    """A private duplicate of a standard descriptor, which then leads elsewhere: children must not touch the wire."""
    private = fcntl.fcntl(standard, fcntl.F_DUPFD_CLOEXEC, 3)
    os.dup2(instead, standard)
    os.close(instead)
    return private


def _exit(number: int, _: object) -> NoReturn:
    os._exit(0)  # nothing is open yet that could be harmed


def _reason(error: BaseException) -> str:
    if isinstance(error, BaseExceptionGroup):
        return _reason(error.exceptions[0])  # pyright: ignore[reportUnknownMemberType, reportUnknownArgumentType]
    if type(error).__module__.startswith("wvo_mcp."):
        return " ".join(f"{error} {getattr(error, 'hint', '')}".split())
    place = error.__traceback__
    while place is not None and place.tb_next is not None:
        place = place.tb_next
    where = f" ({place.tb_frame.f_code.co_filename}:{place.tb_lineno})" if place is not None else ""
    return " ".join(f"{type(error).__name__}: {error}{where}".split())


def _say(line: str) -> None:
    os.write(2, f"wvo-mcp: {line}\n".encode(errors="replace"))


def _resolve(waiter: Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)
