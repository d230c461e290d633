"""What the races share."""

from tests.support.workspace import workspace

__all__ = ["workspace"]
