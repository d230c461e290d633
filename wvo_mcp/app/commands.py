"""What one command of the shell needs: services without background work, and care for the store itself."""

import uuid
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import asdict
from pathlib import Path

from wvo_mcp.app.building import (
    backend_of,
    begun,
    build_providers,
    build_services,
    telemetry_for,
    warn_of_epics,
    watched,
)
from wvo_mcp.domain.lease import Caller
from wvo_mcp.domain.redaction import redact
from wvo_mcp.errors import NotFound
from wvo_mcp.execution.identity import cli_caller
from wvo_mcp.execution.logs import redact_last_resort
from wvo_mcp.operations import Container
from wvo_mcp.orchestration.plan import roadmap
from wvo_mcp.orchestration.routing.reporting import count_transcripts
from wvo_mcp.ports import SILENT, RoadmapFiles, Transaction, WatchedStore
from wvo_mcp.ports.providers import Providers
from wvo_mcp.ports.workers import Violation
from wvo_mcp.settings import Settings


@asynccontextmanager
async def opened(settings: Settings) -> AsyncGenerator[Container]:
    """The services over an open store, without background work: for one command. Raises the store's typed errors."""
    redact_last_resort()
    backend = backend_of(settings)
    store = backend.store
    async with telemetry_for(settings, "cli", uuid.uuid4().hex) as telemetry:
        await store.open(make=begun(settings, backend))
        try:
            tracer = SILENT if telemetry is None else telemetry.tracer
            providers = build_providers(settings)
            services = build_services(settings, backend, watched(telemetry, backend), providers, tracer)
            await warn_of_epics(settings, services.get(WatchedStore), cli_caller(settings))
            yield services
        finally:
            await store.close()


async def count_transcript(settings: Settings, agent_id: str, transcript: Path) -> int:
    """Tokens of a session of Claude Code that were counted now. Makes no store."""
    from wvo_mcp.execution.providers.transcript import files, read  # the stop hook alone counts

    if not backend_of(settings).exists():
        return 0
    caller = Caller(agent_id, f"cli:{agent_id}", "claude", "stop-hook", durable=True)
    async with opened(settings) as services:
        store, providers = services.get(WatchedStore), services.get(Providers)
        return await count_transcripts(store, caller, providers, files(transcript), read)


async def record_violation(settings: Settings, agent_id: str, violation: Violation) -> None:
    """What the policy said to an agent that a person started. Makes no store."""
    if not backend_of(settings).exists():
        return
    caller = Caller(agent_id, f"cli:{agent_id}", None, "command-check", durable=True)
    async with opened(settings) as services:

        async def recorded(tx: Transaction) -> None:
            await tx.violations.add(violation)
            shown = str(redact(violation.subject))[:500]
            await tx.events.append("policy.violation", None, {**asdict(violation), "subject": shown})

        await services.get(WatchedStore).write(caller, recorded)


async def sync(settings: Settings) -> dict[str, int] | None:
    """Merge the roadmap, if there is one; {created, updated}."""
    async with opened(settings) as services:
        try:
            report = await roadmap.sync_file(
                services.get(WatchedStore), services.get(RoadmapFiles), cli_caller(settings)
            )
        except NotFound as error:
            if error.details.get("kind") == "file":
                return None
            raise
    return {"created": len(report.created), "updated": len(report.updated)}
