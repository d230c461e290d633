"""Settings become stores, adapters and services."""

import logging
import os
import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import anyio
import anyio.to_thread

from wvo_mcp.app.components import FunctionComponent
from wvo_mcp.domain.lease import Caller, Policy
from wvo_mcp.execution.clock import SystemClock
from wvo_mcp.execution.directives import DirectiveFiles
from wvo_mcp.execution.providers.workspace import ProvidersOfWorkspace
from wvo_mcp.execution.roadmap.source import RoadmapSource
from wvo_mcp.execution.session_lock import SessionLocks
from wvo_mcp.execution.trust import Trust
from wvo_mcp.operations import Container, Late
from wvo_mcp.orchestration.jobs import LongWork
from wvo_mcp.orchestration.sweeping import sweep
from wvo_mcp.ports import (
    SILENT,
    Clock,
    Directives,
    NoHistory,
    RoadmapFiles,
    RoadmapHistory,
    Store,
    Tracer,
    WatchedStore,
)
from wvo_mcp.ports.backend import Backend
from wvo_mcp.ports.providers import Providers
from wvo_mcp.ports.world import Exchange
from wvo_mcp.project import WrongSetting, not_known
from wvo_mcp.settings import Settings

if TYPE_CHECKING:
    from wvo_mcp.execution.workspaces.checkpoints import FileCheckpoints
    from wvo_mcp.execution.workspaces.judging import Judging
    from wvo_mcp.orchestration.health.loop import HealthLoop
    from wvo_mcp.orchestration.workspaces.triggers import Guard
    from wvo_mcp.ports.access import IdentityTokens
    from wvo_mcp.ports.backend import Snapshots
    from wvo_mcp.ports.checkpoints import Checkpoints, Promotions, Rollbacks
    from wvo_mcp.ports.homes import Homes
    from wvo_mcp.ports.places import Places, Submissions
    from wvo_mcp.ports.planning import AcceptedCommands
    from wvo_mcp.ports.reviews import Commits, Copies, ReviewFiles
    from wvo_mcp.ports.rules import ProjectRules
    from wvo_mcp.ports.safety import Judge
    from wvo_mcp.ports.sandbox import Sandbox
    from wvo_mcp.ports.workers import WorkerLogs
    from wvo_mcp.telemetry.setup import Telemetry

logger = logging.getLogger(__name__)


def policy_of(settings: Settings) -> Policy:
    return Policy(
        wip_limit=settings.wip_limit,
        agent_wip_limit=settings.agent_wip_limit,
        lease_seconds=settings.lease_seconds,
        grace_seconds=settings.lease_grace_seconds,
        approval_seconds=settings.approval_expires_seconds,
        epics=settings.epics,
    )


def backend_at(url: str | None, state_dir: Path, **chosen: Any) -> Backend:
    """The database of a project, chosen here and nowhere else. `agents` may work at once, on which the ranking depends;
    `synchronous` is SQLite's. Raises WrongSetting."""
    if url is None:
        from wvo_mcp.store.sqlite.store import SqliteBackend  # each only where it is used

        return SqliteBackend(state_dir / "state.db", SystemClock(), SessionLocks(state_dir / "sessions"), **chosen)
    try:
        from wvo_mcp.store.postgres.store import PostgresBackend  # the driver comes with an extra, and takes its time
    except ImportError as error:
        raise WrongSetting(
            f"WVO_DATABASE_URL: the PostgreSQL driver is missing ({str(error).splitlines()[0]}); install"
            " wvo-mcp[postgres], or leave the variable unset"
        ) from None
    chosen.pop("synchronous", None)
    return PostgresBackend(url, state_dir / "backups" / "db", **chosen)


def backend_of(settings: Settings) -> Backend:
    return backend_at(
        settings.database_url, settings.state_dir, agents=settings.wip_limit, synchronous=settings.sqlite_synchronous
    )


def begun(settings: Settings, backend: Backend) -> bool:
    """Is there a roadmap or a store here? Where there is neither, nothing is written before the first write of a client."""
    return backend.exists() or settings.roadmap.exists()


async def warn_of_epics(settings: Settings, store: Store, caller: Caller) -> None:
    """A line for each epic of WVO_EPICS that the store does not have, once it has any."""
    if settings.epics is None:
        return
    known = {row["id"] for row in await store.read(caller, lambda tx: tx.tasks.epics())}
    for name in sorted(settings.epics - known) if known else ():
        if "WVO_EPICS" in settings.referring:
            logger.warning("WVO_EPICS: the value that it refers to names an epic that does not exist.")
        else:
            logger.warning("WVO_EPICS: there is no epic %s.%s", name, not_known(name, known))


@asynccontextmanager
async def telemetry_for(settings: Settings, face: str, instance: str) -> AsyncGenerator["Telemetry | None"]:
    """Telemetry while it lasts, if it is turned on. Raises WrongSetting."""
    if not settings.otel_enabled:
        yield None
        return
    try:
        from wvo_mcp.telemetry.setup import begin  # the SDK comes with an extra, and takes its time
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


def watched(telemetry: "Telemetry | None", backend: Backend) -> WatchedStore:
    """The store as everybody but its owner works with it."""
    return backend.store if telemetry is None else telemetry.watch(backend.store, backend.system)


def identity_tokens(settings: Settings) -> "IdentityTokens | None":
    """Of the issuer that the settings trust, if they name one."""
    issuer, audience, url = settings.jwt_issuer, settings.jwt_audience, settings.jwt_jwks_url
    if issuer is None or audience is None or url is None:
        return None
    from wvo_mcp.execution.jwks import JwksTokens  # cryptography, which few need

    return JwksTokens(issuer, audience, url, SystemClock())


def build_providers(settings: Settings) -> ProvidersOfWorkspace:
    trust = Trust(os.environ, settings.root)
    providers = ProvidersOfWorkspace(settings.state_dir / "providers.yaml", os.environ, SystemClock(), trust)
    providers.learn_keys()
    return providers


def sweeper(settings: Settings, services: Container) -> FunctionComponent:
    """Of containers; it looks at a folder, and at nothing else until something was run in one here."""

    def sandbox() -> "Sandbox | None":
        if not (settings.state_dir / "sandbox").exists():
            return None
        return cast("Sandbox", services.part("wvo_mcp.ports.sandbox.Sandbox"))

    return FunctionComponent("the sweeper of containers", run=lambda: sweep(sandbox))


def build_services(
    settings: Settings,
    backend: Backend,
    store: WatchedStore,
    providers: ProvidersOfWorkspace,
    tracer: Tracer = SILENT,
) -> Container:
    """What operations work with; calls wait for long work to its end."""
    clock, policy = SystemClock(), policy_of(settings)
    shared_place = f"{socket.gethostname()}:{settings.roadmap}" if backend.is_shared else None

    # Each is imported when it is first asked for: a first call needs none of them.
    def snapshots() -> "Snapshots":
        from wvo_mcp.execution.reports import ContextSnapshots

        return ContextSnapshots(settings.state_dir / "backups" / "context")

    def exchange() -> Exchange:
        from wvo_mcp.execution.exchange import WorkspaceExchange

        return WorkspaceExchange(settings.root)

    def history() -> RoadmapHistory:
        from wvo_mcp.execution.roadmap.history import RoadmapCommits

        return RoadmapCommits(settings.roadmap)

    def rules() -> "ProjectRules":
        from wvo_mcp.execution.roadmap.rules import RulesOfRoadmap

        return RulesOfRoadmap(settings.roadmap, Trust(os.environ, settings.root))

    def homes() -> "Homes":
        from wvo_mcp.execution.agents.home import WorkerHomes

        return WorkerHomes(settings, os.environ)

    def logs() -> "WorkerLogs":
        from wvo_mcp.execution.agents.logs import WorkerLogFiles

        return WorkerLogFiles(settings.state_dir / "workers")

    def graphs() -> object:
        from wvo_mcp.orchestration.plan.graphs import PlanGraphs

        return PlanGraphs()

    def accepted_plans() -> "AcceptedCommands":
        from wvo_mcp.execution.roadmap.plans import AcceptedPlans

        return AcceptedPlans(Trust(os.environ, settings.root))

    def review_files() -> "ReviewFiles":
        from wvo_mcp.execution.reviews import ReviewFolder

        return ReviewFolder(settings.state_dir / "reviews")

    def commits() -> "Commits":
        from wvo_mcp.execution.reviews import CommitsOfRoot

        return CommitsOfRoot(settings.root, settings.worktrees)

    def copies() -> "Copies":
        from wvo_mcp.execution.workspaces.copies import CommitCopies

        return CommitCopies(settings.root, settings.state_dir / "workers" / "copies", settings.worktrees)

    def judge() -> "Judge":
        from wvo_mcp.execution.safety.judge import PolicyJudge

        path = settings.state_dir / "policy.yaml"
        return PolicyJudge(path, Trust(os.environ, settings.root), clock, settings.root, os.environ)

    def sandbox() -> "Sandbox":
        from wvo_mcp.execution.sandbox.building import docker_sandbox

        return docker_sandbox(settings, os.environ)

    def health() -> "HealthLoop":
        from wvo_mcp.app.leading import build_health

        return build_health(settings, policy, backend.probe, tracer, providers)

    project_rules, the_judge = Late(rules), Late(judge)
    journal = Caller("wvo-mcp", "places", durable=True, pooled=False)

    def places() -> "Places":
        from wvo_mcp.execution.workspaces.places import Worktrees

        return Worktrees(
            root=settings.root,
            folder=settings.worktrees,
            logs=settings.state_dir / "workers",
            store=store,
            caller=journal,
            rules=cast("ProjectRules", project_rules.part),
        )

    def judging() -> "Judging":
        from wvo_mcp.execution.workspaces.judging import Judging
        from wvo_mcp.execution.workspaces.validating import Validator

        return Judging(store, journal, Validator(cast("Judge", the_judge.part)))

    def checkpoints() -> "Checkpoints":
        from wvo_mcp.execution.workspaces.checkpoints import FileCheckpoints

        the_judging = cast("Judging", judged.part)
        return FileCheckpoints(settings.root, settings.worktrees, store, journal, the_judging)

    def rollbacks() -> "Rollbacks":
        from wvo_mcp.execution.workspaces.rolling import FileRollbacks

        checkpoints, the_judging = cast("FileCheckpoints", kept.part), cast("Judging", judged.part)
        return FileRollbacks(settings.root, settings.worktrees, store, journal, checkpoints, the_judging)

    def guard() -> "Guard":
        from wvo_mcp.execution.workspaces.rows import Rows
        from wvo_mcp.execution.workspaces.watching import FileWatchers
        from wvo_mcp.orchestration.workspaces.timing import Timing
        from wvo_mcp.orchestration.workspaces.triggers import Guard

        rows = Rows(store, journal)
        watchers = FileWatchers(settings.root, rows, settings.state_dir / "workers" / "changes")
        timing = Timing(tracer, rows.host)
        return Guard(store, cast("Checkpoints", kept.part), cast("Rollbacks", back.part), watchers, timing)

    def submissions() -> "Submissions":
        from wvo_mcp.execution.workspaces.submitting import PinnedSubmissions

        return PinnedSubmissions(settings.root, store, journal, cast("Judging", judged.part))

    def promotions() -> "Promotions":
        from wvo_mcp.execution.workspaces.promotions import ShadowPromotions
        from wvo_mcp.execution.workspaces.rows import Rows

        rows, the_judging = Rows(store, journal), cast("Judging", judged.part)
        return ShadowPromotions(settings.root, settings.worktrees, rows, the_judging)

    judged, kept, back = Late(judging), Late(checkpoints), Late(rollbacks)
    return Container(
        {
            WatchedStore: store,
            Policy: policy,
            Clock: clock,
            Tracer: tracer,
            LongWork: LongWork(),
            Providers: providers,
            RoadmapFiles: RoadmapSource(settings.roadmap, location=shared_place),
            RoadmapHistory: Late(history) if settings.roadmap_commits else NoHistory(),
            Directives: DirectiveFiles(settings.root),
            Exchange: Late(exchange),
            "wvo_mcp.ports.backend.Backups": Late(lambda: backend.backups),
            "wvo_mcp.ports.backend.Snapshots": Late(snapshots),
            "wvo_mcp.orchestration.health.loop.HealthLoop": Late(health),
            "wvo_mcp.ports.homes.Homes": Late(homes),
            "wvo_mcp.ports.workers.WorkerLogs": Late(logs),
            "wvo_mcp.ports.checkpoints.Checkpoints": kept,
            "wvo_mcp.ports.checkpoints.Rollbacks": back,
            "wvo_mcp.ports.checkpoints.Promotions": Late(promotions),
            "wvo_mcp.orchestration.workspaces.triggers.Guard": Late(guard),
            "wvo_mcp.ports.places.Places": Late(places),
            "wvo_mcp.ports.planning.AcceptedCommands": Late(accepted_plans),
            "wvo_mcp.orchestration.plan.graphs.PlanGraphs": Late(graphs),
            "wvo_mcp.ports.places.Submissions": Late(submissions),
            "wvo_mcp.ports.reviews.Commits": Late(commits),
            "wvo_mcp.ports.reviews.ReviewFiles": Late(review_files),
            "wvo_mcp.ports.reviews.Copies": Late(copies),
            "wvo_mcp.ports.rules.ProjectRules": project_rules,
            "wvo_mcp.ports.safety.Judge": the_judge,
            "wvo_mcp.ports.sandbox.Sandbox": Late(sandbox),
        }
    )
