"""What critical_path answers over a store."""

import pytest

from tests.support.bench import ANN, Bench, a_task
from wvo_mcp.errors import DependencyCycle, NotFound

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("SCHED-5")]


async def _of_durations(bench: Bench, seconds: dict[int, int], times: int = 20) -> None:
    """So many done tasks of each complexity that lasted so many seconds."""
    for complexity, lasted in seconds.items():
        for place in range(times):
            name = f"old{complexity}-{place}"
            await bench.create(a_task(name, complexity=complexity, priority="critical"))
            await bench.claim(ANN, name)
            bench.clock.advance(seconds=lasted)
            await bench.complete(name)


async def test_the_longest_chain_is_shown_with_its_durations_and_the_slack_beside_it(bench: Bench) -> None:
    await _of_durations(bench, {2: 100, 3: 190})
    await bench.create(
        a_task("a", complexity=2, epic_id="E"),
        a_task("b", complexity=2, depends_on=["a"]),
        a_task("c", complexity=3, depends_on=["a"]),
        a_task("d", complexity=2, depends_on=["b"]),
        a_task("whole", complexity=2, epic_id="E"),
        a_task("part", complexity=2, parent_id="whole", depends_on=["c"]),
    )
    found = await bench.call("critical_path")

    assert [step["id"] for step in found["path"]] == ["a", "c", "part", "whole"]
    assert found["total_seconds"] == 100 + 190 + 100 + 100
    assert found["seen"] == {"2": 20, "3": 20} or found["seen"] == {2: 20, 3: 20}
    assert [step["slack_seconds"] for step in found["path"]] == [0, 0, 0, 0]
    assert found["tasks"] == 6
    small = await bench.call("critical_path", task_id="d")
    assert [(step["id"], step["seconds"]) for step in small["path"]] == [("a", 100), ("b", 100), ("d", 100)]
    assert (await bench.call("critical_path", epic_id="E"))["length"] == 4
    with pytest.raises(NotFound):
        await bench.call("critical_path", task_id="old2-0")


async def test_a_blocked_task_lies_behind_what_it_waits_for(bench: Bench) -> None:
    await bench.create(a_task("first"), a_task("second", depends_on=["first"]), a_task("held"), a_task("alone"))
    await bench.call("block_task", task_id="held", reason="needs the second", waiting_for=["second"])

    assert [step["id"] for step in (await bench.call("critical_path"))["path"]] == ["first", "second", "held"]


async def test_a_circle_made_by_hand_in_the_database_is_named(bench: Bench) -> None:
    await bench.create(a_task("x"), a_task("y", depends_on=["x"]), a_task("z"))
    await bench.force("INSERT INTO task_dependencies (task_id, depends_on_task_id) VALUES ('x', 'y')")

    with pytest.raises(DependencyCycle) as caught:
        await bench.call("critical_path")
    assert set(caught.value.details["path"]) == {"x", "y"}
    assert [step["id"] for step in (await bench.call("critical_path", task_id="z"))["path"]] == ["z"]


async def test_a_plan_that_is_read_in_many_parts_is_the_same_plan(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    await bench.create(*(a_task(f"t{n}", depends_on=[f"t{o}" for o in range(max(0, n - 3), n)]) for n in range(12)))
    await bench.create(a_task("whole"), a_task("part", parent_id="whole", depends_on=["t11"]))
    await bench.done("t0")
    whole = await bench.call("critical_path")
    monkeypatch.setattr("wvo_mcp.orchestration.outlook.PART", 2)

    assert await bench.call("critical_path") == whole
    assert [step["id"] for step in whole["path"]] == [*(f"t{n}" for n in range(1, 12)), "part", "whole"]


async def test_an_empty_plan_has_no_path(bench: Bench) -> None:
    assert (await bench.call("critical_path"))["path"] == []
