"""What forecast answers over a store."""

from datetime import timedelta
from typing import Any

import pytest

from tests.support.bench import ANN, Bench, a_task
from wvo_mcp.domain.instant import instant, iso

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("SCHED-5")]


async def _seen(bench: Bench, *lasted: int) -> None:
    """Done tasks of complexity 5 that took so many seconds."""
    for place, seconds in enumerate(lasted):
        await bench.create(a_task(f"old{place}", priority="critical"))
        await bench.claim(ANN, f"old{place}")
        bench.clock.advance(seconds=seconds)
        await bench.complete(f"old{place}")


async def _milestone(bench: Bench, name: str, in_seconds: float) -> None:
    due = bench.clock.now() + timedelta(seconds=in_seconds)
    await bench.write(lambda tx: tx.tasks.put_milestone(name, {"title": name, "due_at": due}))


async def test_a_plan_of_known_durations_is_forecast_to_the_second(bench: Bench) -> None:
    await _seen(bench, *[600] * 20)
    await _milestone(bench, "M1", 1_250)
    await _milestone(bench, "M2", 2_450)
    await bench.create(
        a_task("a", milestone_id="M1", epic_id="E"),
        a_task("b", milestone_id="M1", depends_on=["a"]),
        a_task("c", milestone_id="M2", depends_on=["b"], epic_id="E"),
    )
    found = await bench.call("forecast", agents=2, runs=20)
    at = instant(found["at"])

    assert (instant(found["p50_at"]) - at, instant(found["p90_at"]) - at) == (timedelta(seconds=1800),) * 2
    assert [(group["id"], group["chance"]) for group in found["milestones"]] == [("M1", 1.0), ("M2", 1.0)]
    assert found["epics"][0]["p90_at"] == iso(at + timedelta(seconds=1800))
    assert (found["runs"], found["open"], found["stuck"], found["cut"]) == (20, 3, 0, [])
    assert found == await bench.call("forecast", agents=2, runs=20)


async def test_equal_tasks_are_done_in_the_order_in_which_they_were_written(bench: Bench) -> None:
    await _seen(bench, *[600] * 20)
    await bench.create(a_task("z", epic_id="FIRST"), a_task("a", epic_id="SECOND"))

    found = await bench.call("forecast", agents=1, runs=20)

    ends = {group["id"]: instant(group["p50_at"]) - instant(found["at"]) for group in found["epics"]}
    assert ends == {"FIRST": timedelta(seconds=600), "SECOND": timedelta(seconds=1200)}


async def test_work_that_is_deferred_to_the_end_of_time_is_forecast_like_any_other(bench: Bench) -> None:
    await bench.create(a_task("never", not_before="9999-12-31T23:59:59.999Z"), a_task("behind", depends_on=["never"]))

    found = await bench.call("forecast", runs=20)
    path = await bench.call("critical_path")

    assert (found["p50_at"], found["p90_at"]) == ("9999-12-31T23:59:59.999Z",) * 2
    assert [step["earliest_start"] for step in path["path"]] == ["9999-12-31T23:59:59.999Z"] * 2
    assert path["finish_at"] == "9999-12-31T23:59:59.999Z"


async def test_an_agent_works_on_as_many_tasks_at_once_as_it_may_hold(bench: Bench) -> None:
    await _seen(bench, *[600] * 20)
    await bench.create(*(a_task(f"t{number}") for number in range(12)))

    async def hours(agents: int) -> float:
        found = await bench.call("forecast", agents=agents, runs=20)
        return (instant(found["p90_at"]) - instant(found["at"])).total_seconds() / 600

    bench.limits(wip_limit=6)
    assert [await hours(2), await hours(12)] == [6, 1]
    bench.limits(wip_limit=6, agent_wip_limit=2)
    assert [await hours(2), await hours(3), await hours(4), await hours(12)] == [3, 2, 2, 1]


async def test_what_to_cut_is_the_cheapest_that_brings_the_due_date_back_into_reach(bench: Bench) -> None:
    await _seen(bench, *[600] * 20)
    await _milestone(bench, "M", 1_300)
    await bench.create(
        a_task("gold", milestone_id="M", business_value=20),
        a_task("silver", milestone_id="M", business_value=10),
        a_task("brass", milestone_id="M", business_value=4),
        a_task("behind-brass", milestone_id="M", business_value=1, depends_on=["brass"]),
        a_task("held-by-others", milestone_id="M", business_value=0),
        a_task("other", depends_on=["held-by-others"], business_value=0),
    )
    found = await bench.call("forecast", agents=1, runs=20)

    (cut,) = found["cut"]
    # Two of five fit; the cheapest of all may not go, because work elsewhere waits for it.
    assert cut["chance"] == 0.0
    assert [task["id"] for task in cut["tasks"]] == ["behind-brass", "brass", "silver"]
    assert (cut["chance_after"], cut["enough"]) == (1.0, True)


async def test_a_milestone_with_something_stuck_has_no_chance_and_says_so(bench: Bench) -> None:
    await _milestone(bench, "M", 1e7)
    await bench.create(
        a_task("bad", max_attempts=1), a_task("next", depends_on=["bad"], milestone_id="M"), a_task("ok")
    )
    await bench.claim(ANN, "bad")
    await bench.call("fail_task", task_id="bad", error="no way", retry=False)
    found = await bench.call("forecast", runs=5)

    (group,) = found["milestones"]
    assert (group["stuck"], group["chance"], group["p90_at"]) == (1, 0.0, None)
    assert (found["open"], found["stuck"]) == (1, 2)


async def test_observed_hours_stretch_the_clock(bench: Bench) -> None:
    await _seen(bench, *[600] * 20)
    bench.clock.advance(seconds=36 * 3600)
    await bench.create(a_task("a"))
    around, observed = [(await bench.call("forecast", runs=5, hours=hours)) for hours in ("all", "observed")]

    def seconds(found: dict[str, Any]) -> float:
        return (instant(found["p50_at"]) - instant(found["at"])).total_seconds()

    assert 0.05 < observed["busy_share"] < 0.12
    assert seconds(around) == 600
    assert seconds(observed) == pytest.approx(600 / observed["busy_share"], rel=0.02)


async def test_nothing_open_has_no_end(bench: Bench) -> None:
    found = await bench.call("forecast")
    assert (found["p50_at"], found["open"], found["milestones"]) == (None, 0, [])
