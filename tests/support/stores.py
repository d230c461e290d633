"""Stores of either kind for tests that open them by themselves, and databases that are used again and again."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import anyio
import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from tests.support.bench import AnyStore
from tests.support.clock import StoppedClock
from tests.support.databases import Source
from tests.support.postgres import Cluster
from tests.support.sessions import Servers
from tests.support.waiting import eventually
from wvo_mcp.execution.clock import SystemClock
from wvo_mcp.execution.session_lock import SessionLocks
from wvo_mcp.ports import Clock
from wvo_mcp.store.postgres.presence import Presence
from wvo_mcp.store.postgres.store import PostgresStore
from wvo_mcp.store.sqlite.store import SqliteStore
from wvo_mcp.store.versions import migrations


def a_store(folder: Path, url: str | None, clock: Clock | None = None, *, synchronous: str = "FULL") -> AnyStore:
    """In the database of `url`, else in `folder`; whoever `attends` lives. Without a clock the time is the real one."""
    if url is not None:
        return PostgresStore(url, clock)
    return SqliteStore(
        source_of(folder), clock or SystemClock(), SessionLocks(folder / "sessions"), synchronous=synchronous
    )


def source_of(folder: Path) -> Path:
    return folder / "state.db"


def attending(folder: Path, url: str | None, session_id: str) -> AbstractContextManager[object]:
    """While it lasts, the session counts as alive."""
    return SessionLocks(folder / "sessions").lock(session_id) if url is None else Presence(url, session_id)


def looked_for(folder: Path, url: str | None) -> Source:
    """What to look at with `tests.support.databases`."""
    return url or source_of(folder)


_OTHERS = (
    "SELECT pid FROM pg_stat_activity"
    " WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'"
)

_SHAPE = b"""
SELECT
  (SELECT md5(string_agg(c.relname || a.attname || a.attnotnull || a.atttypid::TEXT, ',' ORDER BY c.relname, a.attnum))
   FROM pg_class AS c JOIN pg_attribute AS a ON a.attrelid = c.oid
   WHERE c.relnamespace = 'public'::regnamespace AND a.attnum > 0 AND NOT a.attisdropped),
  (SELECT md5(string_agg(c.relname || t.tgname || t.tgenabled::TEXT, ',' ORDER BY c.relname, t.tgname))
   FROM pg_trigger AS t JOIN pg_class AS c ON c.oid = t.tgrelid WHERE NOT t.tgisinternal),
  (SELECT md5(string_agg(proname || prosrc, ',' ORDER BY proname)) FROM pg_proc WHERE pronamespace = 'public'::regnamespace),
  (SELECT md5(string_agg(conname, ',' ORDER BY conname)) FROM pg_constraint WHERE connamespace = 'public'::regnamespace),
  (SELECT datconnlimit FROM pg_database WHERE datname = current_database()),
  (SELECT md5(string_agg(setconfig::TEXT, ',')) FROM pg_db_role_setting AS s JOIN pg_database AS d ON d.oid = s.setdatabase
   WHERE d.datname = current_database())"""
"""All that is not rows."""


class Slate:
    """A migrated database without content, to be wiped and used again: that takes a tenth of making one."""

    def __init__(self, cluster: Cluster, url: str) -> None:
        """`url` is that of an empty database."""
        self.url = url
        self._admin = make_conninfo(cluster.admin_url, dbname=conninfo_to_dict(url)["dbname"])
        with psycopg.connect(url, autocommit=True) as connection:
            for number, script in migrations("postgres"):
                connection.execute(script.encode(), prepare=False)
                connection.execute(f"UPDATE store SET schema = {number}".encode())
        wipe = [
            f"SELECT pg_terminate_backend(pid, 5000) FROM ({_OTHERS}) AS others",
            "SET session_replication_role = replica",  # nothing may be deleted otherwise
        ]
        with psycopg.connect(self._admin, autocommit=True) as connection:
            connection.execute("CREATE SCHEMA kept")
            tables = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall()
            for (table,) in tables:
                wipe.append(f"DELETE FROM public.{table}")
                if connection.execute(f"SELECT FROM public.{table} LIMIT 1".encode()).fetchone() is not None:
                    connection.execute(f"CREATE TABLE kept.{table} AS TABLE public.{table}".encode())
                    wipe.append(f"INSERT INTO public.{table} SELECT * FROM kept.{table}")
            self._shape = connection.execute(_SHAPE).fetchone()
        wipe.append("SELECT setval(seqrelid::regclass, 1, false) FROM pg_sequence")
        self._wipe = "; ".join(wipe).encode()

    def wait_alone(self) -> None:
        """Until the server has noticed that nobody is connected any more."""
        with psycopg.connect(self._admin, autocommit=True) as connection:
            eventually(lambda: connection.execute(_OTHERS).fetchone() is None)

    def wipe(self) -> bool:
        """Back to the beginning; whoever is still connected is cut off. Nothing of this and False once somebody has changed
        more than rows."""
        with psycopg.connect(self._admin) as connection:
            whole = connection.execute(_SHAPE).fetchone() == self._shape
            if whole:
                # At once: to go there and back for each statement takes longer than they do.
                connection.execute(self._wipe)
        return whole


@cache
def _blank() -> bytes:
    async def make(path: Path) -> None:
        store = SqliteStore(path, StoppedClock(), Servers(), synchronous="OFF")
        await store.open()
        await store.close()

    with TemporaryDirectory() as folder, ThreadPoolExecutor(1) as apart:  # here an event loop may run
        apart.submit(anyio.run, make, source_of(Path(folder))).result()
        return source_of(Path(folder)).read_bytes()


def a_blank_file(path: Path, clock: Clock, servers: Servers) -> SqliteStore:
    """A store in a new file without content, not open yet. The migrations, most of what making one takes, ran for the first."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(_blank())
    return SqliteStore(path, clock, servers, synchronous="OFF")


def a_fresh_store(folder: Path, slate: Slate | None, clock: Clock, servers: Servers) -> AnyStore:
    """In `slate`, wiped, else in a file."""
    if slate is None:
        return a_blank_file(source_of(folder), clock, servers)
    assert slate.wipe(), "something changed more than rows"
    return PostgresStore(slate.url, clock, servers)
