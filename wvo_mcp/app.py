"""Composition root: settings -> store -> adapters -> operations. The only place where they meet."""

import logging
import os
import random
import socket
import uuid
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractContextManager, asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread

from wvo_mcp.domain.health import Thresholds
from wvo_mcp.domain.known_secrets import register_environment
from wvo_mcp.domain.lease import Caller, Policy
from wvo_mcp.errors import InvalidInput, NotFound, WvoError
from wvo_mcp.execution.clock import SystemClock
from wvo_mcp.execution.context_snapshots import ContextSnapshots
from wvo_mcp.execution.directives import DirectiveFiles
from wvo_mcp.execution.exchange import WorkspaceExchange
from wvo_mcp.execution.health_report import HealthReportFile
from wvo_mcp.execution.identity import Connection, cli_caller
from wvo_mcp.execution.logs import log_to_stderr, redact_last_resort
from wvo_mcp.execution.providers.workspace import ProvidersOfWorkspace
from wvo_mcp.execution.roadmap.history import RoadmapCommits
from wvo_mcp.execution.roadmap.source import RoadmapSource
from wvo_mcp.execution.session_lock import SessionLock, SessionLocks
from wvo_mcp.operations import Services, tools
from wvo_mcp.orchestration import background, backups, delivery, keeping
from wvo_mcp.orchestration.health.loop import HealthLoop
from wvo_mcp.orchestration.health.report import Reporter
from wvo_mcp.orchestration.jobs import Jobs
from wvo_mcp.orchestration.leader.chores import Chore
from wvo_mcp.orchestration.plan import roadmap
from wvo_mcp.orchestration.queue import prefetching
from wvo_mcp.orchestration.routing import file_watch, standing
from wvo_mcp.ports import SILENT, Probe, Store, Tracer, WatchedStore
from wvo_mcp.ports.alerting import AlertChannel
from wvo_mcp.ports.backups import Backups, Restored
from wvo_mcp.settings import Settings, WrongSetting, load
from wvo_mcp.store.sqlite.backup import SqliteBackups
from wvo_mcp.store.sqlite.condition import SqliteProbe
from wvo_mcp.store.sqlite.store import SqliteStore

if TYPE_CHECKING:
    from wvo_mcp.faces.mcp.wire import Wire
    from wvo_mcp.store.postgres.store import PostgresStore
    from wvo_mcp.telemetry import Telemetry

logger = logging.getLogger(__name__)


def policy_of(settings: Settings) -> Policy:
    return Policy(
        wip_limit=settings.wip_limit,
        agent_wip_limit=settings.agent_wip_limit,
        lease_seconds=settings.lease_seconds,
        grace_seconds=settings.lease_grace_seconds,
        epics=settings.epics,
    )


def build_store(settings: Settings) -> "SqliteStore | PostgresStore":
    if settings.database_url is not None:
        try:
            from wvo_mcp.store.postgres.store import PostgresStore  # the driver comes with an extra, and takes its time
        except ImportError as error:
            raise WrongSetting(
                f"WVO_DATABASE_URL: the PostgreSQL driver is missing ({str(error).splitlines()[0]}); install"
                " wvo-mcp[postgres], or leave the variable unset"
            ) from None
        return PostgresStore(settings.database_url)
    return SqliteStore(
        settings.database,
        SystemClock(),
        SessionLocks(settings.state_dir / "sessions"),
        synchronous=settings.sqlite_synchronous,
    )


def build_backups(settings: Settings) -> Backups:
    folder = settings.state_dir / "backups" / "db"
    if settings.database_url is not None:
        from wvo_mcp.store.postgres.backup import PostgresBackups  # as the store itself

        return PostgresBackups(settings.database_url, folder)
    return SqliteBackups(settings.database, folder)


def build_snapshots(settings: Settings) -> ContextSnapshots:
    return ContextSnapshots(settings.state_dir / "backups" / "context")


@asynccontextmanager
async def telling(settings: Settings, face: str, instance: str) -> AsyncGenerator["Telemetry | None"]:
    """Telemetry while it lasts, if it is turned on. Raises WrongSetting."""
    if not settings.otel_enabled:
        yield None
        return
    try:
        from wvo_mcp.telemetry import begin  # the SDK comes with an extra, and takes its time
    except ImportError as error:
        raise WrongSetting(
            f"OTEL_ENABLED: the OpenTelemetry SDK is missing ({str(error).splitlines()[0]}); install wvo-mcp[otel], or"
            " leave the variable unset"
        ) from None
    telemetry = begin(settings.state_dir / "telemetry", face, instance)
    try:
        yield telemetry
    finally:
        if telemetry is not None:
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(telemetry.end)


def watched(telemetry: "Telemetry | None", store: "SqliteStore | PostgresStore") -> WatchedStore:
    """The store as everybody but its owner works with it."""
    if telemetry is None:
        return store
    return telemetry.watch(store, "sqlite" if isinstance(store, SqliteStore) else "postgresql")


def build_probe(settings: Settings, store: "SqliteStore | PostgresStore") -> Probe:
    if isinstance(store, SqliteStore):
        return SqliteProbe(settings.database)
    from wvo_mcp.store.postgres.condition import PostgresProbe  # as the store itself

    return PostgresProbe(store.writer)


def thresholds_of(settings: Settings) -> Thresholds:
    return Thresholds(
        stale_seconds=settings.stale_task_minutes * 60,
        quiet_max_seconds=settings.quiet_max_seconds,
        grace_seconds=settings.lease_grace_seconds,
        interval_seconds=settings.health_interval_ms / 1_000,
        wip_limit=settings.wip_limit,
        auto_remediate=settings.health_auto_remediate,
    )


def build_reporter(settings: Settings) -> Reporter:
    path = settings.state_dir / "analytics" / "autopilot_health_report.json"
    return Reporter(HealthReportFile(path), SystemClock(), settings.health_interval_ms / 1_000)


def build_providers(settings: Settings) -> ProvidersOfWorkspace:
    return ProvidersOfWorkspace(settings.state_dir / "providers.yaml", os.environ, SystemClock())


def build_services(
    settings: Settings,
    store: WatchedStore,
    providers: ProvidersOfWorkspace,
    probe: Probe | None = None,
    tracer: Tracer = SILENT,
) -> Services:
    prepare = partial(standing.look, providers)
    return Services(
        store=store,
        policy=policy_of(settings),
        roadmap=RoadmapSource(
            settings.roadmap,
            place=f"{socket.gethostname()}:{settings.roadmap}" if settings.database_url is not None else None,
        ),
        directives=DirectiveFiles(settings.root),
        backups=build_backups(settings),
        snapshots=build_snapshots(settings),
        exchange=WorkspaceExchange(settings.root),
        history=RoadmapCommits(settings.roadmap) if settings.roadmap_commits else None,
        health=HealthLoop(thresholds_of(settings), policy_of(settings), SystemClock(), probe, tracer, prepare),
        providers=providers,
        tracer=tracer,
    )


def build_chores(settings: Settings, services: Services, reporter: Reporter) -> tuple[Chore, ...]:
    """What the leader does for the whole store."""
    made = background.chores(services.roadmap, services.policy)
    if services.health is not None:
        made += services.health.chores()
    made += delivery.chores(build_couriers(settings))
    made += (prefetching.Prefetching(services.policy).chore(),)
    if services.providers is not None:
        made += (file_watch.chore(services.providers),)
    return (*made, reporter.chore(), *backups.chores(services.backups, build_snapshots(settings)))


def build_couriers(settings: Settings) -> dict[str, delivery.Courier]:
    """One for each channel that is configured, by its name."""
    channels: list[AlertChannel] = []
    # Both late, and only where they are wanted: with the client of HTTP they take a tenth of the start.
    if settings.alert_command:
        from wvo_mcp.execution.alerting.command import AlertCommand

        channels.append(AlertCommand(settings.alert_command, settings.root))
    if settings.alert_webhook_url is not None and settings.alert_webhook_secret is not None:
        from wvo_mcp.execution.alerting.webhook import Webhook

        channels.append(Webhook(settings.alert_webhook_url, settings.alert_webhook_secret, SystemClock()))
    store = f"{socket.gethostname()}:{settings.root.name}"
    spread = random.random
    return {channel.name: delivery.Courier(channel, settings.alert_min_severity, store, spread) for channel in channels}


def attendance(
    settings: Settings, store: "SqliteStore | PostgresStore", session_id: str
) -> AbstractContextManager[object]:
    """While it lasts, the session counts as alive."""
    if isinstance(store, SqliteStore):
        return SessionLock(settings.state_dir / "sessions", session_id)
    return store.attend(session_id)


@asynccontextmanager
async def opened(settings: Settings) -> AsyncGenerator[Services]:
    """The services over an open store, without background work: for one command. Raises the store's typed errors."""
    redact_last_resort()
    store = build_store(settings)
    async with telling(settings, "cli", uuid.uuid4().hex) as telemetry:
        await store.open()
        try:
            tracer = SILENT if telemetry is None else telemetry.tracer
            providers = build_providers(settings)
            yield build_services(settings, watched(telemetry, store), providers, build_probe(settings, store), tracer)
        finally:
            await store.close()


async def living(settings: Settings) -> list[str]:
    """Sessions whose servers are connected to the store, which is not opened: it may lack a part."""
    if settings.database_url is None:
        return SessionLocks(settings.state_dir / "sessions").living()
    from wvo_mcp.store.postgres.presence import connected  # as the store itself

    return await anyio.to_thread.run_sync(connected, settings.database_url)


async def restore(settings: Settings, name: str | None) -> Restored:
    """Put a backup in the place of the store. Raises as `Restoring.restore`."""
    caller = cli_caller(settings)
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


async def serve(wire: "Wire") -> int:
    """The whole life of the stdio server: until the client goes away or the wire is hung up. The exit code.

    Raises WrongSetting and the store's typed errors before anything is served.
    """
    # The SDK takes most of a second to import and nothing else here needs it.
    from wvo_mcp.faces.mcp import build_server, serve_wire

    settings = load()
    toolsets = settings.enabled(frozenset(op.toolset for op in tools()))

    async def face(server: Server) -> None:
        await serve_wire(build_server(server.services, server.connection.identify, toolsets, server.heard), wire)

    return await _live(settings, face)


@dataclass(frozen=True, slots=True)
class Server:
    """What the faces of a server work with: its services, who its client is, and the ear of the lease keeper."""

    services: Services
    connection: Connection
    heard: Callable[[], None]


async def _live(settings: Settings, face: Callable[[Server], Awaitable[None]]) -> int:
    """The life of a server around one face: its session, its leases, its candidacy for the background work."""
    register_environment(os.environ)
    log_to_stderr()
    session_id = uuid.uuid4().hex
    async with telling(settings, "mcp", session_id) as telemetry:
        store = build_store(settings)
        await store.open()
        try:
            with attendance(settings, store, session_id):
                await _work(settings, face, session_id, store, telemetry)
        finally:
            with anyio.CancelScope(shield=True):
                await store.close()
    return 0


async def _work(
    settings: Settings,
    face: Callable[[Server], Awaitable[None]],
    session_id: str,
    opened_store: "SqliteStore | PostgresStore",
    telemetry: "Telemetry | None",
) -> None:
    store = watched(telemetry, opened_store)
    connection = Connection(settings, session_id)
    clock = SystemClock()
    keeper = keeping.Keeper(
        store, lambda: connection.caller, clock, settings.quiet_max_seconds, settings.lease_grace_seconds
    )
    tracer = SILENT if telemetry is None else telemetry.tracer
    providers = build_providers(settings)
    noted, probe = keeping.Noted(store, keeper.wrote), build_probe(settings, opened_store)
    services = build_services(settings, noted, providers, probe, tracer)
    reporter = build_reporter(settings)
    chores = build_chores(settings, services, reporter)
    if telemetry is not None:
        chores += (gauges(telemetry, services.policy),)
    leader = background.Leader(store, lambda: connection.caller, clock, chores)
    await background.sync_or_alert(store, services.roadmap, connection.caller)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(keeper.run)
        tasks.start_soon(leader.run)
        tasks.start_soon(providers.run)
        served = replace(services, jobs=Jobs(services.store, lambda: connection.caller, tasks))
        await face(Server(served, connection, keeper.heard))
        if not isinstance(opened_store, SqliteStore):
            opened_store.hurry()
        tasks.cancel_scope.cancel()
    with anyio.CancelScope(shield=True):
        await _take_leave(store, connection.caller, services.policy, reporter)


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
