"""The metrics (OBS-1): counters and histograms of what this process did, and gauges of the store, which the leader reads."""

import time
from collections.abc import Iterable, Mapping
from typing import Any

from opentelemetry.metrics import CallbackOptions, Meter, Observation

from wvo_mcp.domain.task import Status
from wvo_mcp.ports import Transaction

_CALL_SECONDS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 120, 300)
"""The convention's, and finer ones below: most calls take a millisecond."""
_TASK_SECONDS = (1, 10, 30, 60, 120, 300, 600, 1_200, 1_800, 3_600, 7_200, 14_400, 28_800, 86_400)
_TOKENS = (1, 4, 16, 64, 256, 1_024, 4_096, 16_384, 65_536, 262_144, 1_048_576, 4_194_304, 16_777_216, 67_108_864)
_GAUGES = {
    "wvo.queue.depth": ("{task}", "Ready tasks: those that may be claimed now."),
    "wvo.wip": ("{task}", "Tasks in progress."),
    "wvo.wip.utilization": ("1", "Share of the limit of tasks in progress that is in use."),
    "wvo.alerts.open": ("{alert}", "Alerts that are open, at most 1,000."),
}


class Instruments:
    def __init__(self, meter: Meter, interval_seconds: float) -> None:
        histogram, counter = meter.create_histogram, meter.create_counter
        self.calls = histogram(
            "mcp.server.operation.duration",
            "s",
            "How long calls took.",
            explicit_bucket_boundaries_advisory=_CALL_SECONDS,
        )
        self.transactions = histogram(
            "wvo.store.transaction.duration",
            "s",
            "How long transactions took, with their wait for the database.",
            explicit_bucket_boundaries_advisory=_CALL_SECONDS,
        )
        self.executions = histogram(
            "wvo.task.duration",
            "s",
            "From a claim to its end.",
            explicit_bucket_boundaries_advisory=_TASK_SECONDS,
        )
        self.tokens = histogram(
            "gen_ai.client.token.usage",
            "{token}",
            "Tokens that calls of models took.",
            explicit_bucket_boundaries_advisory=_TOKENS,
        )
        self.claimed = counter("wvo.tasks.claimed", "{task}", "Claims that got a task.")
        self.ended = counter("wvo.tasks.ended", "{task}", "Tasks that left the hands of their holder, by outcome.")
        self.expired = counter("wvo.lease.expiries", "{lease}", "Leases that ran out.")
        self.alerts = counter("wvo.alerts.raised", "{alert}", "Alerts that were raised.")
        self._fresh_seconds = 2.5 * interval_seconds
        self._seen: dict[str, float] = {}
        self._seen_at = float("-inf")
        for name, (unit, description) in _GAUGES.items():
            meter.create_observable_gauge(name, [self._callback(name)], unit, description)
        meter.create_observable_gauge("wvo.tasks", [self._by_status], "{task}", "Tasks by status.")

    def count(self, kind: str, data: Mapping[str, Any]) -> None:
        """An event of the audit trail that is committed."""
        if kind == "task.claimed":
            self.claimed.add(1)
        elif kind == "alert.raised":
            self.alerts.add(1, {"kind": data["kind"], "severity": data["severity"]})
        if left(data):
            self.ended.add(1, {"outcome": outcome(kind)})
            if kind == "lease.expired":
                self.expired.add(1)

    async def look(self, tx: Transaction, wip_limit: int) -> None:
        """Read what the gauges show: a row of kept counters each, whatever the size of the store."""
        counts = await tx.tasks.counts()
        alerts = sum(row["n"] for row in await tx.alerts.open_counts())
        wip = counts.get(Status.IN_PROGRESS, 0)
        self._seen = {
            "wvo.queue.depth": await tx.health.claimable(),
            "wvo.wip": wip,
            "wvo.wip.utilization": wip / wip_limit,
            "wvo.alerts.open": alerts,
            **{f"status.{status}": counts.get(status, 0) for status in Status},
        }
        self._seen_at = time.monotonic()

    def _fresh(self) -> Mapping[str, float]:
        # A server that has lost the post has nothing to say; its successor says it.
        return self._seen if time.monotonic() - self._seen_at < self._fresh_seconds else {}

    def _callback(self, name: str) -> Any:
        def observe(options: CallbackOptions) -> Iterable[Observation]:
            seen = self._fresh()
            return [Observation(seen[name])] if seen else []

        return observe

    def _by_status(self, options: CallbackOptions) -> Iterable[Observation]:
        seen = self._fresh()
        return [Observation(seen[f"status.{status}"], {"status": status.value}) for status in Status] if seen else []


def left(data: Mapping[str, Any]) -> bool:
    """Does this event's data say that a task left the hands of its holder?"""
    return data.get("from") == Status.IN_PROGRESS and data.get("to") != Status.IN_PROGRESS and "holder" in data


def outcome(kind: str) -> str:
    """`task.completed` -> completed, `lease.expired` -> expired."""
    return kind.partition(".")[2]
