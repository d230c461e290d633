"""Whoever follows the events is told where to go on, when an earlier store took the place of theirs."""

from functools import partial

import pytest

from tests.support.bench import Bench, a_task
from wvo_mcp.orchestration.hourly import RESTORED
from wvo_mcp.orchestration.restored import gone_back

pytestmark = [pytest.mark.anyio, pytest.mark.both_stores]


async def test_who_has_read_more_than_there_is_goes_on_with_the_restore(bench: Bench) -> None:
    await bench.create(a_task("T1"))
    last = await bench.read(lambda tx: tx.events.last_seq())
    for known, found in ((0, None), (last, None), (last + 1, last)):
        assert await bench.read(partial(gone_back, after=known)) == found

    for _ in range(2):
        await bench.write(lambda tx: tx.events.append(RESTORED, None, {"backup": "b"}))
    await bench.create(a_task("T2"))
    assert await bench.read(partial(gone_back, after=last + 1)) is None
    assert await bench.read(partial(gone_back, after=last + 1_000)) == last + 1
