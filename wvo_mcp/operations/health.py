"""The toolset `health`: is all well, and one cycle of the health loop by hand."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, Literal

from pydantic import Field

from wvo_mcp.domain.health import SHOWN, Anomaly, Remediation
from wvo_mcp.domain.instant import Instant
from wvo_mcp.domain.lease import Role
from wvo_mcp.domain.text import Label, Text
from wvo_mcp.errors import Forbidden
from wvo_mcp.operations.inputs import Input, Output
from wvo_mcp.operations.operation import Audience, Context, Effect, operation
from wvo_mcp.operations.results import compact, fitting, position
from wvo_mcp.orchestration.health.decide import Remedy
from wvo_mcp.orchestration.health.loop import Cycle, HealthLoop
from wvo_mcp.orchestration.health.report import checkup
from wvo_mcp.ports import Transaction, WatchedStore


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
    anomalies: list[Anomaly]
    decided: dict[str, Any]
    done: list[Remediation]


@operation(toolset="health", effect=Effect.WRITE, manages_own_transactions=True, idempotent=True)
async def health_run(ctx: Context, store: WatchedStore, loop: HealthLoop) -> HealthRan:
    """Run one health cycle now and show each step: observations, anomalies, decisions, actions. Only the leader acts."""
    cycle = await loop.by_hand(store, ctx.caller)
    decided = cycle.decision
    return HealthRan(
        at=cycle.observation.at,
        acted=cycle.leader is None,
        leader=cycle.leader,
        observed=_observed(cycle),
        anomalies=list(cycle.orientation.anomalies),
        decided={
            "alerts": [anomaly.kind for anomaly in cycle.orientation.anomalies],
            "resolved": list(decided.resolve),
            "remedies": _listed(decided.remedies),
            "withheld": _listed(decided.withheld),
        },
        done=list(cycle.done[:SHOWN]),
    )


def _listed(remedies: Sequence[Remedy]) -> list[dict[str, str]]:
    return [{"anomaly": one.anomaly, "action": one.action, "subject": one.subject} for one in remedies[:SHOWN]]


def _observed(cycle: Cycle) -> dict[str, Any]:
    seen, walk = cycle.observation, cycle.walk
    agents = graph = None
    if seen.vacant is not None and seen.departed is not None:
        agents = {"hold_nothing": len(seen.vacant), "departed": len(seen.departed)}
    if walk is not None:
        graph = {name: getattr(walk, name) for name in ("changes", "written", "present")}
        graph["cycle"] = list(walk.cycle[:SHOWN])
    return {
        "metrics": cycle.orientation.metrics,
        "paused": seen.flow is not None and seen.flow.paused,
        "in_progress": None if seen.held is None else len(seen.held),
        "agents": agents,
        "graph": graph,
        "providers": None if seen.providers is None else {one.name: one.state for one in seen.providers},
        "database": None if seen.database is None else asdict(seen.database),
        "failed": dict(seen.failed),
    }


class AlertLine(Output):
    id: int
    kind: str
    severity: Literal["info", "warning", "critical"]
    task_id: str | None
    message: str
    evidence: dict[str, Any] = Field(description="What the judgement rests on.")
    times: int = Field(description="Raised so often while it was open.")
    raised_at: Instant
    last_seen_at: Instant | None
    acknowledged_at: Instant | None
    acknowledged_by: str | None
    remedy_failures: int
    escalated_at: Instant | None
    resolved_at: Instant | None


class AlertsAsk(Input):
    state: Literal["open", "all"] = Field(default="open", description="Open alerts, or all.")
    kind: Label | None = Field(default=None, description="Only this kind, e.g. stale_tasks.")
    severity: Literal["info", "warning", "critical"] | None = Field(default=None, description="Minimum severity.")
    limit: int = Field(default=20, ge=1, le=100, description="Page size.")
    cursor: str | None = Field(default=None, max_length=40, description="next_cursor of the previous page.")


class AlertPage(Output):
    alerts: list[AlertLine]
    next_cursor: str | None
    open: dict[str, int] = Field(description="How many are open, by severity.")


@operation(toolset="health", effect=Effect.READ)
async def alerts(ctx: Context, params: AlertsAsk) -> AlertPage:
    """List alerts, newest first: problems with tasks, the store, or the delivery of alerts."""
    before = position(params.cursor)
    where = {"open": params.state == "open", "kind": params.kind, "least": params.severity}
    found = await ctx.tx.alerts.page(where, before, params.limit + 1)
    page = fitting(AlertLine.of(row) for row in found[: params.limit])
    counted = {"critical": 0, "warning": 0, "info": 0}
    for row in await ctx.tx.alerts.open_counts():
        counted[row["severity"]] += row["n"]
    return AlertPage(alerts=page, next_cursor=str(page[-1].id) if len(page) < len(found) else None, open=counted)


class AlertAck(Input):
    alert_id: int = Field(ge=1, le=2**62, description="Alert number.")
    note: Text | None = Field(default=None, description="Note, kept in the history.")


class AlertResult(Output):
    alert: AlertLine


@operation(toolset="health", effect=Effect.WRITE, idempotent=True)
async def alert_ack(ctx: Context, params: AlertAck) -> AlertResult:
    """Acknowledge an alert: mutes it until it resolves. The first acknowledgement counts. Alerts about an agent's own work
    are acknowledged by people."""
    await ctx.tx.sessions.ensure()
    if not ctx.caller.person:
        await _leave_to_people(ctx.tx, await ctx.tx.alerts.get(params.alert_id))
    return AlertResult.of({"alert": await ctx.tx.alerts.acknowledge(params.alert_id, params.note)})


_FOR_PEOPLE = frozenset(
    {"violation", "approval", "review", "merge", "worker", "trust", "policy", "messages", "promotion"}
)
"""First words of kinds: alerts to people about agents."""
_ASKED = frozenset({"roadmap_guard"})
"""A kind that waits for a person's word about a file; an agent may have written it."""


async def _leave_to_people(tx: Transaction, alert: Mapping[str, Any]) -> None:
    """Raises Forbidden for an agent where people decide, and for an alert about the agent itself or its own work."""
    agent_id, about = tx.caller.agent_id, None
    if alert["kind"] in _ASKED or alert["kind"].partition("_")[0] in _FOR_PEOPLE:
        about = f"is of the kind {alert['kind']}"
    else:
        named = compact(alert["evidence"])
        mine = [agent_id, *(task.id for task in await tx.queue.held_by_agent(agent_id))]
        trail = [] if alert["task_id"] is None else await tx.events.of_task(alert["task_id"], 100)
        if (
            alert["task_id"] in mine
            or any(compact(name) in named for name in mine)
            or any(e.kind == "task.claimed" and agent_id in (e.agent_id, e.data.get("agent")) for e in trail)
        ):
            about = f"is about the work of {agent_id}"
    if about is not None:
        raise Forbidden(f"Alert {alert['id']} {about}: only people acknowledge it.", hint="Leave it to people.")


class AlertResolve(Input):
    alert_id: int = Field(ge=1, le=2**62, description="Alert number.")
    reason: Text | None = Field(default=None, description="Reason, kept in the history.")


@operation(toolset="people", effect=Effect.WRITE, audience=Audience.PEOPLE, idempotent=True, role=Role.OPERATOR)
async def alert_resolve(ctx: Context, params: AlertResolve) -> AlertResult:
    """Resolve an alert by hand. If the problem still exists, a new alert is raised."""
    await ctx.tx.sessions.ensure()
    return AlertResult.of({"alert": await ctx.tx.alerts.close(params.alert_id, params.reason)})
