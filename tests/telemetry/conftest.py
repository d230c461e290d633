"""Workspaces with real servers, and telemetry of this process that says all it has to say."""

import logging
import random
from collections.abc import Generator

import pytest
from opentelemetry.exporter.otlp.common import http

from tests.support.workspace import workspace
from wvo_mcp.telemetry import setup

__all__ = ["workspace"]

# An exporter that retries in the background when its test is over must not change the random numbers of other tests, which
# hypothesis checks.
pytest.MonkeyPatch().setattr(http, "random", random.Random())


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that ends waits only so long for what is still to be written; on a busy machine that may be too short."""
    monkeypatch.setattr(setup, "END_SECONDS", 120.0)


@pytest.fixture(autouse=True)
def silent_afterwards() -> Generator[None]:
    """Threads that still wait for a collector say nothing any more when the test is over: others look at what is logged."""
    yield
    logging.getLogger("opentelemetry").handlers = [logging.NullHandler()]
