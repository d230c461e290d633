"""A man in the middle of the connections to PostgreSQL, on loopback: it cuts one at the commit of a write, as told.

It reads the frontend's messages (https://www.postgresql.org/docs/current/protocol-message-formats.html) just as far as
to know which statement each runs.
"""

import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Literal, Self

from psycopg.conninfo import conninfo_to_dict, make_conninfo

Cut = Literal["before", "after", "late", "ended"]
"""The server never sees the commit; the client never sees its answer; the client is cut off, and the commit arrives at
the server when the client has long begun to ask what became of it; the server answers, and then says that it ends."""

LATE_SECONDS = 0.5
_WRITE = b"pg_advisory_xact_lock"
_SAID = b"SFATAL\0C57P01\0Mterminating connection due to administrator command\0\0"
_ENDS = b"E" + struct.pack("!i", len(_SAID) + 4) + _SAID


class Proxy:
    """`url` leads through it. `cut_next` arms it for the next commit of a write; `cuts` counts. `trips` counts how often a
    client asked for something after it had been answered."""

    def __init__(self, url: str) -> None:
        given = conninfo_to_dict(url)
        self._there = (str(given["host"]), int(str(given["port"])))
        self._server = socket.create_server(("127.0.0.1", 0))
        self.url = make_conninfo(
            url, host="127.0.0.1", port=self._server.getsockname()[1], sslmode="disable", gssencmode="disable"
        )
        self.cuts = 0
        self.trips = 0
        self._armed: Cut | None = None
        self._lock = threading.Lock()
        self._lines: list[_Line] = []
        self._ended = False

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, name="proxy", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended = True
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        self.cut_all()
        for line in self._lines:
            assert line.over.wait(60)

    def cut_next(self, how: Cut) -> None:
        self._armed = how

    def cut_all(self) -> None:
        """Every connection, at once."""
        for line in self._lines:
            line.cut()

    def taken(self) -> Cut | None:
        """How to cut now, once for each time it was armed."""
        with self._lock:
            how, self._armed = self._armed, None
            self.cuts += how is not None
            return how

    def _accept(self) -> None:
        while not self._ended:
            try:
                client, _ = self._server.accept()
                line = _Line(self, client, socket.create_connection(self._there))
            except OSError:
                continue
            self._lines.append(line)
            threading.Thread(target=line.run, name="proxy", daemon=True).start()


class _Line:
    """One connection."""

    def __init__(self, proxy: Proxy, client: socket.socket, server: socket.socket) -> None:
        self._proxy = proxy
        self._client = client
        self._server = server
        self._statements: dict[bytes, bytes] = {}
        self._writing = False
        self._swallow: Cut | None = None
        self._answered = True
        self.over = threading.Event()
        for end in (client, server):
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def cut(self) -> None:
        for end in (self._client, self._server):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def run(self) -> None:
        other = threading.Thread(target=self._pumped, args=(self._back,), name="proxy", daemon=True)
        other.start()
        self._pumped(self._forth)
        other.join()
        self._client.close()
        self._server.close()
        self.over.set()

    def _pumped(self, pump: Callable[[], None]) -> None:
        with suppress(OSError):
            pump()
        self.cut()

    def _forth(self) -> None:
        """From the client to the server."""
        messages = _messages(self._client, untyped=True)
        for kind, whole in messages:
            self._proxy.trips += self._answered
            self._answered = False
            statement = self._statement(kind, whole)
            if _WRITE in statement:
                self._writing = True
            elif self._writing and statement == b"COMMIT":
                self._writing = False
                how = self._proxy.taken()
                if how == "before":
                    return
                if how == "late":
                    self._deliver_late(whole, messages)
                    return
                self._swallow = how
            self._server.sendall(whole)

    def _deliver_late(self, first: bytes, messages: Iterator[tuple[bytes, bytes]]) -> None:
        batch = [first]
        for kind, whole in messages:
            batch.append(whole)
            if kind == b"S":
                break
        self._client.shutdown(socket.SHUT_RDWR)
        time.sleep(LATE_SECONDS)
        self._server.sendall(b"".join(batch))

    def _back(self) -> None:
        """From the server to the client. Goes on reading for a client that is gone, so that the server can end its work."""
        for kind, whole in _messages(self._server, untyped=False):
            self._answered |= kind == b"Z"
            if self._swallow and kind == b"C" and whole[5:] == b"COMMIT\0":
                if self._swallow == "ended":
                    self._client.sendall(whole + _ENDS)
                return
            with suppress(OSError):
                self._client.sendall(whole)

    def _statement(self, kind: bytes, whole: bytes) -> bytes:
        """The text of the statement that is run by this message."""
        if kind == b"P":
            name, query, _ = whole[5:].split(b"\0", 2)
            self._statements[name] = query
        if kind == b"Q":
            return whole[5:-1]
        if kind == b"B":
            _, name, _ = whole[5:].split(b"\0", 2)
            return self._statements.get(name, b"")
        return b""


def _messages(source: socket.socket, *, untyped: bool) -> Iterator[tuple[bytes, bytes]]:
    """(type, whole message) one after the other; the first of a client has no type."""
    held = b""
    while chunk := source.recv(1 << 16):
        held += chunk
        while True:
            head = 0 if untyped else 1
            if len(held) < head + 4:
                break
            size = head + struct.unpack("!i", held[head : head + 4])[0]
            if len(held) < size:
                break
            whole, held = held[:size], held[size:]
            yield (b"" if untyped else whole[:1]), whole
            untyped = False
