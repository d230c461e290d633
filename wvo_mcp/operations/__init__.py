"""The registry: importing this package declares every operation."""

from wvo_mcp.operations import backups, core, health, ops, outlook, people, plan
from wvo_mcp.operations.operation import ALL, Audience, Context, Effect, Operation, Services, tools

__all__ = [
    "ALL",
    "Audience",
    "Context",
    "Effect",
    "Operation",
    "Services",
    "backups",
    "core",
    "health",
    "ops",
    "outlook",
    "people",
    "plan",
    "tools",
]
