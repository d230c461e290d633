"""A live session holds a lock of the database, which is free when the server's connection ends, however that ends."""

import hashlib
import logging
import selectors
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import psycopg
from psycopg import errors

from wvo_mcp.store.postgres.address import Address
from wvo_mcp.store.sql import Rows

logger = logging.getLogger(__name__)

CHANNEL = b"wvo_events"
_PULSE_SECONDS = 5.0
_AGAIN_SECONDS = 0.5
_HELD = """
SELECT (classid::BIGINT << 32) | objid::BIGINT FROM pg_locks
WHERE locktype = 'advisory' AND objsubid = 1 AND granted
  AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"""


def key_of(session_id: str) -> int:
    """The session's key among the advisory locks: signed, 64 bits."""
    return int.from_bytes(hashlib.sha256(session_id.encode()).digest()[:8], signed=True)


class Presences:
    """`ports.Liveness` within one transaction: all locks are read at the first question."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows
        self._held: set[int] | None = None

    def alive(self, session_id: str) -> bool:
        if self._held is None:
            self._held = set(self._rows.column(_HELD))
        return key_of(session_id) in self._held


def connected(url: str) -> list[str]:
    """Sessions whose servers are connected, also to a store that lacks a part. Raises the typed errors of the database.

    Where there is the table of sessions, it shows which of those in this database work on this store.
    """
    with Address(url).session("wvo-mcp restore") as raw:
        held = {row[0] for row in raw.execute(_HELD.encode())}
        with suppress(errors.UndefinedTable, errors.UndefinedColumn):
            rows = raw.execute("SELECT session_id FROM sessions WHERE ended_at IS NULL AND durable = 0").fetchall()
            return sorted(session for (session,) in rows if key_of(session) in held)
        named = raw.execute(
            """
            SELECT DISTINCT substr(application_name, 9) FROM pg_stat_activity JOIN pg_locks USING (pid)
            WHERE locktype = 'advisory' AND objsubid = 1 AND granted AND datname = current_database()
              AND starts_with(application_name, 'wvo-mcp ')
            """
        ).fetchall()
        return sorted(session for (session,) in named)


class Presence:
    """Holds a session's lock on a connection of its own, and is notified there of new events.

    When the connection is lost it is made again, for as long as it takes. Meanwhile the session counts as ended: others
    cut its leases to the grace, and its next call or renewal makes them whole again.
    """

    def __init__(self, url: str, session_id: str | None, woken: Callable[[], None] = lambda: None) -> None:
        """Without a session it only listens. `woken` is called in a thread after each commit that wrote an event,
        by any server, and when the connection was made again."""
        self._address = Address(url)
        self._session_id = session_id
        self._name = f"wvo-mcp {session_id or 'listener'}"[:60]
        self._woken = woken
        self._ended = threading.Event()
        self._raw: psycopg.Connection[Any] | None = None
        self._thread = threading.Thread(target=self._run, name="wvo-presence", daemon=True)
        self._backend = 0

    def begin(self) -> "Presence":
        """Raises the typed errors of the database when the connection cannot be made at first."""
        try:
            self._connect()
        except psycopg.Error as error:
            self._ended.set()
            raise self._address.typed(error) from error
        self._wake_sender, self._wake_receiver = socket.socketpair()
        self._thread.start()
        return self

    def end(self, *_: object) -> None:
        if not self._ended.is_set() and self._thread.is_alive():
            self._ended.set()
            self._wake_sender.send(b".")
            self._thread.join(_PULSE_SECONDS)
            self._wake_sender.close()
            self._wake_receiver.close()
        self._ended.set()

    __enter__, __exit__ = begin, end

    def _connect(self) -> None:
        raw = self._address.connect(self._name)
        try:
            if self._backend and self._session_id is not None:
                # The server may not have noticed yet that our last connection is gone; it is ours to end.
                raw.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid = %s AND application_name = %s",
                    (self._backend, self._name),
                )
            if self._session_id is not None:
                raw.execute("SELECT pg_advisory_lock(%s)", (key_of(self._session_id),))
            raw.execute(b"LISTEN " + CHANNEL)
        except BaseException:
            raw.close()
            raise
        self._backend = raw.info.backend_pid
        self._raw = raw

    def _run(self) -> None:
        while not self._ended.is_set():
            try:
                if self._raw is None:
                    self._connect()
                    logger.warning("the database can be reached again")
                    self._woken()
                else:
                    self._listen(self._raw)
            except (psycopg.Error, OSError) as error:
                if self._raw is not None and not self._ended.is_set():  # once for each loss
                    what = "this session counts as gone" if self._session_id else "no event is received"
                    said = self._address.said(error)
                    logger.warning("the database cannot be reached, and %s until it can: %s", what, said)
                self._drop()
                self._ended.wait(_AGAIN_SECONDS)
        self._drop()

    def _drop(self) -> None:
        if self._raw is not None:
            self._raw.close()
            self._raw = None

    def _listen(self, raw: psycopg.Connection[Any]) -> None:
        # The connection belongs to this thread alone: `end` wakes this thread, and does not close the connection that it uses.
        with selectors.DefaultSelector() as ready:
            ready.register(raw.fileno(), selectors.EVENT_READ)
            ready.register(self._wake_receiver, selectors.EVENT_READ)
            spoken = ready.select(_PULSE_SECONDS)
        if self._ended.is_set():
            return
        if not spoken:
            raw.execute("SELECT 1")  # a connection that is only listened to may be dead for long
        for _ in raw.notifies(timeout=0):
            self._woken()
