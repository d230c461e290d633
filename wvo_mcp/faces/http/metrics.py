"""`/metrics`: what a Prometheus collects, from the store at the moment of asking and from this process's own calls."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4, CollectorRegistry, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from wvo_mcp.domain.lease import Caller, Policy
from wvo_mcp.domain.providers.breaker import BreakerState
from wvo_mcp.domain.providers.state import RoutingState
from wvo_mcp.domain.task import Status
from wvo_mcp.operations import Container
from wvo_mcp.orchestration.figures import Figures, measure
from wvo_mcp.orchestration.leader import ROLE
from wvo_mcp.ports import Transaction, WatchedStore
from wvo_mcp.project import installed_version

_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class Metrics:
    """Counts the calls of this process, and adds the store's figures when it is asked."""

    def __init__(self, services: Container, caller: Callable[[], Caller]) -> None:
        self._services = services
        self._caller = caller
        self._registry = CollectorRegistry()
        self._calls = Histogram(
            "wvo_tool_call_duration_seconds",
            "Calls over HTTP by this process, by tool and by ok or the code of the error.",
            ["tool", "result"],
            buckets=_BUCKETS,
            registry=self._registry,
        )

    def counted(self, tool: str, result: str, seconds: float) -> None:
        self._calls.labels(tool, result).observe(seconds)

    content_type = CONTENT_TYPE_PLAIN_0_0_4

    async def text(self) -> bytes:
        """The text format, version 0.0.4. Raises the store's typed errors."""
        figures = await self._services.get(WatchedStore).read(self._caller(), self._look)
        shown = CollectorRegistry()
        shown.register(figures)
        return generate_latest(shown) + generate_latest(self._registry)

    async def _look(self, tx: Transaction) -> "_Figures":
        row = await tx.state.leader(ROLE)
        leads = row is not None and row["session_id"] is not None and tx.liveness.alive(row["session_id"])
        return _Figures(await measure(tx), leads, self._services.get(Policy).wip_limit)


@dataclass(frozen=True, eq=False)
class _Figures(Collector):
    figures: Figures
    leads: bool
    wip_limit: int

    def collect(self) -> Iterator[Metric]:
        figures, flow = self.figures, self.figures.flow
        held = figures.counts.get(Status.IN_PROGRESS.value, 0)
        alerts = {(row["kind"], row["severity"]): row["n"] for row in figures.alerts}
        yield InfoMetricFamily("wvo_build", "The program.", {"version": installed_version()})
        tasks = {(status.value,): figures.counts.get(status.value, 0) for status in Status}
        yield _gauge("wvo_tasks", "Tasks by status.", tasks, "status")
        yield _gauge("wvo_queue_depth", "Ready tasks: those that may be claimed now.", figures.claimable)
        yield _gauge("wvo_wip_limit", "Tasks that may be in progress at once, as this process has it.", self.wip_limit)
        yield _gauge("wvo_wip_utilization_ratio", "Tasks in progress of those that may be.", held / self.wip_limit)
        agents = {(name,): figures.agents.get(name, 0) for name in ("idle", "busy", "offline")}
        yield _gauge("wvo_agents", "Agents by status.", agents, "status")
        yield _gauge("wvo_tasks_completed_last_hour", "Completions in the last hour.", flow.completed)
        yield _gauge("wvo_tasks_created_last_hour", "Tasks created in the last hour, at most 5,000.", flow.created)
        yield _gauge("wvo_alerts_open", "Open alerts.", alerts, "kind", "severity")
        yield _gauge("wvo_leader_alive", "1: a server that lives does the background work.", int(self.leads))
        if figures.stale is not None:
            yield _gauge("wvo_stale_tasks", "Stale tasks, as the last health cycle saw them.", figures.stale)
        yield from _models(figures.routing)
        yield CounterMetricFamily("wvo_lease_expiries", "Leases that ran out, ever.", figures.expiries)


def _models(routing: RoutingState) -> Iterator[Metric]:
    """Gauges, for windows end: what was used before them is forgotten after forty days."""
    uses, labels = dict(sorted(routing.uses.items())), ("provider", "tier")
    tokens = {(*key, window): getattr(use, window) for key, use in uses.items() for window in ("hour", "day")}
    yield _gauge("wvo_model_tokens", "Tokens as budgets count them, by window (UTC).", tokens, *labels, "window")
    for name, text, part in (
        ("cost_dollars", "US dollars of the day (UTC).", "cost"),
        ("attempts", "Attempts of the day (UTC) that were routed there.", "attempts"),
        ("tokens_reserved", "Tokens reserved by work in progress.", "reserved"),
    ):
        yield _gauge(f"wvo_model_{name}", text, {key: getattr(use, part) for key, use in uses.items()}, *labels)
    breakers = {key: 1.0 if one.state is BreakerState.OPEN else 0.5 for key, one in sorted(routing.breakers.items())}
    yield _gauge("wvo_breaker_open", "1: stopped, 0.5: being tried; closed ones have none.", breakers, *labels)


def _gauge(name: str, text: str, value: float | Mapping[tuple[str, ...], float], *labels: str) -> GaugeMetricFamily:
    """One value, or one for each combination of the labels' values."""
    if not isinstance(value, Mapping):
        return GaugeMetricFamily(name, text, value=value)
    family = GaugeMetricFamily(name, text, labels=labels)
    for key, one in value.items():
        family.add_metric(key, one)
    return family
