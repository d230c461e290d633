"""The answer of the tool `health_check` and of `/health`: is all well, and if not, why."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from wvo_mcp.domain.health import AnomalyKind, Severity, Thresholds
from wvo_mcp.domain.instant import iso
from wvo_mcp.domain.lease import Caller
from wvo_mcp.domain.news import FAILED as DELIVERY_FAILED
from wvo_mcp.errors import WvoError
from wvo_mcp.orchestration.backups import FAILED as BACKUP_FAILED
from wvo_mcp.orchestration.health.act import BLIND
from wvo_mcp.orchestration.health.loop import late
from wvo_mcp.orchestration.health.observe import open_alerts
from wvo_mcp.orchestration.routing.file_watch import KIND as PROVIDERS_FILE
from wvo_mcp.ports import Clock, Row, Store, Transaction

_PROVIDERS = (AnomalyKind.PROVIDER_CAPACITY, AnomalyKind.ALL_PROVIDERS_FAILING, PROVIDERS_FILE)
_QUEUE = tuple(kind for kind in AnomalyKind if kind not in (AnomalyKind.DATABASE, *_PROVIDERS))
_SERVER = (BLIND, BACKUP_FAILED, DELIVERY_FAILED)
"""What the leader cannot do, whatever the severity of its alert: the store and its agents go on."""
_UNKNOWN = "not known: the store cannot be read"
_ORDER = {"critical": 0, "warning": 1}


@dataclass(frozen=True, slots=True)
class Checkup:
    """`checks` has database, mcp_server, providers and task_queue: `ok`, or the reason why not."""

    status: str
    """healthy, degraded, unhealthy."""
    checks: dict[str, str]
    timestamp: str
    anomalies: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    """{kind, severity, message, since, acknowledged} of those whose alert is open, worst first."""


async def checkup(store: Store, caller: Caller, limits: Thresholds, clock: Clock) -> Checkup:
    """Also of a store that cannot be read. Raises nothing for what is wrong."""
    try:
        return await store.read(caller, lambda tx: _read(tx, limits))
    except WvoError as error:
        checks = {"database": error.message, "mcp_server": "ok", "providers": _UNKNOWN, "task_queue": _UNKNOWN}
        return Checkup("unhealthy", checks, iso(clock.now()))


async def _read(tx: Transaction, limits: Thresholds) -> Checkup:
    found = await open_alerts(tx, (*AnomalyKind, PROVIDERS_FILE))
    checks = {
        "database": _reason(found, (AnomalyKind.DATABASE,)),
        "mcp_server": await late(tx, limits) or _reason(await open_alerts(tx, _SERVER), _SERVER),
        "providers": _reason(found, _PROVIDERS),
        "task_queue": _reason(found, _QUEUE),
    }
    if any(row["severity"] == Severity.CRITICAL for row in found.values()):
        status = "unhealthy"
    else:
        status = "healthy" if all(reason == "ok" for reason in checks.values()) else "degraded"
    return Checkup(status, checks, iso(tx.now), [_shown(row) for row in _worst_first(found.values())])


def _reason(found: Mapping[str, Row], kinds: Iterable[str]) -> str:
    rows = [found[kind] for kind in kinds if kind in found and found[kind]["severity"] != "info"]
    return "; ".join(row["message"] for row in _worst_first(rows))[:1_000] or "ok"


def _worst_first(rows: Iterable[Row]) -> list[Row]:
    return sorted(rows, key=lambda row: (_ORDER.get(row["severity"], 2), row["id"]))


def _shown(row: Row) -> dict[str, Any]:
    same = {name: row[name] for name in ("kind", "severity", "message")}
    return {**same, "since": row["raised_at"], "acknowledged": row["acknowledged_at"] is not None}
