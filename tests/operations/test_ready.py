"""`ready` is one number, whoever is asked: what the view `ready_tasks` holds."""

from datetime import timedelta

import pytest

from tests.support.bench import ANN, BOB, Bench, a_task
from wvo_mcp.domain.instant import iso

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("SCHED-3")]


async def test_every_answer_counts_as_ready_what_may_be_claimed_now(bench: Bench) -> None:
    await bench.create(
        a_task("FREE"),
        a_task("PARENT"),
        a_task("CHILD", parent_id="PARENT"),
        a_task("GUARDED", requires_approval=True),
        a_task("LATER", not_before=iso(bench.clock.now() + timedelta(days=400_000))),
        a_task("BEHIND", depends_on=["FREE"]),
        a_task("FULL", epic_id="SMALL"),
        a_task("HELD", epic_id="SMALL"),
        a_task("USED", files=["src/**"]),
    )
    await bench.force("UPDATE epics SET wip_limit = 1 WHERE id = 'SMALL'")
    await bench.claim(BOB, "HELD")
    (view,) = await bench.sql("SELECT count(*) AS n FROM ready_tasks")

    plan = await bench.call("plan_next", ANN, limit=50)
    status = await bench.call("status")
    seen = await bench.call("health_run")

    assert view["n"] == 3
    assert plan["ready"] == 3
    assert status["counts"]["ready"] == 3
    assert (await bench.call("metrics"))["ready"] == 3
    assert (seen["observed"]["metrics"]["readyCount"], seen["observed"]["metrics"]["queueDepth"]) == (3, 3)
    assert status["held_back"] == 4  # PARENT, GUARDED, LATER, FULL
    assert {one["reason"] for one in plan["not_ready"]} <= {
        "dependencies", "not_before", "approval", "files", "capabilities", "children", "epic_wip_limit"
    }  # fmt: skip


async def test_a_time_that_has_come_counts_before_a_claim_opens_it(bench: Bench) -> None:
    await bench.create(a_task("SOON", not_before=iso(bench.clock.now() + timedelta(hours=1))))
    assert (await bench.call("plan_next"))["ready"] == 0

    bench.clock.advance(hours=2)

    assert [task["id"] for task in (await bench.call("plan_next"))["tasks"]] == ["SOON"]
    assert (await bench.call("plan_next"))["ready"] == 1
