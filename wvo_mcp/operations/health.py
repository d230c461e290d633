"""The toolset `health`: is all well, and one cycle of the health loop by hand."""

from dataclasses import asdict
from typing import Any

from pydantic import Field

from wvo_mcp.domain.health import SHOWN
from wvo_mcp.domain.instant import Instant
from wvo_mcp.operations.inputs import Output
from wvo_mcp.operations.operation import Context, Effect, operation
from wvo_mcp.orchestration.health.loop import Cycle, HealthLoop
from wvo_mcp.orchestration.health.observe import Observation
from wvo_mcp.orchestration.health.report import checkup
from wvo_mcp.ports import WatchedStore


class HealthChecked(Output):
    status: str = Field(description="healthy, degraded or unhealthy.")
    checks: dict[str, str] = Field(description="database, mcp_server, providers, task_queue: ok, or the reason.")
    timestamp: Instant
    anomalies: list[dict[str, Any]] = Field(description="Open ones, worst first.")


@operation(toolset="health", effect=Effect.READ, manages_own_transactions=True)
async def health_check(ctx: Context, store: WatchedStore, loop: HealthLoop) -> HealthChecked:
    """Check health: database, background work, providers and queue, with the reason for each problem."""
    return HealthChecked.of(await checkup(store, ctx.caller, loop.limits, loop.clock))


class HealthRan(Output):
    at: Instant
    acted: bool
    leader: str | None = Field(description="The session that alone may act, when it is not this one.")
    observed: dict[str, Any]
    anomalies: list[dict[str, Any]]
    decided: dict[str, Any]
    done: list[dict[str, Any]]


@operation(toolset="health", effect=Effect.WRITE, manages_own_transactions=True, idempotent=True)
async def health_run(ctx: Context, store: WatchedStore, loop: HealthLoop) -> HealthRan:
    """Run one health cycle now and show each step: observations, anomalies, decisions, actions. Only the leader acts."""
    cycle = await loop.by_hand(store, ctx.caller)
    return HealthRan(
        at=cycle.observation.at,
        acted=cycle.leader is None,
        leader=cycle.leader,
        observed=_observed(cycle),
        anomalies=[
            {"kind": one.kind, "severity": one.severity, "message": one.message, "evidence": dict(one.evidence)}
            for one in cycle.orientation.anomalies
        ],
        decided=_decided(cycle),
        done=[asdict(one) for one in cycle.done[:SHOWN]],
    )


def _observed(cycle: Cycle) -> dict[str, Any]:
    seen: Observation = cycle.observation
    walk = cycle.walk
    return {
        "metrics": cycle.orientation.metrics,
        "paused": seen.flow is not None and seen.flow.paused,
        "in_progress": None if seen.held is None else len(seen.held),
        "agents": None
        if seen.vacant is None or seen.departed is None
        else {"hold_nothing": len(seen.vacant), "departed": len(seen.departed)},
        "graph": None
        if walk is None
        else {
            "changes": walk.changes,
            "written": walk.written,
            "present": walk.present,
            "cycle": list(walk.cycle[:SHOWN]),
        },
        "providers": None if seen.providers is None else {one.name: one.state for one in seen.providers},
        "database": None if seen.database is None else asdict(seen.database),
        "failed": dict(seen.failed),
    }


def _decided(cycle: Cycle) -> dict[str, Any]:
    decision = cycle.decision

    def listed(remedies: Any) -> list[dict[str, str]]:
        return [{"anomaly": one.anomaly, "action": one.action, "subject": one.subject} for one in remedies[:SHOWN]]

    return {
        "alerts": [anomaly.kind.value for anomaly in cycle.orientation.anomalies],
        "resolved": [kind.value for kind in decision.resolve],
        "remedies": listed(decision.remedies),
        "withheld": listed(decision.withheld),
    }
