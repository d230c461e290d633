"""Every kind of repository and every kind of work goes through its whole life, and nothing is lost or run (MERGE-7)."""

from pathlib import Path

import pytest

from tests.orchestration.merging.conftest import Lane
from tests.orchestration.merging.life import Canary, Shop, live
from tests.orchestration.merging.repositories import REPOSITORIES
from tests.orchestration.merging.works import WORKS
from tests.support.scale import sampled

pytestmark = [pytest.mark.anyio, pytest.mark.sqlite, pytest.mark.requirement("MERGE-7", "WS-1")]


@pytest.mark.parametrize("name", sampled(REPOSITORIES, 3))
async def test_work_lives_its_whole_life_in_every_repository(lane: Lane, tmp_path: Path, name: str) -> None:
    await live(Shop(lane, tmp_path), REPOSITORIES[name], Canary(tmp_path))


@pytest.mark.parametrize("name", sampled(WORKS, 3))
async def test_work_of_every_kind_lives_its_whole_life(lane: Lane, tmp_path: Path, name: str) -> None:
    await live(Shop(lane, tmp_path), WORKS[name], Canary(tmp_path))
