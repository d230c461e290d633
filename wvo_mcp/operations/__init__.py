"""The registry: importing this package declares every operation."""

from wvo_mcp.operations import alerts, backups, core, exchange, figures, health, ops, outlook, people, plan, providers
from wvo_mcp.operations.operation import ALL, Audience, Context, Effect, Operation, Services, tools

__all__ = [
    "ALL",
    "Audience",
    "Context",
    "Effect",
    "Operation",
    "Services",
    "alerts",
    "backups",
    "core",
    "exchange",
    "figures",
    "health",
    "ops",
    "outlook",
    "people",
    "plan",
    "providers",
    "tools",
]
