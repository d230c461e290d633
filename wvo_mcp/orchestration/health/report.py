"""What people see of health: the answer of `health_check` and `/health`, and the report as a file, hourly by the leader
and when the last server ends."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from wvo_mcp.domain.health import SAMPLES, AnomalyKind, Severity, Thresholds
from wvo_mcp.domain.lease import Caller
from wvo_mcp.domain.news import FAILED as DELIVERY_FAILED
from wvo_mcp.errors import WvoError
from wvo_mcp.orchestration.health.act import BLIND, FAILED, REMEDIED
from wvo_mcp.orchestration.health.loop import late, leads
from wvo_mcp.orchestration.health.observe import open_alerts
from wvo_mcp.orchestration.hourly import FAILED as BACKUP_FAILED
from wvo_mcp.orchestration.leader import ROLE, LeaderJob, LeaderTerm
from wvo_mcp.orchestration.routing.overview import PROVIDERS_FILE
from wvo_mcp.ports import Clock, Reports, Row, Store, Transaction

HOURLY_SECONDS = 3_600.0
_CHECK_SECONDS = 60.0
_REMEDIATIONS = 20


async def report(tx: Transaction, *, running: bool) -> dict[str, Any]:
    """{running, lastCycle, metricsHistory, activeAnomalies, recentRemediations} (contract, section 8)."""
    history = await tx.health.samples(SAMPLES)
    done: list[tuple[int, dict[str, Any]]] = []
    for kind in (REMEDIED, FAILED):
        behind = await tx.events.before_last(_REMEDIATIONS, None, kind)
        for event in await tx.events.after(behind, _REMEDIATIONS, None, kind):
            about = {name: event.data.get(name) for name in ("anomaly", "action", "subject", "result", "message")}
            done.append((event.seq, {"timestamp": event.model_dump(mode="json")["at"], **about}))
    return {
        "running": running,
        "lastCycle": history[-1]["timestamp"] if history else None,
        "metricsHistory": history,
        "activeAnomalies": [
            {**_shown(row, "evidence", "times"), "lastSeen": row["last_seen_at"]}
            for row in (await open_alerts(tx, AnomalyKind)).values()
        ],
        "recentRemediations": [shown for _, shown in sorted(done, key=lambda pair: pair[0])][-_REMEDIATIONS:],
    }


class Reporter:
    """Writes it when it is due."""

    def __init__(self, reports: Reports, clock: Clock, interval_seconds: float) -> None:
        self._reports = reports
        self._clock = clock
        self._check_seconds = min(_CHECK_SECONDS, interval_seconds)
        self._term: int | None = None
        self._due = 0.0

    def job(self) -> LeaderJob:
        return LeaderJob("health_report", self._check_seconds, self.write_due)

    async def write_due(self, term: LeaderTerm) -> None:
        """Once after the first cycle of a term, then every hour."""
        if term.token == self._term and self._clock.steady() < self._due:
            return
        made = await term.read(term.caller, lambda tx: report(tx, running=True))
        if made["lastCycle"] is None:
            return
        await term.check()
        await self._reports.write(made)
        self._term = term.token
        self._due = self._clock.steady() + HOURLY_SECONDS

    async def leave(self, store: Store, caller: Caller) -> None:
        """This server ends: it writes a last report if it leads, or if no server does. Raises WvoError."""

        async def last(tx: Transaction) -> dict[str, Any] | None:
            row = await tx.state.leader(ROLE)
            ours = row is not None and row["session_id"] == caller.session_id
            return await report(tx, running=False) if ours or not await leads(tx) else None

        # Read in line with the writes: that of a cycle that was just cancelled may still be on its way.
        made = await store.write(caller, last, keep=False)
        if made is not None and made["lastCycle"] is not None:
            await self._reports.write(made)


_PROVIDERS = (AnomalyKind.PROVIDER_CAPACITY, AnomalyKind.ALL_PROVIDERS_FAILING, PROVIDERS_FILE)
_QUEUE = tuple(kind for kind in AnomalyKind if kind not in (AnomalyKind.DATABASE, *_PROVIDERS))
_SERVER = (BLIND, BACKUP_FAILED, DELIVERY_FAILED)
"""What the leader cannot do, whatever the severity of its alert: the store and its agents go on."""
_UNKNOWN = "not known: the store cannot be read"
_ORDER = {"critical": 0, "warning": 1}


@dataclass(frozen=True, slots=True)
class Checkup:
    """Is all well, and if not, why. `checks` has database, mcp_server, providers and task_queue: `ok`, or the reason."""

    status: str
    """healthy, degraded, unhealthy."""
    checks: dict[str, str]
    timestamp: datetime
    anomalies: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    """{kind, severity, message, since, acknowledged} of those whose alert is open, worst first."""


async def checkup(store: Store, caller: Caller, limits: Thresholds, clock: Clock) -> Checkup:
    """Also of a store that cannot be read. Raises nothing for what is wrong."""
    try:
        return await store.read(caller, lambda tx: _checkup(tx, limits))
    except WvoError as error:
        checks = {"database": error.message, "mcp_server": "ok", "providers": _UNKNOWN, "task_queue": _UNKNOWN}
        return Checkup("unhealthy", checks, clock.now())


async def _checkup(tx: Transaction, limits: Thresholds) -> Checkup:
    found = await open_alerts(tx, (*AnomalyKind, PROVIDERS_FILE, *_SERVER))
    worst = sorted(found.values(), key=lambda row: (_ORDER.get(row["severity"], 2), row["id"]))

    def reason(kinds: Iterable[str]) -> str:
        rows = [row for row in worst if row["kind"] in kinds and row["severity"] != "info"]
        return "; ".join(row["message"] for row in rows)[:1_000] or "ok"

    checks = {
        "database": reason([AnomalyKind.DATABASE]),
        "mcp_server": await late(tx, limits) or reason(_SERVER),
        "providers": reason(_PROVIDERS),
        "task_queue": reason(_QUEUE),
    }
    anomalies = [_shown(row) for row in worst if row["kind"] not in _SERVER]
    if any(one["severity"] == Severity.CRITICAL for one in anomalies):
        status = "unhealthy"
    else:
        status = "healthy" if all(answer == "ok" for answer in checks.values()) else "degraded"
    return Checkup(status, checks, tx.now, anomalies)


def _shown(row: Row, *more: str) -> dict[str, Any]:
    same = {name: row[name] for name in ("kind", "severity", "message", *more)}
    return {**same, "since": row["raised_at"], "acknowledged": row["acknowledged_at"] is not None}
