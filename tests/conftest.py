"""Fixtures of every test: the async backend, a stopped clock, and a store on a real file."""

import os
import sys
from collections.abc import AsyncGenerator, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.internal.conjecture import providers
from hypothesis.internal.constants_ast import Constants

from tests.support import apart
from tests.support.bench import AnyStore, Bench
from tests.support.clock import StoppedClock
from tests.support.scale import FULL
from tests.support.services import Services
from tests.support.sessions import Servers
from tests.support.stores import a_blank_file
from wvo_mcp.domain import known_secrets
from wvo_mcp.domain.health import Thresholds
from wvo_mcp.domain.lease import Policy
from wvo_mcp.execution.directives import DirectiveFiles
from wvo_mcp.execution.exchange import WorkspaceExchange
from wvo_mcp.execution.roadmap.source import RoadmapSource
from wvo_mcp.orchestration.health.loop import HealthLoop
from wvo_mcp.store.postgres.store import PostgresStore

pytest_plugins = ["tests.support.postgres_fixtures", "tests.support.yard_fixtures"]

# How fast examples come, and how many are thrown away, says something about the machine and the dice, and nothing about
# the code. In every run the dice fall as they did before; with the full size they are thrown anew, to find what is new.
settings.register_profile(
    "noisy",
    deadline=None,
    derandomize=not FULL,
    database=None,
    print_blob=True,
    suppress_health_check=[
        HealthCheck.too_slow,
        HealthCheck.filter_too_much,
        HealthCheck.data_too_large,
        HealthCheck.function_scoped_fixture,
    ],
)
settings.load_profile("noisy")
if not FULL and hasattr(providers, "_get_local_constants"):
    # Else dice know the numbers and texts of the modules that happen to be imported by then.
    def _nothing_local() -> Constants:
        return Constants()

    providers._get_local_constants = _nothing_local

SURROUNDINGS = ("OTEL_", "GIT_", "PG", "CLAUDE", "CODEX_", "GEMINI_", "ANTHROPIC_", "OPENAI_")
"""Beginnings of variables with which somebody's shell would tell the programs under test what to do."""
for _name in [*os.environ]:
    if _name.startswith(SURROUNDINGS) or _name in ("FORCE_COLOR", "NO_COLOR", "COLUMNS", "LINES", "ROOT"):
        del os.environ[_name]
os.environ |= {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}


def pytest_configure(config: pytest.Config) -> None:
    """Commands that tests type are a person's, wherever the suite was started."""
    if hasattr(config, "workerinput") or not apart.in_agent_shell():
        return
    if apart.LEFT in os.environ:
        pytest.exit("The suite cannot leave the shell of the agent that started it: start it in a terminal.", 2)
    os._exit(apart.run_apart(sys.orig_argv, os.environ))


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(autouse=True)
def nothing_secret() -> Iterator[None]:
    """What one test made known as a secret must not be redacted for the next."""
    yield
    known_secrets._forms = ()


@pytest.fixture
def clock() -> StoppedClock:
    return StoppedClock()


@pytest.fixture
def servers() -> Servers:
    """Which sessions' servers live: all, until `kill`."""
    return Servers()


BOTH_STORES = tuple(str(Path(__file__).parent / room) for room in ("store", "races", "contract", "faults"))
"""Where the store is the subject. What stands above it asks for the same of either kind."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """What uses a store holds for both kinds of it, unless the test is about SQLite itself. Above the store PostgreSQL is
    for the full run, but for the tests that are marked."""
    if "store_kind" not in metafunc.fixturenames:
        return
    kinds: list[Any] = ["sqlite"]
    if metafunc.definition.get_closest_marker("sqlite") is None:
        both = metafunc.definition.get_closest_marker("both_stores") is not None
        both = both or str(metafunc.definition.path).startswith(BOTH_STORES)
        both = both and metafunc.definition.get_closest_marker("full_on_postgres") is None
        kinds.append(pytest.param("postgres", marks=[] if both else [pytest.mark.full]))
    # The contract's tests share one server a file, so there the kind may not change from test to test.
    metafunc.parametrize("store_kind", kinds, scope="module" if "place" in metafunc.fixturenames else "function")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """For the drills the files without one are not even read: to import all of them takes longer than a drill."""
    only_drills = config.getoption("markexpr") == "drill" and collection_path.suffix == ".py"
    return True if only_drills and b"mark.drill" not in collection_path.read_bytes() else None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """What is marked `full` runs only when it is asked for: a sample or a smaller form of it runs with every change. What is
    marked `long` comes first."""
    items.sort(key=lambda item: item.get_closest_marker("long") is None)
    if not FULL:
        large = [item for item in items if item.get_closest_marker("full") is not None]
        config.hook.pytest_deselected(items=large)
        items[:] = [item for item in items if item.get_closest_marker("full") is None]


@pytest.fixture
async def store(
    store_kind: str, tmp_path: Path, clock: StoppedClock, servers: Servers, request: pytest.FixtureRequest
) -> AsyncGenerator[AnyStore]:
    """An open store: in `state/state.db` of the test's folder, or in a database of its own. Nothing is synced: no test
    cuts the power."""
    if store_kind == "sqlite":
        opened = a_blank_file(tmp_path / "state" / "state.db", clock, servers)
    else:
        (tmp_path / "state").mkdir()  # the roadmap's place, with any store
        opened = PostgresStore(request.getfixturevalue("store_url"), clock, servers)
    await opened.open()
    yield opened
    await opened.close()


@pytest.fixture
def services(store: AnyStore, tmp_path: Path, clock: StoppedClock) -> Services:
    """What operations use, with the default limits."""
    return Services(
        store=store,
        policy=Policy(),
        roadmap=RoadmapSource(tmp_path / "state" / "roadmap.yaml"),
        directives=DirectiveFiles(tmp_path),
        health=HealthLoop(Thresholds(), Policy(), clock),
        exchange=WorkspaceExchange(tmp_path),
    )


@pytest.fixture
def bench(services: Services, store: AnyStore, clock: StoppedClock, servers: Servers) -> Bench:
    return Bench(services, store, clock, servers)
