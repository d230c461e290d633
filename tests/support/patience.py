"""Limits of time that say nothing about the code where the machine is busy."""

import pytest

from wvo_mcp.execution.providers import presence


@pytest.fixture
def patient_with_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Friendly programs and servers may take their time; tests of unfriendly ones set the time that they need."""
    for name in ("_VERSION_SECONDS", "_KEY_SECONDS", "_SERVER_SECONDS"):
        monkeypatch.setattr(presence, name, 120.0)
