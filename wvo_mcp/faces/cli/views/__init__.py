"""Results as people read them on a terminal. Only a command that prints to a terminal imports this package."""

import json
from collections.abc import Callable
from typing import Any

from rich.console import Console, RenderableType

from wvo_mcp.faces.cli.views import (
    ahead,
    alerts,
    budgets,
    health,
    memory,
    plain,
    providers,
    routes,
    state,
    status,
    work,
)

View = Callable[[dict[str, Any]], RenderableType]

VIEWS: dict[str, View] = {
    "plan_next": work.plan,
    "claim_task": work.claim,
    "get_task": work.details,
    "list_tasks": work.page,
    "complete_task": work.completed,
    "fail_task": work.failed,
    "create_tasks": work.created,
    "heartbeat": work.renewed,
    "checkpoint": work.checkpoint,
    "context_read": memory.entries,
    "context_write": memory.written,
    "status": status.status,
    "alerts": alerts.page,
    "alert_ack": alerts.acknowledged,
    "alert_resolve": alerts.resolved,
    "events": state.events,
    "health_check": health.check,
    "health_run": health.run,
    "auth_status": providers.auth,
    "provider_status": budgets.status,
    "provider_report": budgets.reported,
    "budget_show": budgets.shown,
    "budget_raise": budgets.raised,
    "critical_path": ahead.critical_path,
    "forecast": ahead.forecast,
    "import_tasks": ahead.imported,
    "export_tasks": ahead.exported,
    "route_task": routes.route,
    "routing_mode": routes.mode,
    "roadmap_sync": state.synced,
    "pause": state.switch,
    "resume": state.switch,
    "cancel": work.cancelled,
    "approve": work.approved,
    "backup_list": plain.backups,
    "roadmap_export": plain.roadmap_export,
}
"""One view per operation that deserves its own; whatever else there is is shown as it is."""


class _Whole(dict[str, Any]):
    """An object of a result; what was left out of it because it is empty reads as None."""

    def __missing__(self, key: str) -> None:
        return None


def view(name: str, result: dict[str, Any], *, watched: bool = False) -> RenderableType:
    """The result of the operation `name`, for people; `watched` when it is drawn again and again."""
    chosen = VIEWS.get(name) or (work.moved if set(result) == {"task"} else plain.anything)
    return (status.watched if watched else chosen)(json.loads(json.dumps(result), object_hook=_Whole))


def show(name: str, result: dict[str, Any]) -> None:
    """Print it."""
    Console(highlight=False).print(view(name, result))
