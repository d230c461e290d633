"""Runner processes: what moves a target, runs verifications and, one day, steps of flows."""

import os
import uuid
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from wvo_mcp.app.building import backend_of, begun, build_providers, build_services, policy_of, telemetry_for, watched
from wvo_mcp.app.components import Components, FunctionComponent
from wvo_mcp.app.merging import News, merge_queue
from wvo_mcp.app.serving import Leadership
from wvo_mcp.domain.known_secrets import register_environment
from wvo_mcp.domain.lease import Caller
from wvo_mcp.domain.text import as_id
from wvo_mcp.errors import NotConfigured
from wvo_mcp.execution.identity import check_not_below_warden
from wvo_mcp.execution.logs import log_to_stderr
from wvo_mcp.execution.workspaces.worktree import host_name
from wvo_mcp.orchestration import keeping
from wvo_mcp.orchestration.background import sync_or_alert
from wvo_mcp.orchestration.merging.queue import MergeQueue
from wvo_mcp.ports import SILENT, RoadmapFiles
from wvo_mcp.settings import Settings


@dataclass
class QueueRun:
    """One life of `wvo-mcp run`: `work` is awaited once."""

    queue: MergeQueue
    beside: Components

    async def work(self, *, once: bool) -> None:
        """Until cancelled; with `once` until nothing is left that can land now."""

        async def serve() -> None:
            if once:
                while await self.queue.turn():
                    pass
            else:
                await self.queue.run()

        await self.beside.run(serve)


@asynccontextmanager
async def run_queue(settings: Settings, on_news: News) -> AsyncGenerator[QueueRun]:
    """Raises NotConfigured where there is neither roadmap nor store, and the store's typed errors."""
    check_not_below_warden("run")  # a worker lands nothing
    register_environment(os.environ)
    log_to_stderr()
    session_id = f"runner-{uuid.uuid4().hex}"
    caller = Caller(f"runner-{as_id(host_name())[:48]}", session_id, client="runner")
    async with telemetry_for(settings, "runner", session_id) as telemetry:
        backend = backend_of(settings)
        if not begun(settings, backend):
            raise NotConfigured("There is no roadmap and no store here.", hint="Run wvo-mcp init first.")
        store, policy = watched(telemetry, backend), policy_of(settings)
        tracer = SILENT if telemetry is None else telemetry.tracer
        services = build_services(settings, backend, store, build_providers(settings), tracer)
        leadership = Leadership(settings, backend, services, store, lambda: caller, telemetry)
        await backend.store.open(make=True)
        try:
            with backend.attend(session_id):
                await store.write(caller, lambda tx: tx.sessions.ensure())
                try:
                    await sync_or_alert(store, services.get(RoadmapFiles), caller)
                    queue = merge_queue(settings, services, store, lambda: caller, tracer, on_news)
                    leadership.first_answer.set()
                    leader = FunctionComponent("the leader", run=leadership.run, leave=leadership.leave)
                    yield QueueRun(queue, Components((leader,)))
                finally:
                    await keeping.end(store, caller, policy)
        finally:
            await backend.store.close()
