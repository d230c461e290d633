"""The metrics (OBS-1): counters and histograms of what this process did, and gauges of the store, which the leader reads."""

import time
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

from opentelemetry.metrics import CallbackOptions, Meter, Observation

from wvo_mcp.domain.task import Status
from wvo_mcp.ports import Transaction

CALLS = "mcp.server.operation.duration"
TRANSACTIONS = "wvo.store.transaction.duration"
EXECUTIONS = "wvo.task.duration"
TOKENS = "gen_ai.client.token.usage"
WORKSPACES = {
    "checkpoint": "wvo.workspace.checkpoint.duration",
    "validation": "wvo.workspace.validation.duration",
    "noticing": "wvo.workspace.noticing.delay",
}

_CALL_SECONDS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 120, 300)
"""The convention's, and finer ones below: most calls take a millisecond."""
_TASK_SECONDS = (1, 10, 30, 60, 120, 300, 600, 1_200, 1_800, 3_600, 7_200, 14_400, 28_800, 86_400)
_HISTOGRAMS = {
    CALLS: ("s", "Duration of calls.", _CALL_SECONDS),
    TRANSACTIONS: ("s", "Duration of transactions, with their wait for the database.", _CALL_SECONDS),
    EXECUTIONS: ("s", "From a claim to its end.", _TASK_SECONDS),
    WORKSPACES["checkpoint"]: ("s", "Duration of checkpoints of files, by trigger and outcome.", _CALL_SECONDS),
    WORKSPACES["validation"]: ("s", "Duration of validations of changed files.", _CALL_SECONDS),
    WORKSPACES["noticing"]: ("s", "From the change of a file until its watcher has it.", _CALL_SECONDS),
    TOKENS: ("{token}", "Tokens that calls of models took.", tuple(4**power for power in range(14))),
}
_COUNTERS = {
    "wvo.tasks.claimed": ("{task}", "Claims that got a task."),
    "wvo.tasks.ended": ("{task}", "Tasks that their holder no longer holds, by outcome."),
    "wvo.lease.expiries": ("{lease}", "Leases that expired."),
    "wvo.alerts.raised": ("{alert}", "Alerts that were raised."),
}
_GAUGES = {
    "wvo.queue.depth": ("{task}", "Ready tasks: those that may be claimed now."),
    "wvo.wip": ("{task}", "Tasks in progress."),
    "wvo.wip.utilization": ("1", "Share of the limit of tasks in progress that is in use."),
    "wvo.alerts.open": ("{alert}", "Alerts that are open, at most 1,000."),
    "wvo.tasks": ("{task}", "Tasks by status."),
}


class Instruments:
    def __init__(self, meter: Meter, interval_seconds: float) -> None:
        self._histograms = {
            name: meter.create_histogram(name, unit, description, explicit_bucket_boundaries_advisory=bounds)
            for name, (unit, description, bounds) in _HISTOGRAMS.items()
        }
        self._counters = {name: meter.create_counter(name, *about) for name, about in _COUNTERS.items()}
        self._fresh_seconds = 2.5 * interval_seconds
        self._seen: dict[str, list[Observation]] = {}
        self._seen_at = float("-inf")
        for name, about in _GAUGES.items():
            meter.create_observable_gauge(name, [partial(self._shown, name)], *about)

    def record(self, name: str, value: float, attributes: Mapping[str, Any]) -> None:
        """One value of a histogram."""
        self._histograms[name].record(value, attributes)

    def count(self, kind: str, data: Mapping[str, Any]) -> None:
        """An event of the audit trail that is committed."""
        if kind == "task.claimed":
            self._counters["wvo.tasks.claimed"].add(1)
        elif kind == "alert.raised":
            self._counters["wvo.alerts.raised"].add(1, {"kind": data["kind"], "severity": data["severity"]})
        elif kind == "provider.reported":
            model = {"gen_ai.provider.name": data["provider"], "gen_ai.request.model": data["model"]}
            self.tokens(model, int(data["tokens_in"]) + int(data["tokens_cached"]), int(data["tokens_out"]))
        if left(data):
            self._counters["wvo.tasks.ended"].add(1, {"outcome": outcome(kind)})
            if kind == "lease.expired":
                self._counters["wvo.lease.expiries"].add(1)

    def tokens(self, model: Mapping[str, Any], incoming: int, outgoing: int) -> None:
        """What one call of a model took."""
        if incoming or outgoing:
            for kind, number in (("input", incoming), ("output", outgoing)):
                self.record(TOKENS, number, {"gen_ai.operation.name": "chat", **model, "gen_ai.token.type": kind})

    async def look(self, tx: Transaction, wip_limit: int) -> None:
        """Read what the gauges show: a row of kept counters each, whatever the size of the store."""
        counts = await tx.tasks.counts()
        wip = counts.get(Status.IN_PROGRESS, 0)
        self._seen = {
            "wvo.queue.depth": [Observation(await tx.health.claimable())],
            "wvo.wip": [Observation(wip)],
            "wvo.wip.utilization": [Observation(wip / wip_limit)],
            "wvo.alerts.open": [Observation(sum(row["n"] for row in await tx.alerts.open_counts()))],
            "wvo.tasks": [Observation(counts.get(status, 0), {"status": status.value}) for status in Status],
        }
        self._seen_at = time.monotonic()

    def _shown(self, name: str, options: CallbackOptions) -> Iterable[Observation]:
        # A server that no longer leads reports nothing; its successor does.
        fresh = time.monotonic() - self._seen_at < self._fresh_seconds
        return self._seen.get(name, []) if fresh else []


def left(data: Mapping[str, Any]) -> bool:
    """Does this event's data say that its holder no longer holds a task?"""
    return data.get("from") == Status.IN_PROGRESS and data.get("to") != Status.IN_PROGRESS and "holder" in data


def outcome(kind: str) -> str:
    """`task.completed` -> completed, `lease.expired` -> expired."""
    return kind.partition(".")[2]
