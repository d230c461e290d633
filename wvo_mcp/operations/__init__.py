"""The registry: importing this package declares every operation."""

from wvo_mcp.operations import core, ops, people, plan
from wvo_mcp.operations.operation import ALL, Audience, Context, Effect, Operation, Services, tools

__all__ = ["ALL", "Audience", "Context", "Effect", "Operation", "Services", "core", "ops", "people", "plan", "tools"]
