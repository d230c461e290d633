"""The product without its processes: store and operations in this process, as one more session."""

import uuid
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.services import Services
from wvo_mcp.domain.lease import Caller, Policy
from wvo_mcp.execution.clock import SystemClock
from wvo_mcp.execution.directives import DirectiveFiles
from wvo_mcp.execution.roadmap.source import RoadmapSource
from wvo_mcp.execution.session_lock import SessionLocks
from wvo_mcp.operations import ALL
from wvo_mcp.store.postgres.store import PostgresStore
from wvo_mcp.store.sqlite.store import SqliteStore

Call = Callable[..., Awaitable[dict[str, Any]]]


@dataclass(frozen=True)
class Desk:
    """One agent's session: `await desk.call("claim_task")`."""

    services: Services
    caller: Caller

    async def call(self, name: str, /, **arguments: Any) -> dict[str, Any]:
        """A whole operation: validation, transaction, replay, result. Raises WvoError."""
        return await ALL[name](self.services, self.caller, arguments)


@asynccontextmanager
async def desk(
    workspace: Path, agent: str, *, url: str | None = None, synchronous: str = "FULL", wip_limit: int = 64
) -> AsyncGenerator[Desk]:
    """A session of `agent` on the workspace's store, or on the database of the URL, with the lock that stands for it; no
    background work."""
    state = workspace / "state"
    locks = state / "sessions"
    session_id = uuid.uuid4().hex
    if url is None:
        store = SqliteStore(state / "state.db", SystemClock(), SessionLocks(locks), synchronous=synchronous)
        attendance = SessionLocks(locks).lock(session_id)
    else:
        store = PostgresStore(url)
        attendance = store.attend(session_id)
    await store.open()
    try:
        with attendance:
            services = Services(
                store=store,
                policy=Policy(wip_limit=wip_limit),
                roadmap=RoadmapSource(state / "roadmap.yaml"),
                directives=DirectiveFiles(workspace),
            )
            yield Desk(services, Caller(agent, session_id))
    finally:
        await store.close()
