"""`/metrics`: what a Prometheus collects, from the store at the moment of asking and from this process's own calls."""

from collections.abc import Callable, Iterable, Iterator
from importlib.metadata import version

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
        caller = self._caller()
        figures, leads = await self._services.get(WatchedStore).read(caller, _look)
        shown = CollectorRegistry()
        shown.register(_Told(lambda: _families(figures, leads, self._services.get(Policy).wip_limit)))
        return generate_latest(shown) + generate_latest(self._registry)


async def _look(tx: Transaction) -> tuple[Figures, bool]:
    row = await tx.state.leader(ROLE)
    leads = row is not None and row["session_id"] is not None and tx.liveness.alive(row["session_id"])
    return await measure(tx), leads


class _Told(Collector):
    def __init__(self, families: Callable[[], Iterable[Metric]]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families()


def _families(figures: Figures, leads: bool, wip_limit: int) -> Iterator[Metric]:
    yield InfoMetricFamily("wvo_build", "The program.", {"version": version("wvo-mcp")})
    tasks = GaugeMetricFamily("wvo_tasks", "Tasks by status.", labels=["status"])
    for status in Status:
        tasks.add_metric([status.value], figures.counts.get(status.value, 0))
    yield tasks
    held = figures.counts.get(Status.IN_PROGRESS.value, 0)
    yield _gauge("wvo_queue_depth", "Ready tasks: those that may be claimed now.", figures.claimable)
    yield _gauge("wvo_wip_limit", "Tasks that may be in progress at once, as this process has it.", wip_limit)
    yield _gauge("wvo_wip_utilization_ratio", "Tasks in progress of those that may be.", held / wip_limit)
    agents = GaugeMetricFamily("wvo_agents", "Agents by status.", labels=["status"])
    for name in ("idle", "busy", "offline"):
        agents.add_metric([name], figures.agents.get(name, 0))
    yield agents
    yield _gauge("wvo_tasks_completed_last_hour", "Completions in the last hour.", figures.flow.completed)
    yield _gauge("wvo_tasks_created_last_hour", "Tasks created in the last hour, at most 5,000.", figures.flow.created)
    alerts = GaugeMetricFamily("wvo_alerts_open", "Open alerts.", labels=["kind", "severity"])
    for row in figures.alerts:
        alerts.add_metric([row["kind"], row["severity"]], row["n"])
    yield alerts
    yield _gauge("wvo_leader_alive", "1: a server that lives does the background work.", int(leads))
    if figures.stale is not None:
        yield _gauge("wvo_stale_tasks", "Stale tasks, as the last health cycle saw them.", figures.stale)
    yield from _models(figures.routing)
    expiries = CounterMetricFamily("wvo_lease_expiries", "Leases that ran out, ever.")
    expiries.add_metric([], figures.expiries)
    yield expiries


def _models(routing: RoutingState) -> Iterator[Metric]:
    """Gauges, for windows end: what was used before them is forgotten after forty days."""
    labels = ["provider", "tier"]
    tokens = GaugeMetricFamily(
        "wvo_model_tokens", "Tokens as budgets count them, by window (UTC).", labels=[*labels, "window"]
    )
    cost = GaugeMetricFamily("wvo_model_cost_dollars", "US dollars of the day (UTC).", labels=labels)
    attempts = GaugeMetricFamily(
        "wvo_model_attempts", "Attempts of the day (UTC) that were routed there.", labels=labels
    )
    reserved = GaugeMetricFamily("wvo_model_tokens_reserved", "Tokens reserved by work in progress.", labels=labels)
    for key, use in sorted(routing.uses.items()):
        tokens.add_metric([*key, "hour"], use.hour)
        tokens.add_metric([*key, "day"], use.day)
        cost.add_metric(key, use.cost)
        attempts.add_metric(key, use.attempts)
        reserved.add_metric(key, use.reserved)
    yield from (tokens, cost, attempts, reserved)
    breakers = GaugeMetricFamily(
        "wvo_breaker_open", "1: stopped, 0.5: being tried; closed ones have none.", labels=labels
    )
    for key, one in sorted(routing.breakers.items()):
        breakers.add_metric(key, 1.0 if one.state is BreakerState.OPEN else 0.5)
    yield breakers


def _gauge(name: str, text: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, text, value=value)
