"""The toolset `providers`: which model does what, what it may use, and how it stands."""

from wvo_mcp.operations.providers import auth, budgets, reporting, routing, status

__all__ = ["auth", "budgets", "reporting", "routing", "status"]
