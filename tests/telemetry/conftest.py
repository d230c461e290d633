"""Workspaces with real servers."""

from tests.support.workspace import workspace

__all__ = ["workspace"]
