"""Projects with whole autopilots, in environments of their own."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from tests.support.flights import Flight
from tests.support.shops import Shop
from wvo_mcp.execution.agents.scripted import Steps


def alone(monkeypatch: pytest.MonkeyPatch, environ: Mapping[str, str]) -> None:
    for name in os.environ:
        monkeypatch.delenv(name)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def database(store_kind: str, request: pytest.FixtureRequest) -> str | None:
    """None: the store is a file of the project."""
    return request.getfixturevalue("store_url") if store_kind == "postgres" else None


@pytest.fixture
def flight(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, database: str | None) -> Flight:
    """`begin` is the test's."""
    made = Flight(tmp_path, database)
    alone(monkeypatch, made.environ)
    return made


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, database: str | None) -> Callable[..., Shop]:
    """Called with settings, and the steps of each task."""

    def make(settings: Mapping[str, str] | None = None, **scripts: Steps) -> Shop:
        environ = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path / "config")}
        environ |= {
            "ROOT": str(tmp_path / "shop"),
            **(settings or {}),
            **({"WVO_DATABASE_URL": database} if database else {}),
        }
        alone(monkeypatch, environ)
        return Shop.begun(tmp_path / "shop", dict(scripts), environ)

    return make
