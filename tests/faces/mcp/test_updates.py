"""What is told of resources that changed."""

from functools import partial

import pytest

from tests.support.bench import Bench, a_task
from wvo_mcp.faces.mcp import updates

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("DASH-5")]


async def test_what_happens_after_a_restore_is_told_though_its_numbers_are_lower(bench: Bench) -> None:
    await bench.create(a_task("T1"))
    await bench.write(lambda tx: tx.events.append("store.restored", None, {"backup": "b"}))
    restored = await bench.read(lambda tx: tx.events.last_seq())
    events, seen = await bench.read(partial(updates.after, seen=restored + 1_000))
    assert ([event.kind for event in events], seen) == (["store.restored"], restored)

    await bench.create(a_task("T2"))
    events, seen = await bench.read(partial(updates.after, seen=seen))
    assert [event.task_id for event in events] == ["T2"]
    assert await bench.read(partial(updates.after, seen=seen)) == ([], seen)
