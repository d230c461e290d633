"""The whole life of a server around one face."""

import logging
import os
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Any

import anyio
import anyio.to_thread

from wvo_mcp.app.building import (
    backend_of,
    begun,
    build_providers,
    build_services,
    policy_of,
    sweeper,
    telemetry_for,
    warn_of_epics,
    watched,
)
from wvo_mcp.app.components import Components, FunctionComponent
from wvo_mcp.domain.known_secrets import register_environment
from wvo_mcp.domain.lease import Caller
from wvo_mcp.execution.clock import SystemClock
from wvo_mcp.execution.identity import Connection
from wvo_mcp.execution.logs import log_to_stderr
from wvo_mcp.operations import Container
from wvo_mcp.orchestration import keeping
from wvo_mcp.orchestration.jobs import Jobs, LongWork
from wvo_mcp.orchestration.leader import Leader, LeaderJob, led_for
from wvo_mcp.orchestration.plan import guard
from wvo_mcp.ports import SILENT, RoadmapFiles, Store
from wvo_mcp.ports.backend import Backend
from wvo_mcp.settings import Settings, load

if TYPE_CHECKING:
    from wvo_mcp.app.leading import LeaderWork
    from wvo_mcp.faces.mcp.face import Wire
    from wvo_mcp.telemetry.setup import Telemetry

logger = logging.getLogger(__name__)

_LOOK_SECONDS = 1.0
"""How often a server where nothing has begun looks whether something has."""
_FIRST_ANSWER_SECONDS = 1.0
"""How long the leader waits for the first answer: it imports more than a first call needs."""


async def serve(wire: "Wire", toolsets: frozenset[str]) -> int:
    """The whole life of the stdio server of these toolsets: until the client goes away or the wire is hung up. The exit
    code.

    Raises WrongSetting and the store's typed errors before anything is served.
    """
    from wvo_mcp.faces.mcp.face import Face  # commands never need it

    settings = load()

    async def face(server: Server) -> None:
        await Face(server.services, server.connection.identify, toolsets, server.heard, server.answered).serve(wire)

    return await live(settings, face)


@dataclass(frozen=True, slots=True)
class Server:
    """What a face works with: the services, who its client is, and what to call when a tool is called and when it was
    answered."""

    services: Container
    connection: Connection
    heard: Callable[[], None]
    answered: Callable[[], None]


Face = Callable[[Server], Awaitable[None]]
"""Serves until its client goes away."""


async def live(settings: Settings, face: Face, *, runs: bool = False) -> int:
    """The life of a server around one face: its session, its leases, its candidacy for the background work. With `runs` it
    lands work too."""
    register_environment(os.environ)
    log_to_stderr()
    session_id = uuid.uuid4().hex
    async with telemetry_for(settings, "mcp", session_id) as telemetry:
        backend = backend_of(settings)
        store, policy = watched(telemetry, backend), policy_of(settings)
        connection = Connection(settings, session_id)
        keeper = keeping.Keeper(
            store, lambda: connection.caller, SystemClock(), settings.quiet_max_seconds, settings.lease_grace_seconds
        )
        providers = build_providers(settings)
        tracer = SILENT if telemetry is None else telemetry.tracer
        jobs = Jobs()
        notifying = keeping.NotifyingStore(store, keeper.wrote)
        services = build_services(settings, backend, notifying, providers, tracer).having({LongWork: jobs})
        leadership = Leadership(settings, backend, services, store, lambda: connection.caller, telemetry)
        attendance = ExitStack()

        def attend() -> None:
            attendance.close()  # a store that could not be made is tried again with the next write
            attendance.enter_context(backend.attend(session_id))

        async def take_lock() -> None:
            """Says that this session lives; nothing is written for it before there is a store."""
            if backend.store.is_blank:
                backend.store.before_making = attend
            else:
                attend()

        async def release_lock() -> None:
            attendance.close()

        async def end_session() -> None:
            # Where it fails, the lock is given up in a moment: the next claim of anybody does the same on our behalf.
            if not backend.store.is_blank:
                await keeping.end(store, connection.caller, policy)

        async def serve() -> None:
            if settings.worker_key is not None:
                await _admit(store, connection, settings.worker_key)
            if not connection.caller.restricted and begun(settings, backend):
                await _sync(store, services.get(RoadmapFiles), connection.caller)
            await warn_of_epics(settings, store, connection.caller)
            await face(Server(services, connection, keeper.heard, leadership.first_answer.set))

        async def land() -> None:
            from wvo_mcp.app.merging import merge_queue  # few servers land work

            while backend.store.is_blank:  # noqa: ASYNC110 - another process may be the one that begins
                await anyio.sleep(_LOOK_SECONDS)
            await merge_queue(settings, services, notifying, lambda: connection.caller, tracer, _log_news).run()

        runner = (FunctionComponent("the merge queue", run=land),) if runs else ()
        await Components(
            (
                FunctionComponent(
                    "the store",
                    begin=lambda: backend.store.open(make=begun(settings, backend)),
                    hurry=backend.store.hurry,
                    leave=backend.store.close,
                ),
                FunctionComponent("the session's lock", begin=take_lock, leave=release_lock),
                FunctionComponent("the lease keeper", run=keeper.run, leave=end_session),
                jobs,
                FunctionComponent("the leader", run=leadership.run, leave=leadership.leave),
                FunctionComponent("the look for providers", run=providers.run),
                sweeper(settings, services),
                *runner,
            )
        ).run(serve)
    return 0


def _log_news(one: Mapping[str, Any]) -> None:
    logger.info("%s: %s %s", one.get("task_id"), one.get("event"), one.get("reason") or one.get("commit") or "")


async def _admit(store: Store, connection: Connection, key: str) -> None:
    from wvo_mcp.orchestration.tasks import admission  # only workers show a key

    found = await store.read(connection.caller, lambda tx: admission.admit(tx, key))
    if isinstance(found, str):
        connection.refuse(found)
        logger.warning("%s", found)
    else:
        worker, admitted = found
        connection.admit(worker.agent_id, worker.provider, admitted)


async def _sync(store: Store, files: RoadmapFiles, caller: Caller) -> None:
    if await guard.is_settled(store, files, caller):
        return
    from wvo_mcp.orchestration.background import sync_or_alert  # most starts find the file as it was merged

    await sync_or_alert(store, files, caller)


@dataclass
class Leadership:
    """Seeks to lead from the first answer on, and does the leader's jobs while it does. What they need is imported when
    they begin: eight servers that start at once would load it eight times, for one that leads."""

    settings: Settings
    backend: Backend
    services: Container
    store: Store
    caller: Callable[[], Caller]
    telemetry: "Telemetry | None"
    first_answer: anyio.Event = field(default_factory=anyio.Event)
    """A call was answered. A client that never calls is waited for only so long."""
    _work: "LeaderWork | None" = None

    async def run(self) -> None:
        with anyio.move_on_after(_FIRST_ANSWER_SECONDS):
            await self.first_answer.wait()
        if self.caller().restricted:
            return  # a worker has no part in the work for all
        while not begun(self.settings, self.backend):  # noqa: ASYNC110 - another process may be the one that begins
            await anyio.sleep(_LOOK_SECONDS)

        async def jobs() -> Sequence[LeaderJob]:
            return (await self._loaded()).jobs

        await Leader(self.store, self.caller, SystemClock(), jobs).run()

    async def leave(self) -> None:
        caller = self.caller()
        if caller.restricted:
            return
        if not self.backend.store.is_blank and await self.store.read(caller, led_for) == 0:
            await (await self._loaded()).reporter.leave(self.store, caller)

    async def _loaded(self) -> "LeaderWork":
        if self._work is not None:
            return self._work
        # A tenth of a second that only one server of a store has to spend.
        leading = await anyio.to_thread.run_sync(import_module, "wvo_mcp.app.leading")
        work: LeaderWork = leading.LeaderWork(self.settings, self.services, self.telemetry)
        self._work = work
        return work
