"""Fixtures on a real PostgreSQL. One cluster serves the whole run: every worker of it, each test in its own database."""

import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support import postgres_guard
from tests.support.postgres import Cluster, new_folder, sweep, why_missing
from tests.support.stores import Slate
from tests.support.waiting import eventually

SHARED_FOLDER = "WVO_TEST_POSTGRES_SHARED"
_lifeline = pytest.StashKey[int]()


def pytest_configure(config: pytest.Config) -> None:
    """The process that leads the run holds the lifeline of the cluster that whoever needs one first will make."""
    if hasattr(config, "workerinput") or why_missing() is not None:
        return
    sweep()
    folder = new_folder()
    os.environ[SHARED_FOLDER] = str(folder)
    config.stash[_lifeline] = postgres_guard.hold(folder)


def pytest_unconfigure(config: pytest.Config) -> None:
    lifeline = config.stash.get(_lifeline, None)
    if lifeline is None:
        return
    folder = Path(os.environ.pop(SHARED_FOLDER))
    os.close(lifeline)
    if not (folder / "making").exists():
        shutil.rmtree(folder)
    eventually(lambda: not folder.exists(), 120)


def need_postgres() -> None:
    """Skip the test where there is no PostgreSQL; on a build server that is a failure."""
    reason = why_missing()
    if reason and os.environ.get("CI") == "true":
        pytest.fail(reason)
    if reason:
        pytest.skip(reason)


@pytest.fixture(scope="session")
def postgres() -> Cluster:
    """The cluster of the run. Do not stop it: others are using it."""
    need_postgres()
    return Cluster.shared(Path(os.environ[SHARED_FOLDER]))


@pytest.fixture
def database_url(postgres: Cluster) -> Iterator[str]:
    """A fresh, empty database; its owner is no superuser."""
    with postgres.database() as url:
        yield url


class Slates:
    """One database after the other for the tests of one worker, each wiped and used again for as long as it is whole."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._made = ExitStack()
        self._slate: Slate | None = None

    def wiped(self) -> str:
        """The URL of a store without content."""
        if self._slate is None or not self._slate.wipe():
            self.close()
            self._slate = Slate(self._cluster, self._made.enter_context(self._cluster.database()))
        return self._slate.url

    def close(self) -> None:
        self._slate = None
        self._made.close()


@pytest.fixture(scope="session")
def slates(postgres: Cluster) -> Iterator[Slates]:
    made = Slates(postgres)
    yield made
    made.close()


@pytest.fixture
def store_url(slates: Slates) -> str:
    """A database with our tables and nothing in them, for one store."""
    return slates.wiped()


@pytest.fixture
def own_postgres() -> Iterator[Cluster]:
    """A cluster of the test's own, to stop and kill."""
    need_postgres()
    cluster = Cluster.make()
    yield cluster
    cluster.close()
