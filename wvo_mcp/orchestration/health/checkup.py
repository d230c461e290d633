"""Is all well? In one answer, for the tool `health_check` and whoever asks over HTTP."""

from dataclasses import dataclass, field
from typing import Any

from wvo_mcp.domain.health import Kind, Severity, Thresholds
from wvo_mcp.domain.instant import iso
from wvo_mcp.domain.lease import Caller
from wvo_mcp.domain.news import FAILED as DELIVERY_FAILED
from wvo_mcp.errors import WvoError
from wvo_mcp.orchestration.backups import FAILED as BACKUP_FAILED
from wvo_mcp.orchestration.health.act import BLIND
from wvo_mcp.orchestration.health.loop import late
from wvo_mcp.orchestration.routing.file_watch import KIND as PROVIDERS_FILE
from wvo_mcp.ports import Clock, Store, Transaction

_DATABASE = (Kind.DATABASE,)
_PROVIDERS = (Kind.PROVIDER_CAPACITY, Kind.ALL_PROVIDERS_FAILING, PROVIDERS_FILE)
_QUEUE = tuple(kind for kind in Kind if kind not in (*_DATABASE, *_PROVIDERS))
_SERVER = (BLIND, BACKUP_FAILED, DELIVERY_FAILED)
"""What the leader cannot do, whatever its alert weighs: the store and its agents go on."""
_UNKNOWN = "not known: the store cannot be read"


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
        return await store.read(caller, lambda tx: _looked(tx, limits))
    except WvoError as error:
        checks = {"database": error.message, "mcp_server": "ok", "providers": _UNKNOWN, "task_queue": _UNKNOWN}
        return Checkup("unhealthy", checks, iso(clock.now()))


async def _looked(tx: Transaction, limits: Thresholds) -> Checkup:
    open_ones: dict[str, dict[str, Any]] = {}
    for kind in (*(kind.value for kind in Kind), PROVIDERS_FILE, *_SERVER):
        row = await tx.alerts.find(kind, None)
        if row is not None:
            open_ones[kind] = row
    own = {kind: open_ones.pop(kind) for kind in _SERVER if kind in open_ones}
    checks = {
        "database": _reason(open_ones, _DATABASE),
        "mcp_server": await late(tx, limits) or _reason(own, _SERVER),
        "providers": _reason(open_ones, _PROVIDERS),
        "task_queue": _reason(open_ones, _QUEUE),
    }
    if any(row["severity"] == Severity.CRITICAL for row in open_ones.values()):
        status = "unhealthy"
    else:
        status = "healthy" if all(found == "ok" for found in checks.values()) else "degraded"
    return Checkup(status, checks, iso(tx.now), [_shown(row) for row in _worst_first(open_ones)])


def _reason(open_ones: dict[str, dict[str, Any]], kinds: tuple[str, ...]) -> str:
    there = {kind: open_ones[kind] for kind in kinds if kind in open_ones and open_ones[kind]["severity"] != "info"}
    return "; ".join(row["message"] for row in _worst_first(there))[:1_000] or "ok"


def _worst_first(rows: dict[Any, dict[str, Any]]) -> list[dict[str, Any]]:
    order = {"critical": 0, "warning": 1}
    return sorted(rows.values(), key=lambda row: (order.get(row["severity"], 2), row["id"]))


def _shown(row: dict[str, Any]) -> dict[str, Any]:
    return {
        "kind": row["kind"],
        "severity": row["severity"],
        "message": row["message"],
        "since": row["raised_at"],
        "acknowledged": row["acknowledged_at"] is not None,
    }
