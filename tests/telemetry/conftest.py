"""Workspaces with real servers, and telemetry of this process that says all it has to say."""

import pytest

from tests.support.workspace import workspace
from wvo_mcp.telemetry import setup

__all__ = ["workspace"]


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that ends waits only so long for what is still to be written; on a busy machine that may be too short."""
    monkeypatch.setattr(setup, "END_SECONDS", 120.0)
