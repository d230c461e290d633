"""What the contract's tests share: one server with every toolset for a whole file."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.stdio_client import StdioClient
from tests.support.workspace import Workspace


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workspace]:
    """A workspace with wide limits, so that tests of one file do not wait for each other."""
    folder: Path = tmp_path_factory.mktemp("contract")
    limits = {"WVO_AUTOPILOT_WIP_LIMIT": "500", "WVO_AGENT_WIP_LIMIT": "500", "WVO_TOOLSETS": "all"}
    made = Workspace(folder / "workspace", folder / "logs", **limits)
    yield made
    made.close()


@pytest.fixture(scope="module")
def server(place: Workspace) -> StdioClient:
    return place.server("ann")
