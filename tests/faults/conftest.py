"""What the tests of faults share."""

from tests.support.workspace import workspace

__all__ = ["workspace"]
