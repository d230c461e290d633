"""What one command of the shell needs: services without background work, and care for the store itself."""

import uuid
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import anyio.to_thread

from wvo_mcp.app.building import (
    build_probe,
    build_providers,
    build_services,
    build_store,
    open_store,
    telling,
    warn_of_epics,
    watched,
)
from wvo_mcp.domain.lease import Caller, Role
from wvo_mcp.errors import InvalidInput, NotFound, WvoError
from wvo_mcp.execution.clock import SystemClock
from wvo_mcp.execution.identity import cli_caller
from wvo_mcp.execution.logs import redact_last_resort
from wvo_mcp.execution.session_lock import SessionLocks
from wvo_mcp.operations import Services
from wvo_mcp.orchestration.plan import roadmap
from wvo_mcp.orchestration.routing import transcripts
from wvo_mcp.ports import SILENT
from wvo_mcp.ports.backups import Restored
from wvo_mcp.settings import Settings


@asynccontextmanager
async def opened(settings: Settings) -> AsyncGenerator[Services]:
    """The services over an open store, without background work: for one command. Raises the store's typed errors."""
    redact_last_resort()
    store = build_store(settings)
    async with telling(settings, "cli", uuid.uuid4().hex) as telemetry:
        await open_store(settings, store)
        try:
            tracer = SILENT if telemetry is None else telemetry.tracer
            providers = build_providers(settings)
            services = build_services(
                settings, watched(telemetry, store), providers, build_probe(settings, store), tracer
            )
            await warn_of_epics(settings, services.store, cli_caller(settings))
            yield services
        finally:
            await store.close()


async def count_transcript(settings: Settings, agent_id: str, transcript: Path) -> int:
    """Tokens of a session of Claude Code that were counted now. Makes no store."""
    from wvo_mcp.execution.providers.transcript import files, read  # the stop hook alone counts

    if settings.database_url is None and not settings.database.is_file():
        return 0
    caller = Caller(agent_id, f"cli:{agent_id}", "claude", "stop-hook", durable=True)
    async with opened(settings) as services:
        if services.providers is None:
            return 0
        return await transcripts.count(services.store, caller, services.providers, files(transcript), read)


async def living(settings: Settings) -> list[str]:
    """Sessions whose servers are connected to the store, which is not opened: it may lack a part."""
    if settings.database_url is None:
        return SessionLocks(settings.state_dir / "sessions").living()
    from wvo_mcp.store.postgres.presence import connected  # as the store itself

    return await anyio.to_thread.run_sync(connected, settings.database_url)


async def restore(settings: Settings, name: str | None) -> Restored:
    """Put a backup in the place of the store. Raises Forbidden for an agent, and as
    `Restoring.restore`."""
    caller = cli_caller(settings)
    caller.admit(Role.ADMIN, "backup restore")
    if settings.database_url is not None:
        from wvo_mcp.store.postgres.restore import PostgresRestoring

        folder = settings.state_dir / "backups" / "db"
        return await PostgresRestoring(settings.database_url, folder, caller).restore(name)
    from wvo_mcp.store.sqlite.restore import Restoring  # servers never need it

    locks = SessionLocks(settings.state_dir / "sessions")
    return await Restoring(settings.database, SystemClock(), locks, caller).restore(name)


def damage(settings: Settings) -> WvoError | None:
    """What is wrong with the database file, all of it read; None when it is sound."""
    if settings.database_url is not None:
        raise InvalidInput(
            "repair",
            "a PostgreSQL store is repaired by its own means; wvo-mcp backup restore puts a backup in its place",
        )
    from wvo_mcp.store.sqlite.restore import whole_damage

    return whole_damage(settings.database)


async def sync(settings: Settings) -> dict[str, int] | None:
    """Merge the roadmap, if there is one; {created, updated}."""
    async with opened(settings) as services:
        try:
            report = await roadmap.sync_file(services.store, services.roadmap, cli_caller(settings))
        except NotFound as error:
            if error.details.get("kind") == "file":
                return None
            raise
    return {"created": len(report.created), "updated": len(report.updated)}
