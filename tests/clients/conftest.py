"""What the tests with real programs share."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.clients.programs import CLIENTS, Client, why_missing
from tests.clients.workspace import seeded


def _need(name: str) -> None:
    reason = why_missing(name)
    if reason and os.environ.get("CI") == "true":
        pytest.fail(reason)
    if reason:
        pytest.skip(reason)


@pytest.fixture
def need() -> Callable[[str], None]:
    """Called with the name of a program: skips the test where it is missing; on a build server that is a failure."""
    return _need


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """A project folder with two tasks, of which COUPONS waits for PRICES."""
    return seeded(tmp_path / "project")


@pytest.fixture(params=sorted(CLIENTS))
def client(request: pytest.FixtureRequest, tmp_path: Path) -> Client:
    """Each client in turn, wired to a workspace with two tasks."""
    _need(request.param)
    return CLIENTS[request.param].wired(tmp_path)


@pytest.fixture
def claude(tmp_path: Path) -> Client:
    """Claude Code, wired to a workspace with two tasks."""
    _need("claude")
    return CLIENTS["claude"].wired(tmp_path)
