"""What the contract's tests share: one server with every toolset for a whole file."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.postgres import Cluster
from tests.support.stdio_client import StdioClient
from tests.support.workspace import Workspace


@pytest.fixture(scope="module")
def place(
    store_kind: str, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[Workspace]:
    """A workspace with wide limits, so that tests of one file do not wait for each other."""
    folder: Path = tmp_path_factory.mktemp("contract")
    limits = {"WVO_AUTOPILOT_WIP_LIMIT": "500", "WVO_AGENT_WIP_LIMIT": "500", "WVO_TOOLSETS": "all"}
    with ExitStack() as stack:
        cluster: Cluster | None = request.getfixturevalue("postgres") if store_kind == "postgres" else None
        url = stack.enter_context(cluster.database()) if cluster is not None else None
        made = Workspace(folder / "workspace", folder / "logs", url, **limits)
        stack.callback(made.close)
        yield made


@pytest.fixture(scope="module")
def server(place: Workspace) -> StdioClient:
    return place.server("ann")
