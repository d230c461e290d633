"""The registry. Whoever takes `ALL` or `tools` from here has every operation declared; `named` declares only what it needs."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from wvo_mcp.operations import operation as _registry
from wvo_mcp.operations.container import Container, Late
from wvo_mcp.operations.operation import Audience, Context, Effect, Operation

if TYPE_CHECKING:
    from wvo_mcp.operations.operation import ALL, tools

_ROOMS = {
    "alerts": "alerts alert_ack alert_resolve",
    "backups": "backup_create backup_list context_snapshot",
    "core": "claim_task heartbeat checkpoint complete_task fail_task release_task block_task context_write context_read"
    " plan_next get_task list_tasks create_tasks update_task",
    "outlook": "critical_path forecast",
    "exchange": "import_tasks export_tasks",
    "figures": "metrics",
    "health": "health_check health_run",
    "ops": "status events",
    "people": "approve deny cancel unblock retry reopen restore pause resume add set_time_back",
    "plan": "roadmap_sync roadmap_export",
    "providers": "auth_status provider_report budget_raise budget_show route_task routing_mode provider_status",
}
"""What each room declares, in the order of the registry: a shell command imports its own room, which is a fifth of all."""

__all__ = ["ALL", "Audience", "Container", "Context", "Effect", "Late", "Operation", "named", "tools"]


def named(name: str) -> Operation | None:
    """One operation, for whoever asks for no other."""
    for room, names in _ROOMS.items():
        if name in names.split():
            import_module(f"{__name__}.{room}")
            return _registry.ALL[name]
    return None


def __getattr__(name: str) -> Any:
    if name not in ("ALL", "tools"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    for room in _ROOMS:
        import_module(f"{__name__}.{room}")
    order = " ".join(_ROOMS.values()).split()
    declared = _registry.ALL
    if list(declared) != order:
        if set(declared) != set(order):
            raise TypeError(f"Name in its room, in {__name__}: {', '.join(set(declared) ^ set(order))}.")
        sorted_anew = {one: declared[one] for one in order}  # some rooms were imported before the others
        declared.clear()
        declared.update(sorted_anew)
    return getattr(_registry, name)
