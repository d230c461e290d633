"""One connection: no request that an intermediary could take for another, and nobody who sends or reads so slowly that the
connection is held for nothing."""

import asyncio
from typing import Any, cast

import h11
from h11._receivebuffer import ReceiveBuffer
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

HEAD_SECONDS = 15.0
"""How long a client may take until the lines of its request are there; also the first ones of a connection."""
UNREAD_SECONDS = 60.0
"""How long a client may leave what it was sent unread."""
HEAD_BYTES = 64 << 10
MOST_LINES = 200
"""Both of a head."""


class _Lines(ReceiveBuffer):
    """Lines end in CR LF, and none goes on in the next one: what else some read as a line, others do not."""

    def maybe_extract_lines(self) -> list[bytearray] | None:
        """Raises RemoteProtocolError."""
        before = len(self._data)
        head = bytes(self._data)
        lines = super().maybe_extract_lines()
        if lines is None:
            return None
        head = head[: before - len(self._data)].replace(b"\r\n", b"\0")
        if b"\n" in head or b"\r" in head or any(line.startswith((b" ", b"\t")) for line in lines):
            raise h11.RemoteProtocolError("a line of the head is not one for everybody")
        if len(lines) > MOST_LINES:
            raise h11.RemoteProtocolError("too many lines", error_status_hint=431)
        return lines


class _Connection(h11.Connection):
    def __init__(self, most: int) -> None:
        super().__init__(h11.SERVER, most)
        self._receive_buffer = _Lines()

    def next_event(self) -> Any:
        """Raises RemoteProtocolError."""
        event = super().next_event()
        if isinstance(event, h11.Request):
            try:
                _check(event)
            except h11.RemoteProtocolError:
                self._process_error(self.their_role)
                raise
        return event


def _check(request: h11.Request) -> None:
    """Raises RemoteProtocolError."""
    if request.http_version not in (b"1.0", b"1.1"):
        raise h11.RemoteProtocolError("another version")
    names = [name for name, _ in request.headers]
    if b"transfer-encoding" in names and (b"content-length" in names or request.http_version == b"1.0"):
        raise h11.RemoteProtocolError("two lengths")
    if names.count(b"host") != 1:
        raise h11.RemoteProtocolError("one host is asked for")
    if not request.target.startswith(b"/") or b"#" in request.target:
        raise h11.RemoteProtocolError("the target is no path")


class Wire(H11Protocol):
    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self.conn = _Connection(HEAD_BYTES)
        self._late: asyncio.TimerHandle | None = None
        self._unread: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        # So that what is not read is known at once. With 0 asyncio's TLS would hold back every answer: it pauses at `>= high`.
        transport.set_write_buffer_limits(high=1)
        self._watch()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._watch()

    def send_400_response(self, msg: str) -> None:
        try:
            super().send_400_response(msg)
        except h11.LocalProtocolError:  # the answer has begun: what is wrong came in its body
            self.transport.abort()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._watch()

    def _watch(self) -> None:
        waits = self._idle()
        if not waits and self._late is not None:
            self._late.cancel()
            self._late = None
        elif waits and self._late is None:
            self._late = self.loop.call_later(HEAD_SECONDS, self.transport.abort)

    def _idle(self) -> bool:
        cycle = cast("RequestResponseCycle | None", self.cycle)  # none before the first, whatever its declaration says
        return cycle is None or cycle.response_complete

    def pause_writing(self) -> None:
        super().pause_writing()
        if self._unread is None:
            self._unread = self.loop.call_later(UNREAD_SECONDS, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None

    def connection_lost(self, exc: Exception | None) -> None:
        for timer in (self._late, self._unread):
            if timer is not None:
                timer.cancel()
        super().connection_lost(exc)
