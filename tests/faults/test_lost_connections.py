"""The connection to PostgreSQL goes away in the middle of a write: the answer is right, and the work is done once."""

from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar, get_args

import pytest

from tests.faults.life import STEPS, Life, resulting
from tests.support.invariants import verify
from tests.support.postgres import Cluster
from tests.support.postgres_proxy import Cut, Proxy
from tests.support.stores import Slate
from wvo_mcp.store.postgres.executor import PostgresExecutor
from wvo_mcp.store.postgres.store import PostgresStore
from wvo_mcp.store.postgres.wire import PostgresRows

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("SCALE-1", "CORE-11", "CORE-8", "CLAIM-1")]

T = TypeVar("T")


@pytest.fixture(scope="module")
def slate(postgres: Cluster) -> Iterator[Slate]:
    with postgres.database() as url:
        yield Slate(postgres, url)


async def lived(
    folder: Path,
    url: str,
    before: Callable[[int], object] = lambda place: None,
    executor: type[PostgresExecutor] = PostgresExecutor,
) -> dict[str, Any]:
    """What the scripted life answered, and what it left; `before` each of its steps something may happen."""
    life = Life(folder, generation=1, url=url)
    assert isinstance(life.store, PostgresStore)
    life.store.writer = executor(url)
    async with life:
        answers: list[str] = []
        for place in range(len(STEPS)):
            before(place)
            answers.append(repr(await life.live(place)))
        return {**{str(place): told for place, told in enumerate(answers)}, **await resulting(life)}


@pytest.mark.parametrize(
    "how", [pytest.param(how, marks=[pytest.mark.full] * (how in ("before", "after"))) for how in get_args(Cut)]
)
async def test_a_connection_cut_at_any_commit_loses_and_doubles_nothing(tmp_path: Path, slate: Slate, how: Cut) -> None:
    slate.wipe()
    undisturbed = await lived(tmp_path, slate.url)
    slate.wipe()
    with Proxy(slate.url) as proxy:
        every = 3 if how in ("late", "ended") else 1
        disturbed = await lived(
            tmp_path, proxy.url, before=lambda place: proxy.cut_next(how) if place % every == 0 else None
        )

    assert proxy.cuts > len(STEPS) // every - 5
    assert disturbed == undisturbed
    verify(slate.url)


class Twice(PostgresExecutor):
    """Every write is lost after its work was done, and done again."""

    async def write(self, work: Callable[[PostgresRows], Awaitable[T]], keep: bool = True) -> T:
        await super().write(work, keep=False)
        return await super().write(work, keep)


async def test_the_work_of_every_write_may_be_run_again(tmp_path: Path, slate: Slate) -> None:
    slate.wipe()
    undisturbed = await lived(tmp_path, slate.url)
    slate.wipe()

    assert await lived(tmp_path, slate.url, executor=Twice) == undisturbed
    verify(slate.url)
