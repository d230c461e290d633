"""The toolset `health`: what people should look at."""

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field

from wvo_mcp.domain.instant import Instant
from wvo_mcp.domain.lease import Role
from wvo_mcp.domain.text import Label, Text
from wvo_mcp.errors import Forbidden
from wvo_mcp.operations.inputs import Input, Output
from wvo_mcp.operations.operation import Audience, Context, Effect, operation
from wvo_mcp.operations.paging import fitting, position
from wvo_mcp.operations.results import compact
from wvo_mcp.ports import Transaction


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
        await _leave_to_people(ctx, await ctx.tx.alerts.get(params.alert_id))
    row = await ctx.tx.alerts.acknowledge(params.alert_id, params.note)
    return AlertResult(alert=AlertLine.of(row))


_FOR_PEOPLE = frozenset({"violation", "approval", "review", "merge", "worker"})
"""First words of kinds: alerts to people about agents."""
_ASKED = frozenset({"trust", "roadmap_guard"})
"""Kinds that wait for a person's word about a file; an agent may have written it."""


async def _leave_to_people(ctx: Context, alert: Mapping[str, Any]) -> None:
    """Raises Forbidden for an agent where people decide, and for an alert about the agent itself or its own work."""
    about = None
    if alert["kind"] in _ASKED or alert["kind"].partition("_")[0] in _FOR_PEOPLE:
        about = f"is of the kind {alert['kind']}"
    elif await _concerns(ctx.tx, ctx.caller.agent_id, alert):
        about = f"is about the work of {ctx.caller.agent_id}"
    if about is not None:
        raise Forbidden(f"Alert {alert['id']} {about}: only people acknowledge it.", hint="Leave it to people.")


async def _concerns(tx: Transaction, agent_id: str, alert: Mapping[str, Any]) -> bool:
    named = compact(alert["evidence"])
    mine = [agent_id, *(task.id for task in await tx.queue.held_by_agent(agent_id))]
    if alert["task_id"] in mine or any(compact(name) in named for name in mine):
        return True
    trail = [] if alert["task_id"] is None else await tx.events.of_task(alert["task_id"], 100)
    return any(e.kind == "task.claimed" and agent_id in (e.agent_id, e.data.get("agent")) for e in trail)


class AlertResolve(Input):
    alert_id: int = Field(ge=1, le=2**62, description="Alert number.")
    reason: Text | None = Field(default=None, description="Reason, kept in the history.")


@operation(toolset="people", effect=Effect.WRITE, audience=Audience.PEOPLE, idempotent=True, role=Role.OPERATOR)
async def alert_resolve(ctx: Context, params: AlertResolve) -> AlertResult:
    """Resolve an alert by hand. If the problem still exists, a new alert is raised."""
    await ctx.tx.sessions.ensure()
    row = await ctx.tx.alerts.close(params.alert_id, params.reason)
    return AlertResult(alert=AlertLine.of(row))
