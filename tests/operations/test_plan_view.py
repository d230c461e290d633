"""The plan as people look at it: its graph, its chains, and how it goes down."""

import random
from typing import Any

import pytest

from tests.support.bench import ANN, OWNER, Bench, a_task
from wvo_mcp.domain.instant import instant
from wvo_mcp.errors import InvalidInput
from wvo_mcp.orchestration.plan import graphs, progress

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("DASH-1")]


async def whole(bench: Bench, **arguments: Any) -> dict[str, dict[str, Any]]:
    """All nodes by their keys."""
    found: dict[str, dict[str, Any]] = {}
    cursor: str | None = None
    while True:
        given = arguments if cursor is None else {**arguments, "cursor": cursor}
        page = await bench.call("plan_graph", OWNER, **given)
        found |= {node["key"]: node for node in page["nodes"]}
        cursor = page.get("next_cursor")
        if cursor is None:
            return found


async def a_large_plan(bench: Bench, epics: int, each: int) -> None:
    """Epics `e0` and so on with tasks `e0-0` and so on; the first of each waits for the first of the epic before."""
    tasks = [
        a_task(f"e{epic}-{n}", epic_id=f"e{epic}", depends_on=[f"e{epic - 1}-0"] if epic and not n else [])
        for epic in range(epics)
        for n in range(each)
    ]
    for start in range(0, len(tasks), 500):
        await bench.create(*tasks[start : start + 500])


async def test_each_open_task_is_a_node_with_what_it_waits_for_and_its_place_on_the_path(bench: Bench) -> None:
    await bench.create(
        a_task("a", epic_id="E"),
        a_task("b", depends_on=["a"], title="Second"),
        a_task("c", depends_on=["b"]),
        a_task("alone"),
        a_task("gone"),
    )
    await bench.done("gone")
    await bench.claim(ANN, "a")

    found = await bench.call("plan_graph", OWNER)
    nodes = {node["key"]: node for node in found["nodes"]}

    assert found["open"] == 4
    assert "folded" not in found
    assert {key: node["state"] for key, node in nodes.items()} == {
        "a": "in_progress",
        "b": "waiting",
        "c": "waiting",
        "alone": "pending",
    }
    assert {key: node.get("critical") for key, node in nodes.items()} == {"a": 1, "b": 2, "c": 3, "alone": None}
    assert nodes["c"]["waits_for"] == ["b"]
    assert (nodes["b"]["title"], nodes["a"]["epic"]) == ("Second", "E")


async def test_a_large_plan_is_folded_and_an_epic_unfolded_by_name(bench: Bench) -> None:
    await a_large_plan(bench, 4, 80)

    folded = await whole(bench)

    assert set(folded) == {"epic:e0", "epic:e1", "epic:e2", "epic:e3"}
    assert folded["epic:e1"]["counts"] == {"pending": 79, "waiting": 1}
    assert folded["epic:e1"]["waits_for"] == ["epic:e0"]
    assert [folded[f"epic:e{n}"]["critical"] for n in range(4)] == [1, 2, 3, 4]
    unfolded = await whole(bench, unfolded=["e1", "unknown"])
    assert len(unfolded) == 3 + 80
    assert unfolded["e1-0"]["waits_for"] == ["epic:e0"]
    assert "e1-0" in unfolded["epic:e2"]["waits_for"]


async def test_what_has_no_room_is_counted(bench: Bench) -> None:
    await a_large_plan(bench, 1, 350)
    await bench.create(*(a_task(f"n{n}", epic_id=f"small{n}") for n in range(320)))

    found = await whole(bench, unfolded=["e0"])

    assert sum(node.get("kind", "task") == "task" for node in found.values()) == 300
    assert found["epic:e0"]["left_out"] == 50
    assert found["epics"]["left_out"] == 21
    assert sum(sum(node.get("counts", {}).values()) for node in found.values()) == 50 + 320


async def test_what_an_epic_has_no_room_for_is_not_joined_to_what_it_shows(bench: Bench) -> None:
    await a_large_plan(bench, 1, 340)
    await bench.create(*(a_task(f"late{n}", epic_id="e0", depends_on=["e0-0"], priority="low") for n in range(20)))

    found = await whole(bench, unfolded=["e0"])

    assert found["epic:e0"]["left_out"] == 60
    assert "waits_for" not in found["epic:e0"]


async def test_a_cursor_that_was_not_given_is_refused(bench: Bench) -> None:
    with pytest.raises(InvalidInput):
        await bench.call("plan_graph", OWNER, cursor="-1")
    assert (await bench.call("plan_graph", OWNER, cursor="99"))["nodes"] == []


async def test_what_was_read_slowly_is_read_again_only_after_a_while(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    await bench.create(a_task("a"))
    assert len(await whole(bench)) == 1
    await bench.create(a_task("b"))
    assert len(await whole(bench)) == 2

    monkeypatch.setattr(graphs, "_FREE_SECONDS", -60.0)  # as if it had taken a minute
    await bench.create(a_task("c"))
    assert len(await whole(bench)) == 3
    await bench.create(a_task("d"))
    assert len(await whole(bench)) == 3


async def test_chains_list_the_path_and_what_waits_behind_what_is_held_up(bench: Bench) -> None:
    await bench.create(
        a_task("stop"),
        a_task("x", depends_on=["stop"]),
        a_task("y", depends_on=["x"]),
        a_task("z", depends_on=["y"], complexity=10),
        a_task("lone"),
    )
    await bench.call("block_task", OWNER, task_id="stop", reason="no key")
    await bench.call("block_task", OWNER, task_id="lone", reason="no key")

    found = await bench.call("plan_chains", OWNER)

    assert [step["id"] for step in found["path"]] == ["stop", "x", "y", "z"]
    assert found["length"] == 4
    assert [(one["id"], one["state"], one["behind"], one["next"]) for one in found["held_up"]] == [
        ("stop", "blocked", 3, ["x"]),
        ("lone", "blocked", 0, []),
    ]


async def _open(bench: Bench) -> int:
    counts = await bench.read(lambda tx: tx.tasks.counts())
    return sum(n for name, n in counts.items() if name not in ("ready", "done", "cancelled"))


async def test_the_burn_down_has_what_was_open_at_the_end_of_each_day(bench: Bench) -> None:
    chance = random.Random(7)
    made = 0
    expected: dict[str, int] = {}
    for _ in range(8):
        for _ in range(6):
            made += 1
            await bench.create(a_task(f"t{made}"))
        for task_id in chance.sample([f"t{n}" for n in range(1, made + 1)], 6):
            match (await bench.status(task_id))[0]:
                case "pending" if chance.random() < 0.5:
                    await bench.done(task_id)
                case "pending":
                    await bench.call("cancel", OWNER, task_id=task_id)
                case "done":
                    await bench.call("reopen", OWNER, task_id=task_id, reason="again")
                case _:
                    await bench.call("restore", OWNER, task_id=task_id)
        expected[(await bench.read(_today))] = await _open(bench)
        bench.clock.advance(hours=24)
    bench.clock.advance(hours=-24)

    found = await bench.call("burn_down", OWNER, days=14)

    days = {at[:10]: n for at, n in zip(found["times"], found["open"], strict=True)}
    assert {day: days[day] for day in expected} == expected
    assert sum(found["added"]) - sum(found["completed"]) - sum(found["cancelled"]) == await _open(bench)
    hourly = await bench.call("burn_down", OWNER, days=2)
    assert hourly["hourly"]
    assert hourly["open"][-1] == await _open(bench)


async def _today(tx: Any) -> str:
    return tx.now.isoformat()[:10]


async def test_a_window_with_more_events_than_are_read_begins_later(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    for day in range(6):
        await bench.create(*(a_task(f"t{day}-{n}") for n in range(5)))
        bench.clock.advance(hours=24)
    monkeypatch.setattr(progress, "READ", 12)

    found = await bench.call("burn_down", OWNER, days=28)

    assert found["cut"]
    assert found["added"] == [5, 5, 0]
    assert found["open"] == [25, 30, 30]


async def test_nothing_is_shown_of_the_time_before_the_first_task(bench: Bench) -> None:
    assert (await bench.call("burn_down", OWNER))["open"] == [0] * 28
    await bench.create(a_task("a"))

    assert (await bench.call("burn_down", OWNER))["open"] == [0, 1]


async def test_milestones_come_by_due_date_with_what_was_last_forecast(bench: Bench) -> None:
    due = bench.clock.now().replace(year=2099)
    await bench.write(lambda tx: tx.tasks.put_milestone("late", {"title": "Late"}))
    await bench.write(lambda tx: tx.tasks.put_milestone("soon", {"title": "Soon", "due_at": due}))
    await bench.create(a_task("a", milestone_id="soon"))

    before = await bench.call("milestones", OWNER)
    foretold = await bench.call("forecast", OWNER, runs=20)
    after = await bench.call("milestones", OWNER)

    assert [(one["id"], "p50_at" in one) for one in before["milestones"]] == [("soon", False), ("late", False)]
    assert "forecast_at" not in before
    assert after["forecast_at"] == foretold["at"]
    assert after["milestones"][0]["p90_at"] == foretold["milestones"][0]["p90_at"]
    assert (after["milestones"][0]["chance"], after["milestones"][0]["open"]) == (1.0, 1)
    assert instant(after["p50_at"]) <= instant(after["p90_at"])
