"""The whole life of a server around one face."""

import logging
import os
import uuid
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import anyio

from wvo_mcp import operations
from wvo_mcp.app.building import (
    backend_of,
    begun,
    build_chores,
    build_providers,
    build_reporter,
    build_services,
    telling,
    warn_of_epics,
    watched,
)
from wvo_mcp.domain.known_secrets import register_environment
from wvo_mcp.domain.lease import Caller, Policy
from wvo_mcp.errors import WvoError
from wvo_mcp.execution.clock import SystemClock
from wvo_mcp.execution.identity import Connection
from wvo_mcp.execution.logs import log_to_stderr
from wvo_mcp.operations import Container
from wvo_mcp.orchestration import background, keeping
from wvo_mcp.orchestration.health.report import Reporter
from wvo_mcp.orchestration.jobs import Jobs, LongWork
from wvo_mcp.orchestration.leader.chores import Chore
from wvo_mcp.ports import SILENT, RoadmapFiles, Store
from wvo_mcp.ports.backend import Backend
from wvo_mcp.settings import Settings, load

if TYPE_CHECKING:
    from wvo_mcp.faces.mcp.face import Wire
    from wvo_mcp.faces.mcp.sdk import Sdk
    from wvo_mcp.telemetry import Telemetry

logger = logging.getLogger(__name__)

_LOOK_SECONDS = 1.0
"""How often a server where nothing has begun looks whether something has."""


async def serve(wire: "Wire") -> int:
    """The whole life of the stdio server: until the client goes away or the wire is hung up. The exit code.

    Raises WrongSetting and the store's typed errors before anything is served.
    """
    from wvo_mcp.faces.mcp.face import Face  # commands never need it

    settings = load()
    toolsets = settings.enabled(frozenset(op.toolset for op in operations.tools()))

    async def face(server: Server) -> None:
        await Face(server.services, server.connection.identify, toolsets, server.heard).serve(wire, _sdk)

    return await _live(settings, face)


def _sdk() -> "type[Sdk]":
    from wvo_mcp.faces.mcp.sdk import Sdk  # over a second, and most clients need nothing of it

    return Sdk


@dataclass(frozen=True, slots=True)
class Server:
    """What the faces of a server work with: its services, who its client is, and the ear of the lease keeper."""

    services: Container
    connection: Connection
    heard: Callable[[], None]


async def _live(settings: Settings, face: Callable[[Server], Awaitable[None]]) -> int:
    """The life of a server around one face: its session, its leases, its candidacy for the background work."""
    register_environment(os.environ)
    log_to_stderr()
    session_id = uuid.uuid4().hex
    async with telling(settings, "mcp", session_id) as telemetry:
        backend = backend_of(settings)
        store = backend.store
        await store.open(make=begun(settings, backend))
        try:
            with ExitStack() as present:
                attend = partial(present.enter_context, backend.attend(session_id))
                if store.is_blank:
                    store.before_making = attend
                else:
                    attend()
                await _work(settings, face, session_id, backend, telemetry)
        finally:
            with anyio.CancelScope(shield=True):
                await store.close()
    return 0


async def _work(
    settings: Settings,
    face: Callable[[Server], Awaitable[None]],
    session_id: str,
    backend: Backend,
    telemetry: "Telemetry | None",
) -> None:
    store = watched(telemetry, backend)
    connection = Connection(settings, session_id)
    clock = SystemClock()
    keeper = keeping.Keeper(
        store, lambda: connection.caller, clock, settings.quiet_max_seconds, settings.lease_grace_seconds
    )
    tracer = SILENT if telemetry is None else telemetry.tracer
    providers = build_providers(settings)
    services = build_services(settings, backend, keeping.Noted(store, keeper.wrote), providers, tracer)
    reporter = build_reporter(settings)
    chores = build_chores(settings, services, reporter)
    if telemetry is not None:
        chores += (gauges(telemetry, services.get(Policy)),)
    leader = background.Leader(store, lambda: connection.caller, clock, chores)

    async def lead() -> None:
        while not begun(settings, backend):  # noqa: ASYNC110 - another process may be the one that begins
            await anyio.sleep(_LOOK_SECONDS)
        await leader.run()

    if begun(settings, backend):
        await background.sync_or_alert(store, services.get(RoadmapFiles), connection.caller)
    await warn_of_epics(settings, store, connection.caller)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(keeper.run)
        tasks.start_soon(lead)
        tasks.start_soon(providers.run)
        await face(Server(services.having({LongWork: Jobs(tasks)}), connection, keeper.heard))
        backend.store.hurry()
        tasks.cancel_scope.cancel()
    if backend.store.is_blank:
        return
    with anyio.CancelScope(shield=True):
        await _take_leave(store, connection.caller, services.get(Policy), reporter)


def gauges(telemetry: "Telemetry", policy: Policy) -> Chore:
    """The leader reads what the gauges of the whole store show."""
    return Chore("gauges", telemetry.interval_seconds, lambda post: telemetry.look(post, post.caller, policy.wip_limit))


async def _take_leave(store: Store, caller: Caller, policy: Policy, reporter: Reporter) -> None:
    try:
        await reporter.leave(store, caller)
    except WvoError as error:
        logger.warning("the health report was not written: %s", error.message)
    try:
        await keeping.end(store, caller, policy)
    except WvoError as error:
        # The lock is given up in a moment; the next claim of anybody does the same on our behalf.
        logger.warning("the session could not be ended: %s", error.message)


async def serve_http(settings: Settings, host: str, port: int, told: Callable[[str], None]) -> int:
    """The whole life of the HTTP server: until it is told to end. `told` gets its address. Raises InvalidInput for a host
    that is not this machine alone or a port that is taken, and what `serve` raises."""
    from wvo_mcp.faces.http import build_site, listen, run  # nothing else needs the web's libraries

    with listen(host, port) as listener:

        async def face(server: Server) -> None:
            server.connection.identify("http")
            await run(build_site(server.services, partial(http_caller, settings)), listener, told)

        return await _live(settings, face)


def http_caller(settings: Settings, agent_id: str) -> Caller:
    """Requests of one agent share a durable session, as its commands do."""
    return Caller(
        agent_id=agent_id,
        session_id=f"http:{agent_id}",
        provider=settings.provider,
        client="http",
        capabilities=settings.capabilities,
        durable=True,
    )
