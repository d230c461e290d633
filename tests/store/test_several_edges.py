"""A task that waits for another in more than one way."""

import pytest

from tests.support.bench import ANN, OWNER, Bench, a_task

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("SCHED-1")]


async def bundle(bench: Bench, task_id: str) -> tuple[float, float]:
    (row,) = await bench.sql("SELECT bundle_value, bundle_size FROM tasks WHERE id = ?", task_id)
    return row["bundle_value"], row["bundle_size"]


async def test_bundles_follow_when_a_task_it_waits_for_in_three_ways_is_done_and_reopened(bench: Bench) -> None:
    await bench.create(a_task("WHOLE", priority="high"), a_task("PART", parent_id="WHOLE"), a_task("OTHER"))
    await bench.call("update_task", OWNER, task_id="WHOLE", add_depends_on=["PART"])
    await bench.call("block_task", OWNER, task_id="WHOLE", reason="both", waiting_for=["PART", "OTHER"])
    quarter = (5 + 10 / 4, 5 + 5 / 4)
    assert await bundle(bench, "OTHER") == quarter

    await bench.claim(ANN, "PART")
    await bench.complete("PART")
    assert await bundle(bench, "OTHER") == (15, 10)

    await bench.call("update_task", OWNER, task_id="PART", status="pending", reason="again")
    assert await bundle(bench, "OTHER") == quarter
