"""A repository of a person, in a home of their own."""

from pathlib import Path
from typing import Any

import pytest

from tests.support.bench import Bench
from tests.support.yard import Yard


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    monkeypatch.delenv("GIT_CONFIG_GLOBAL", raising=False)
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    return home


@pytest.fixture(scope="session")
def origin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with one commit."""
    nothing: Any = None
    return Yard(tmp_path_factory.mktemp("origin") / "shop", nothing).begin().root


@pytest.fixture
def yard(bench: Bench, tmp_path: Path, home: Path, origin: Path) -> Yard:
    return Yard(tmp_path / "shop", bench).copied(origin)
