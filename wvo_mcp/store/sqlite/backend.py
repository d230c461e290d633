"""Everything that is done with one SQLite file."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from wvo_mcp.domain.lease import WIP_LIMIT, Caller
from wvo_mcp.errors import WvoError
from wvo_mcp.ports import Clock
from wvo_mcp.ports.backend import Sessions
from wvo_mcp.store.sqlite.store import SqliteStore

if TYPE_CHECKING:
    from wvo_mcp.domain.finding import Finding
    from wvo_mcp.ports.backend import Restored
    from wvo_mcp.store.sqlite.backup import SqliteBackups
    from wvo_mcp.store.sqlite.doctor_checks import SqliteProbe

# What a first call does not need is imported where it is used.


class SqliteBackend:
    """`ports.backend.Backend`."""

    system = "sqlite"
    is_shared = False

    def __init__(
        self,
        database: Path,
        clock: Clock,
        sessions: Sessions,
        *,
        synchronous: str = "FULL",
        agents: int = WIP_LIMIT,
    ) -> None:
        self._database = database
        self._clock = clock
        self._sessions = sessions
        self._store = SqliteStore(database, clock, sessions, synchronous=synchronous, agents=agents)

    @property
    def store(self) -> SqliteStore:
        return self._store

    @property
    def backups(self) -> SqliteBackups:
        from wvo_mcp.store.sqlite.backup import SqliteBackups

        return SqliteBackups(self._database, self._database.parent / "backups" / "db")

    @property
    def probe(self) -> SqliteProbe:
        from wvo_mcp.store.sqlite.doctor_checks import SqliteProbe

        return SqliteProbe(self._database)

    def exists(self) -> bool:
        return self._database.exists()

    def attend(self, session_id: str) -> AbstractContextManager[object]:
        return self._sessions.lock(session_id)

    def living(self) -> list[str]:
        return self._sessions.living()

    async def restore(self, name: str | None, caller: Caller) -> Restored:
        from wvo_mcp.store.sqlite.backup import Restoring

        return await Restoring(self._database, self._clock, self._sessions, caller).restore(name)

    def damage(self) -> WvoError | None:
        from wvo_mcp.store.sqlite.backup import trouble, unsound

        return trouble(self._database) or unsound(self._database)

    def doctor_checks(self, now: datetime) -> list[Finding]:
        from wvo_mcp.store.sqlite.doctor_checks import examine

        return examine(self._database, self._sessions.alive, now)

    def known_ids(self, wanted: Iterable[str]) -> set[str]:
        from wvo_mcp.store.sqlite.doctor_checks import known_ids

        return known_ids(self._database, wanted)
