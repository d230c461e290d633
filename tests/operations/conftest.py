"""What tests of operations share."""

from tests.orchestration.merging.conftest import lane

__all__ = ["lane"]
