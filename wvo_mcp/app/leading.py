"""What only the server that leads does, and the health loop. Imported when it begins to lead: most servers never do."""

import random
import socket
from functools import partial
from typing import TYPE_CHECKING

from wvo_mcp.domain.health import Thresholds
from wvo_mcp.domain.lease import Policy
from wvo_mcp.execution.clock import SystemClock
from wvo_mcp.execution.reports import HealthReportFile
from wvo_mcp.operations import Container
from wvo_mcp.orchestration import background, delivery, hourly, overdue, patterns
from wvo_mcp.orchestration.approvals import deciding
from wvo_mcp.orchestration.checking.watching import watching
from wvo_mcp.orchestration.health.loop import HealthLoop
from wvo_mcp.orchestration.health.report import Reporter
from wvo_mcp.orchestration.leader import LeaderJob
from wvo_mcp.orchestration.merging.unattended import unattended
from wvo_mcp.orchestration.plan.rules import policy_check, rules_check
from wvo_mcp.orchestration.queue.planning import Prefetching
from wvo_mcp.orchestration.routing import overview
from wvo_mcp.ports import Clock, RoadmapFiles, Tracer
from wvo_mcp.ports.backend import Backups, Snapshots
from wvo_mcp.ports.providers import Providers
from wvo_mcp.ports.rules import ProjectRules
from wvo_mcp.ports.safety import Judge
from wvo_mcp.ports.world import AlertChannel, Probe
from wvo_mcp.settings import Settings

if TYPE_CHECKING:
    from wvo_mcp.telemetry.setup import Telemetry


def build_health(settings: Settings, policy: Policy, probe: Probe, tracer: Tracer, providers: Providers) -> HealthLoop:
    thresholds = Thresholds(
        stale_seconds=settings.stale_task_minutes * 60,
        quiet_max_seconds=settings.quiet_max_seconds,
        grace_seconds=settings.lease_grace_seconds,
        interval_seconds=settings.health_interval_ms / 1_000,
        wip_limit=settings.wip_limit,
        auto_remediate=settings.health_auto_remediate,
    )
    return HealthLoop(thresholds, policy, SystemClock(), probe, tracer, partial(overview.refresh, providers))


class LeaderWork:
    """What the leader does for the whole store, and the report that is left at the end."""

    def __init__(self, settings: Settings, services: Container, telemetry: "Telemetry | None") -> None:
        policy = services.get(Policy)
        path = settings.state_dir / "analytics" / "autopilot_health_report.json"
        self.reporter = Reporter(HealthReportFile(path), SystemClock(), settings.health_interval_ms / 1_000)
        self.jobs: tuple[LeaderJob, ...] = (
            *background.leader_jobs(services.get(RoadmapFiles), policy),
            background.watch_time(services.get(Clock)),
            *services.get(HealthLoop).jobs(),
            *delivery.leader_jobs(_couriers(settings)),
            Prefetching(policy).job(),
            deciding.expiring(),
            unattended(),
            overdue.retrying(),
            patterns.forgetting(),
            watching(services.get(ProjectRules), services.get(Providers)),
            overview.file_check(services.get(Providers)),
            rules_check(services.get(ProjectRules)),
            policy_check(services.get(Judge)),
            self.reporter.job(),
            *hourly.leader_jobs(services.get(Backups), services.get(Snapshots)),
        )
        if telemetry is not None:
            self.jobs += (_gauges(telemetry, policy),)


def _gauges(telemetry: "Telemetry", policy: Policy) -> LeaderJob:
    """The leader reads what the gauges of the whole store show."""
    return LeaderJob(
        "gauges", telemetry.interval_seconds, lambda term: telemetry.look(term, term.caller, policy.wip_limit)
    )


def _couriers(settings: Settings) -> dict[str, delivery.Courier]:
    """One for each channel that is configured, by its name."""
    channels: list[AlertChannel] = []
    if settings.alert_command or settings.alert_webhook_url:
        from wvo_mcp.execution.alerting import AlertCommand, Webhook  # with the client of HTTP a tenth of the start

        if settings.alert_command:
            channels.append(AlertCommand(settings.alert_command, settings.root))
        if settings.alert_webhook_url is not None and settings.alert_webhook_secret is not None:
            channels.append(Webhook(settings.alert_webhook_url, settings.alert_webhook_secret, SystemClock()))
    store = f"{socket.gethostname()}:{settings.root.name}"
    spread = random.SystemRandom().random
    return {channel.name: delivery.Courier(channel, settings.alert_min_severity, store, spread) for channel in channels}
