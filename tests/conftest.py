"""Fixtures of every test: the async backend, a stopped clock, and a store on a real file."""

from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from tests.support.bench import Bench
from tests.support.clock import StoppedClock
from tests.support.sessions import Servers
from wvo_mcp.domain.lease import Policy
from wvo_mcp.execution.directives import DirectiveFiles
from wvo_mcp.execution.roadmap_source import RoadmapSource
from wvo_mcp.operations import Services
from wvo_mcp.store.sqlite import SqliteStore

pytest_plugins = ["tests.support.postgres_fixtures"]


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def clock() -> StoppedClock:
    return StoppedClock()


@pytest.fixture
def servers() -> Servers:
    """Which sessions' servers live: all, until `kill`."""
    return Servers()


@pytest.fixture
async def store(tmp_path: Path, clock: StoppedClock, servers: Servers) -> AsyncGenerator[SqliteStore]:
    """An open store in `state/state.db` of the test's folder. Nothing is synced: no test cuts the power."""
    opened = SqliteStore(tmp_path / "state" / "state.db", clock, servers, synchronous="OFF")
    await opened.open()
    yield opened
    await opened.close()


@pytest.fixture
def services(store: SqliteStore, tmp_path: Path) -> Services:
    """What operations use, with the default limits."""
    return Services(
        store=store,
        policy=Policy(),
        roadmap=RoadmapSource(tmp_path / "state" / "roadmap.yaml"),
        directives=DirectiveFiles(tmp_path),
    )


@pytest.fixture
def bench(services: Services, store: SqliteStore, clock: StoppedClock, servers: Servers) -> Bench:
    return Bench(services, store, clock, servers)
