"""Everything that is done with one PostgreSQL database."""

from collections.abc import Iterable
from contextlib import AbstractContextManager
from datetime import datetime
from pathlib import Path

from wvo_mcp.domain.finding import Finding
from wvo_mcp.domain.health import Condition
from wvo_mcp.domain.lease import WIP_LIMIT, Caller
from wvo_mcp.errors import InvalidInput, WvoError
from wvo_mcp.ports.backend import Restored
from wvo_mcp.store.postgres.backup import PostgresBackups
from wvo_mcp.store.postgres.presence import connected
from wvo_mcp.store.postgres.store import PostgresStore
from wvo_mcp.store.sql import Rows, Writer

# What servers never need is imported where it is used.


class PostgresBackend:
    """`ports.backend.Backend`; the backups are files of this machine."""

    system = "postgresql"
    is_shared = True

    def __init__(self, url: str, backups: Path, *, agents: int = WIP_LIMIT) -> None:
        self._url = url
        self._folder = backups
        self._agents = agents
        self._store: PostgresStore | None = None

    @property
    def store(self) -> PostgresStore:
        """Raises IncompatibleStore for a URL that cannot be understood."""
        if self._store is None:
            self._store = PostgresStore(self._url, agents=self._agents)
        return self._store

    @property
    def backups(self) -> PostgresBackups:
        return PostgresBackups(self._url, self._folder)

    @property
    def probe(self) -> "PostgresProbe":
        return PostgresProbe(self.store.writer)

    def exists(self) -> bool:
        return True  # a person named it

    def attend(self, session_id: str) -> AbstractContextManager[object]:
        return self.store.attend(session_id)

    def living(self) -> list[str]:
        return connected(self._url)

    async def restore(self, name: str | None, caller: Caller) -> Restored:
        from wvo_mcp.store.postgres.backup import PostgresRestoring

        return await PostgresRestoring(self._url, self._folder, caller).restore(name)

    def damage(self) -> WvoError | None:
        raise InvalidInput(
            "repair",
            "a PostgreSQL store is repaired by its own means; wvo-mcp backup restore puts a backup in its place",
        )

    def doctor_checks(self, now: datetime) -> list[Finding]:
        from wvo_mcp.store.postgres import backup
        from wvo_mcp.store.postgres.doctor_checks import examine

        return [*examine(self._url), backup.examine(self._folder, now)]

    def known_ids(self, wanted: Iterable[str]) -> set[str]:
        from wvo_mcp.store.postgres.doctor_checks import known_ids

        return known_ids(self._url, wanted)


class PostgresProbe:
    """`ports.Probe`. The disk is the database server's: its free space is not known here."""

    def __init__(self, reader: Writer) -> None:
        self._reader = reader

    async def look(self) -> Condition:
        return Condition(bytes=await self._reader.read(_size))


async def _size(rows: Rows) -> int:
    return int(rows.value("SELECT pg_database_size(current_database())"))
