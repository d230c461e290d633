"""Results as people read them on a terminal. Only a command that prints to a terminal imports this package."""

import json
from typing import Any

from rich.console import Console, RenderableType

from wvo_mcp.faces.cli.views import lines, plain, status
from wvo_mcp.faces.cli.views.budgets import WINDOWS
from wvo_mcp.faces.cli.views.plain import View, declared

_CHECKPOINT = "seq progress created_at | summary next_steps files"
_CONTEXT = "topic version at tags | content"
_STEP = "id=task title~ complexity=size> seconds=takes> earliest_start=from slack_seconds=slack>"
_GROUP = "id title~ open> p50_at=half p90_at=nine_of_ten due_at=due chance>"

VIEWS: dict[str, View] = {
    "plan_next": declared(
        lines.plan,
        "tasks: id title~ priority score> worth=why",
        "not_ready: id reason waiting_for~",
    ),
    "claim_task": declared(
        lines.claim,
        "lease: token expires_at",
        "holding: id lease",
        "route: provider tier model reason",
        "task: | description acceptance files labels capabilities priority complexity epic_id progress",
        f"resume: {_CHECKPOINT}",
        f"context: {_CONTEXT}",
    ),
    "get_task": declared(
        lines.details,
        "task: | description acceptance files labels priority complexity score epic_id milestone_id parent_id assigned_to"
        " progress lease_expires_at attempts blocked_reason block_author waiting_for last_error not_before approved_at",
        "dependencies: id status",
        "dependents: id status",
        f"checkpoints: {_CHECKPOINT}",
        f"context: {_CONTEXT}",
        "events: time kind agent_id=by~ details~",
    ),
    "list_tasks": declared("", "tasks: id status title~ epic_id=epic assigned_to=by~ score>", foot=lines.page),
    "complete_task": declared(lines.moved, ": unlocked"),
    "fail_task": declared(lines.moved, ": attempts retry_at"),
    "create_tasks": declared(lambda r: f"{len(r['created'])} created", ": created"),
    "heartbeat": declared("Lease renewed.", "lease: token expires_at"),
    "checkpoint": declared(lambda r: f"Checkpoint {r['checkpoint']['seq']} saved.", "lease: token expires_at"),
    "cancel": declared(lines.cancelled, ": stranded"),
    "approve": declared(lines.approved),
    "pause": declared(lines.switch),
    "resume": declared(lines.switch),
    "context_read": declared(lines.nothing("entries", "No notes found."), f"entries: {_CONTEXT}"),
    "context_write": declared(lambda r: f"Saved {r['topic']}, version {r['version']}."),
    "status": status.Screen,
    "events": declared("", "events: seq> time kind task_id=task agent_id=by~ details~", foot=lines.trail),
    "alerts": declared(
        lines.alerts,
        "alerts: id severity kind task_id raised_at | message times acknowledged_by escalated_at resolved_at",
    ),
    "alert_ack": declared(lambda r: f"Alert {r['alert']['id']} ({r['alert']['kind']}) is acknowledged."),
    "alert_resolve": declared(lambda r: f"Alert {r['alert']['id']} ({r['alert']['kind']}) is resolved."),
    "health_check": declared(lambda r: r["status"], "checks", "anomalies: severity kind=anomaly message~ since"),
    "health_run": declared(
        lines.cycle,
        "observed.metrics: pendingCount queueDepth inProgressCount wipUtilization throughputLastHour busyAgents idleAgents",
        "anomalies: severity kind=anomaly message~",
        "decided.remedies: action subject=for",
        "decided.withheld: action subject=for",
        "done: action subject=for result message~",
    ),
    "auth_status": declared(
        lambda r: r["problem"] or "",
        "providers: provider enabled installed version logged_in how=evidence+ models+",
    ),
    "provider_status": declared(
        lambda r: f"Mode {r['mode']}." + (f" {r['problem']}" if r["problem"] else ""),
        "providers: name place condition=state~ tokens_day=today> cost_day=cost>",
        "providers=models: name tiers+",
        "totals: ~ attempts_day=attempts> share> target> tokens_day=tokens> cost_day=cost>",
        f"providers.windows: {WINDOWS}",
    ),
    "provider_report": declared(
        lambda r: f"Counted {r['counted']['tokens']:,} tokens for {r['provider']}.",
        "budget: budget period bar used_of_limit resets",
        "classification",
        "breaker",
        "route",
        ": explanation retry_after",
    ),
    "budget_show": declared(
        lines.nothing("windows", "No limits are set in providers.yaml: nothing is stopped by a budget."),
        f"windows: {WINDOWS}",
        "raises: scope name~ period tokens> until by_agent=by reason~",
        "agents: agent_id=agent hour> day> cost>",
    ),
    "budget_raise": declared("Raised.", "raised: period tokens> until", f"windows: {WINDOWS}"),
    "critical_path": declared(
        lines.critical_path, f"path: {_STEP}", f"near=beside: {_STEP}", foot=lines.beside_the_path
    ),
    "forecast": declared(
        lines.forecast,
        f"milestones: {_GROUP}",
        f"epics: {_GROUP}",
        foot=lines.in_danger,
    ),
    "import_tasks": declared(
        lines.imported,
        "created: line> id=task title~ parent_id=parent depends_on=waits_for",
        foot=lines.warned,
    ),
    "export_tasks": declared(lines.exported),
    "route_task": declared(
        lines.route, ": explanation mode tier until estimate cost", "rejected: provider=not tier why reason~"
    ),
    "routing_mode": declared(
        lambda r: f"Mode {r['mode']}, " + (f"chosen by {r['since']}" if r["since"] else "as providers.yaml has it"),
        "shares",
    ),
    "roadmap_sync": declared(lines.synced, ": created updated cancelled restored warnings guard"),
    "roadmap_export": declared(lines.left_out, ": changed added written commit note"),
    "backup_list": declared(
        lines.nothing(
            "backups", "No backup yet. A running server makes one every hour; wvo-mcp backup-create makes one now."
        ),
        "backups",
    ),
}
"""What differs from `plain.anything`; the notation is that of `declared`."""


class _Whole(dict[str, Any]):
    """An object of a result; what was left out of it because it is empty reads as None."""

    def __missing__(self, key: str) -> None:
        return None


def view(name: str, result: dict[str, Any], *, watched: bool = False) -> RenderableType:
    """The result of the operation `name`, for people; `watched` when it is drawn again and again."""
    whole = json.loads(json.dumps(result), object_hook=_Whole)
    if watched:
        return status.Screen(whole, watched=True)
    going_on = {"handle", "state"} <= result.keys()  # of a job
    otherwise = _MOVED if set(result) == {"task"} else plain.anything
    return (plain.anything if going_on else VIEWS.get(name, otherwise))(whole)


_MOVED = declared(lines.moved)


def show(name: str, result: dict[str, Any]) -> None:
    """Print it."""
    Console(highlight=False).print(view(name, result))
