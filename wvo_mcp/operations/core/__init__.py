"""The toolset `core`: what an agent needs to pull work, and no more."""

from wvo_mcp.operations.core import claiming, context, planning, tasks

__all__ = ["claiming", "context", "planning", "tasks"]
