"""A real Docker engine."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.sandboxes import Sandboxed, need_docker


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Sandboxed]:
    need_docker()
    made = Sandboxed(tmp_path)
    yield made
    left = made.containers()
    made.close()
    assert left == []
