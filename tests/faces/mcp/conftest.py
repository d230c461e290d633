"""Fixtures of the tests that start servers."""

from tests.support.workspace import workspace

__all__ = ["workspace"]
