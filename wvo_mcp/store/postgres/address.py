"""Which database a URL leads to: how to connect to it, and how to speak of it without user and password."""

import re
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg import errors
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.types.numeric import Int8Dumper
from psycopg.types.string import StrDumper

from wvo_mcp.errors import IncompatibleStore, StoreBusy, StoreUnavailable, WvoError

RETRY_SECONDS = 20.0
"""So long a transaction is tried again while the database cannot be reached, and a writer waits for its turn."""

OLDEST = 140_000
"""PostgreSQL 14: the first that notices, while a statement runs, that its client is gone."""

_NAMESPACE = 0x57564F31
WRITE_LOCK = f"{_NAMESPACE}, hashtext(current_schema())"
"""The two keys of the lock of writers. Sessions hold locks of one key, so the two kinds never meet."""

FROZEN_WRITERS = f"""
SELECT pid FROM pg_locks JOIN pg_stat_activity USING (pid)
WHERE locktype = 'advisory' AND (classid, objid, objsubid) = ({_NAMESPACE}, hashtext(current_schema())::OID, 2) AND granted
  AND wait_event = 'ClientRead' AND state_change < clock_timestamp() - INTERVAL '5 s'"""
"""The server's own timeout for idle transactions does not see a client that stops in the middle of one batch."""

_CONNECTION = {
    "connect_timeout": 4,
    "keepalives_idle": 3,
    "keepalives_interval": 1,
    "keepalives_count": 3,
    "tcp_user_timeout": 6_000,
}
"""What makes a dead server noticed; what the URL says itself goes before it."""
_SETTINGS = {
    # A client that stops within a transaction keeps all writers waiting: the server ends it.
    "idle_in_transaction_session_timeout": 5_000,
    # One that waits for a row that a person has locked keeps all writers waiting too: it lets them pass, and tries again.
    "lock_timeout": 3_000,
    # A client that is cut off is noticed within seconds, so that its locks are free.
    "tcp_keepalives_idle": 3,
    "tcp_keepalives_interval": 1,
    "tcp_keepalives_count": 3,
    "tcp_user_timeout": 6_000,
    "client_connection_check_interval": 2_000,
    "jit": "off",
    # Statistics of a store that grows are always late, and there is an index for everything that is asked daily.
    "enable_seqscan": "off",
}
_SETUP = "; ".join(f"SET {name} = '{value}'" for name, value in _SETTINGS.items()).encode()
_NOTHING_STORED = "Nothing of this call was stored. See that PostgreSQL runs and can be reached, then call again."


class Address:
    """The database of one URL. `where` is host, port and database."""

    def __init__(self, url: str) -> None:
        """Raises IncompatibleStore for a URL that cannot be understood."""
        self.url = url
        try:
            self._given = conninfo_to_dict(url)
        except psycopg.ProgrammingError:
            # The driver's message would show the password.
            raise IncompatibleStore(
                "WVO_DATABASE_URL cannot be understood.",
                hint="It reads postgresql://USER:PASSWORD@HOST:5432/DATABASE; special characters are written as %XX.",
            ) from None
        host, port, name = (
            str(self._given.get(key, default))
            for key, default in (("host", "localhost"), ("port", 5432), ("dbname", ""))
        )
        self.is_ambiguous = bool(re.search("[@:/]", name)) or "@" in host or not port.replace(",", "").isdigit()
        """A password with / or @ in it was taken for a part of the host or the database."""
        self.where = f"{host}:{port}/{name}"
        if self.is_ambiguous:
            self.where = "of WVO_DATABASE_URL (write / and @ in a password as %2F and %40)"

    def connect(self, name: str = "wvo-mcp", **options: Any) -> psycopg.Connection[Any]:
        """A connection without a transaction. Raises the driver's errors; IncompatibleStore for a server that is too old."""
        options = {**_CONNECTION, "application_name": name, **options, **self._given}
        raw = psycopg.connect(make_conninfo(**options), autocommit=True)
        try:
            if raw.info.server_version < OLDEST:
                raise IncompatibleStore(
                    f"PostgreSQL {raw.info.server_version // 10_000} is too old.", hint="Use PostgreSQL 14 or newer."
                )
            raw.execute(_SETUP, prepare=False)
        except BaseException:
            raw.close()
            raise
        configure(raw)
        return raw

    @contextmanager
    def session(self, name: str = "wvo-mcp") -> Generator[psycopg.Connection[Any]]:
        """A connection for the moment. Errors of the database leave as typed errors."""
        try:
            with self.connect(name) as raw:
                yield raw
        except psycopg.Error as error:
            raise self.typed(error) from error

    def typed(self, error: psycopg.Error, waited: float | None = None) -> WvoError:
        """The error of the contract for one of the database's, which was tried again for `waited` seconds."""
        if isinstance(error, errors.LockNotAvailable):
            return StoreBusy(
                f"The database {self.where} was busy for {waited or RETRY_SECONDS:.0f} s.",
                hint="Call again with the same input. When it stays so, pg_stat_activity shows whose transaction is open.",
            )
        said = self.said(error)
        if waited is not None and is_lost(error):
            lost = f"The database {self.where} could not be reached for {waited:.0f} s: {said}."
            return StoreUnavailable(lost, hint=_NOTHING_STORED)
        if isinstance(error, (errors.UndefinedTable, errors.UndefinedColumn)):
            return IncompatibleStore(
                f"The database {self.where} is not one of ours, or lacks a part: {said}",
                hint="Restore it from a backup (wvo-mcp backup restore), or set WVO_DATABASE_URL to another database.",
            )
        if isinstance(error, errors.ReadOnlySqlTransaction):
            hint = "WVO_DATABASE_URL points at a standby, which cannot be written; name the primary."
            return StoreUnavailable(f"The database {self.where} is read-only.", hint=hint)
        return StoreUnavailable(f"The database {self.where} cannot be used: {said}", cause=said, hint=_NOTHING_STORED)

    def said(self, error: Exception) -> str:
        """The first line of the error. The driver quotes an address that it cannot read, with its password."""
        text = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        text = text.replace(self.url, "WVO_DATABASE_URL") if self.url else text
        for secret in re.split("[:/@]", self.url.rpartition("@")[0].partition("://")[2])[1:]:
            text = text.replace(secret, "***") if secret else text
        return text


def configure(raw: psycopg.Connection[Any]) -> None:
    """Each Python type is always the same type there, so that a statement is prepared once."""
    raw.adapters.register_dumper(str, StrDumper)
    raw.adapters.register_dumper(int, Int8Dumper)


def is_lost(error: psycopg.Error) -> bool:
    """Did the connection go away, or could none be made?"""
    if isinstance(error, errors.IdleInTransactionSessionTimeout) or (error.sqlstate or "").startswith("57P"):
        return True
    return isinstance(error, psycopg.OperationalError) and error.sqlstate in (None, "08000", "08003", "08006")


def is_away(error: psycopg.Error) -> bool:
    """Does nothing listen there, or something that is not ready yet? (A wrong password is another matter.)"""
    if isinstance(error, (errors.CannotConnectNow, errors.TooManyConnections, errors.ConnectionTimeout)):
        return True
    text = str(error)
    return isinstance(error, psycopg.OperationalError) and any(
        said in text
        for said in ("refused", "starting up", "shutting down", "timeout", "No such file", "closed the connection")
    )
