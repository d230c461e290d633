"""The whole life of an autopilot: a session that claims for its workers, and the pool that drives them."""

import os
import uuid
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio.to_thread

from wvo_mcp.app.building import (
    backend_of,
    begun,
    build_providers,
    build_services,
    policy_of,
    sweeper,
    telemetry_for,
    watched,
)
from wvo_mcp.app.components import Components, FunctionComponent
from wvo_mcp.app.merging import merge_queue
from wvo_mcp.app.serving import Leadership
from wvo_mcp.domain.autopilot import AutopilotOptions, PageAt
from wvo_mcp.domain.finding import Outcome
from wvo_mcp.domain.known_secrets import register_environment
from wvo_mcp.domain.lease import Caller
from wvo_mcp.domain.text import as_id
from wvo_mcp.domain.worker import ExecutionMode
from wvo_mcp.errors import Conflict, InvalidInput, NotConfigured
from wvo_mcp.execution import worker_checks
from wvo_mcp.execution.agents.drivers import drivers as known_drivers
from wvo_mcp.execution.agents.tree import ProcessTrees
from wvo_mcp.execution.clock import SystemClock
from wvo_mcp.execution.logs import log_to_stderr
from wvo_mcp.execution.workspaces.worktree import host_name
from wvo_mcp.operations import Container
from wvo_mcp.orchestration import keeping
from wvo_mcp.orchestration.answering import Programs
from wvo_mcp.orchestration.background import sync_or_alert
from wvo_mcp.orchestration.checking.reviewing import Reviewing
from wvo_mcp.orchestration.merging.queue import MergeQueue
from wvo_mcp.orchestration.planning.planner import Planner
from wvo_mcp.orchestration.pool import spending
from wvo_mcp.orchestration.pool.parts import Limits, News, Parts
from wvo_mcp.orchestration.pool.pool import Pool
from wvo_mcp.orchestration.pool.remaining import remaining, reviewed
from wvo_mcp.orchestration.pool.spending import Caps
from wvo_mcp.orchestration.workspaces.triggers import Guard
from wvo_mcp.ports import SILENT, Directives, RoadmapFiles, Transaction
from wvo_mcp.ports.agents import AgentDriver
from wvo_mcp.ports.homes import Homes
from wvo_mcp.ports.places import Places
from wvo_mcp.ports.reviews import Commits, Copies, ReviewFiles
from wvo_mcp.ports.rules import ProjectRules
from wvo_mcp.ports.safety import Judge
from wvo_mcp.settings import Settings

if TYPE_CHECKING:
    from wvo_mcp.app.page import PageWithin


@dataclass
class Autopilot:
    """One run: `work` is awaited once."""

    run_id: str
    parts: Parts
    pool: Pool
    options: AutopilotOptions
    workers: int
    root: Path
    queue: MergeQueue
    planner: Planner
    beside: Components
    page: PageAt | None = None

    async def plan(self) -> Mapping[str, Any]:
        """What it may do and spend; nothing is launched by asking."""
        parts, options = self.parts, self.options
        await parts.providers.refresh()
        try:
            providers = parts.providers.current().providers
        except InvalidInput as error:
            raise NotConfigured(error.message, hint="Correct state/providers.yaml.") from None
        missing = await parts.homes.missing([one for one in providers if one.enabled])
        git = await anyio.to_thread.run_sync(worker_checks.git, self.root, os.environ)

        async def look(tx: Transaction) -> Mapping[str, Any]:
            estimate = await spending.estimate(tx, parts.providers, parts.caps, options.max_tasks)
            counts = await tx.tasks.counts()
            today = tx.now.replace(hour=0, minute=0, second=0, microsecond=0)
            return {
                "ready": counts.get("ready", 0),
                "open": counts.get("pending", 0),
                "estimate_usd": {"usual": round(estimate.likely, 4), "most": estimate.at_most},
                "day_spent_usd": round(await tx.workers.spent(since=today), 4),
                "unknown": [*estimate.unknown],
            }

        found = dict(await parts.store.read(parts.caller, look))
        notes = [] if git.outcome is Outcome.OK else [f"{git.found[0].upper()}{git.found[1:]}. {git.remedy}"]
        notes += [f"{name}: {one.found}. {one.remedy or ''}".strip() for name, one in missing.items()]
        notes += [
            f"{name} has no cost in providers.yaml, so nothing tells what it spends." for name in found.pop("unknown")
        ]
        notes += [line for line in (parts.judge.unaccepted(), parts.rules.unaccepted()) if line]
        tiers = [
            {"provider": one.name, "tier": tier.value, "model": model.name}
            for one in providers
            if one.enabled and one.name not in missing
            for tier, model in one.tiers.items()
        ]
        return {
            **found,
            "workers": self.workers,
            "max_tasks": options.max_tasks,
            "max_cost_usd": parts.caps.run,
            "day_cap_usd": parts.providers.current().daily_cost,
            "tiers": tiers,
            "notes": notes,
        }

    async def work(self) -> Mapping[str, Any]:
        """Until it is over: what became of the tasks that it began."""
        ended: list[str] = []

        async def serve() -> None:
            ended.append(await self.pool.run())

        await self.beside.run(serve)
        return await self.parts.store.read(self.parts.caller, lambda tx: self._summary(tx, ended[0]))

    async def _summary(self, tx: Transaction, ended: str) -> Mapping[str, Any]:
        parts, tally = self.parts, self.pool.tally
        await reviewed(tx, tally)
        done, failed, waiting = ([*entries.values()] for entries in tally.values())
        landed = [{"task_id": task_id, "commit": commit} for task_id, commit in self.queue.landed.items()]
        if self.options.task is None and not self.options.once:  # else the others were never meant
            known = {task_id for entries in tally.values() for task_id in entries} | {*self.queue.landed}
            waiting += await remaining(tx, parts.policy, parts.pool_agent, known, ended)
        used = round(await tx.workers.spent(run_id=self.run_id), 4)
        return {"done": done, "landed": landed, "failed": failed, "waiting": waiting, "ended": ended, "cost_usd": used}

    def drain(self) -> None:
        """Begin nothing more."""
        self.pool.drain("asked to end")

    def stop(self) -> None:
        """End the workers now; their tasks are kept for the next autopilot."""
        self.pool.stop("the autopilot was stopped")


@asynccontextmanager
async def run_autopilot(
    settings: Settings, options: AutopilotOptions, on_news: News, drivers: Mapping[str, AgentDriver] | None = None
) -> AsyncGenerator[Autopilot]:
    """Entering it launches nothing. `drivers`, by the kind of their provider: these and no others. Raises Conflict while
    another one runs for this store on this host, NotConfigured where there is neither roadmap nor store, InvalidInput for a
    port of its page that is taken, and the store's typed errors."""
    register_environment(os.environ)
    log_to_stderr()
    host = as_id(host_name())[:48]
    session_id = f"autopilot-{uuid.uuid4().hex}"
    caller = Caller(f"auto-{host}", session_id, client="autopilot", worker=True)
    async with telemetry_for(settings, "autopilot", session_id) as telemetry:
        backend = backend_of(settings)
        if not begun(settings, backend):
            raise NotConfigured("There is no roadmap and no store here.", hint="Run wvo-mcp init first.")
        store, policy, clock = watched(telemetry, backend), policy_of(settings), SystemClock()
        keeper = keeping.Keeper(store, lambda: caller, clock, settings.quiet_max_seconds, settings.lease_grace_seconds)
        notifying = keeping.NotifyingStore(store, keeper.wrote)
        providers = build_providers(settings)
        tracer = SILENT if telemetry is None else telemetry.tracer
        services = build_services(settings, backend, notifying, providers, tracer)
        if options.epic is not None:
            policy = replace(policy, epics=frozenset({options.epic}))
        if options.target is not None:
            services.get(ProjectRules).aim(options.target)
        leadership = Leadership(settings, backend, services, store, lambda: caller, telemetry)
        await backend.store.open(make=True)
        try:
            with backend.attend(session_id):
                await store.write(caller, lambda tx: _only_one(tx, caller))
                try:
                    await sync_or_alert(store, services.get(RoadmapFiles), caller)
                    run_cost = settings.max_cost_usd if options.max_cost is None else options.max_cost
                    parts = Parts(
                        store=notifying,
                        caller=caller,
                        policy=policy,
                        providers=providers,
                        drivers=known_drivers() if drivers is None else drivers,
                        places=services.get(Places),
                        homes=services.get(Homes),
                        judge=services.get(Judge),
                        trees=ProcessTrees(settings.worker_memory_mb, settings.worker_cpu_percent),
                        rules=services.get(ProjectRules),
                        directives=services.get(Directives),
                        clock=clock,
                        tracer=tracer,
                        host=host,
                        run_id=uuid.uuid4().hex[:12],
                        logs=settings.state_dir / "workers" / "logs",
                        guard=services.get(Guard),
                        caps=Caps(run_cost, settings.worker_max_cost_usd),
                        limits=Limits(
                            settings.worker_timeout_seconds,
                            settings.worker_idle_seconds,
                            settings.worker_output_mb << 20,
                        ),
                        without=options.without,
                        mode=ExecutionMode(settings.execution_mode),
                        news=on_news,
                        heard=keeper.heard,
                    )
                    size = options.agents or settings.agents
                    most = 1 if options.once else (options.max_tasks or settings.max_iterations)
                    queue = merge_queue(settings, services, notifying, lambda: caller, tracer, on_news)
                    pool = Pool(
                        parts,
                        1 if options.once else size,
                        most=most,
                        only=options.task,
                        waits=options.wait,
                        queue=queue,
                    )
                    reviewing = _reviewing(parts, services, pool, queue)
                    pool.when_over = reviewing.wake
                    queue.changed = pool.look
                    leadership.first_answer.set()

                    beside = (
                        FunctionComponent("the lease keeper", run=keeper.run),
                        FunctionComponent("the leader", run=leadership.run, leave=leadership.leave),
                        FunctionComponent("the look for providers", run=providers.run),
                        FunctionComponent("the merge queue", run=queue.run),
                        FunctionComponent("reviews", run=reviewing.run),
                        sweeper(settings, services),
                    )
                    planner, root = _planner(parts, services), settings.root
                    async with _paged(settings, services, options) as page:
                        components = Components((*beside, page) if page else beside)
                        at = await page.at() if page else None
                        yield Autopilot(parts.run_id, parts, pool, options, size, root, queue, planner, components, at)
                finally:
                    await keeping.end(store, caller, policy)
        finally:
            await backend.store.close()


@asynccontextmanager
async def _paged(
    settings: Settings, services: Container, options: AutopilotOptions
) -> "AsyncGenerator[PageWithin | None]":
    if options.page is None:
        yield None
        return
    from wvo_mcp.app.page import PageWithin, page_listener  # what serves HTTP takes its time

    with page_listener(options.page, or_any=options.any_port) as (listener, note):
        yield PageWithin(settings, services, listener, note)


def _reviewing(parts: Parts, services: Container, pool: Pool, queue: MergeQueue) -> Reviewing:
    """One at a time, beside the pool, which does not end before it."""
    agent_id = f"{parts.pool_agent}.review"

    def changed() -> None:
        pool.look()
        queue.wake()

    reviewing = Reviewing(
        store=parts.store,
        caller=parts.caller,
        answering=_answering(parts, agent_id),
        commits=services.get(Commits),
        copies=services.get(Copies),
        files=services.get(ReviewFiles),
        agent_id=agent_id,
        gives_out=lambda: pool.gives_out,
        news=parts.news,
        changed=changed,
    )
    pool.reviews_wait = reviewing.waits
    return reviewing


def _planner(parts: Parts, services: Container) -> Planner:
    return Planner(
        store=parts.store,
        caller=parts.caller,
        answering=_answering(parts, f"{parts.pool_agent}.plan"),
        providers=parts.providers,
        drivers=parts.drivers,
        rules=parts.rules,
        copies=services.get(Copies),
        news=parts.news,
    )


def _answering(parts: Parts, agent_id: str) -> Programs:
    return Programs(
        store=parts.store,
        caller=parts.caller,
        providers=parts.providers,
        drivers=parts.drivers,
        homes=parts.homes,
        trees=parts.trees,
        clock=parts.clock,
        host=parts.host,
        run_id=parts.run_id,
        logs=parts.logs,
        agent_id=agent_id,
        caps=parts.caps,
        limits=parts.limits,
        without=parts.without,
    )


async def _only_one(tx: Transaction, caller: Caller) -> None:
    """Raises Conflict while another session of this autopilot's agent lives."""
    for session_id in await tx.sessions.connected():
        row = await tx.sessions.get(session_id)
        other = row is not None and row["agent_id"] == caller.agent_id and session_id != caller.session_id
        if other and tx.liveness.alive(session_id):
            pid = (row or {}).get("pid")
            raise Conflict(
                f"Another autopilot runs on this host{'' if pid is None else f' (process {pid})'}.",
                hint="Wait for its end, or stop it: wvo-mcp stop.",
                pid=pid,
            )
    await tx.sessions.ensure()
