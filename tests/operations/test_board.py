"""All tasks in columns: counted, the first of each, and the rest page by page."""

from typing import Any

import pytest

from tests.support.bench import ANN, BOB, OWNER, Bench, a_task
from wvo_mcp.errors import InvalidInput, NotFound
from wvo_mcp.operations.results import MAX_CHARACTERS, compact

pytestmark = [pytest.mark.anyio, pytest.mark.both_stores, pytest.mark.requirement("DASH-1", "CORE-6")]


async def board(bench: Bench, **asked: Any) -> dict[str, Any]:
    return await bench.call("board", OWNER, **asked)


def columns(seen: dict[str, Any]) -> dict[str, list[str]]:
    return {one["key"]: [task["id"] for task in one["tasks"]] for one in seen["columns"]}


async def pages(bench: Bench, **asked: Any) -> list[str]:
    found: list[str] = []
    more: dict[str, Any] = {}
    while True:
        seen = await board(bench, **asked, **more)
        found += [task["id"] for one in seen["columns"] for task in one["tasks"]]
        if "next_cursor" not in seen:
            return found
        more = {"cursor": seen["next_cursor"]}


async def test_tasks_stand_in_columns_of_their_status_with_all_of_them_counted(bench: Bench) -> None:
    await bench.create(*(a_task(f"T{n:02}", complexity=n % 9 + 1) for n in range(20)), a_task("W", depends_on=["T00"]))
    await bench.claim(BOB, "T01")
    await bench.done("T02", "T03", caller=ANN)

    seen = await board(bench, limit=3)

    counts = {one["key"]: one["count"] for one in seen["columns"] if one["count"]}
    assert counts == {"pending": 18, "in_progress": 1, "done": 2}
    assert seen["total"] == 21
    assert columns(seen)["in_progress"] == ["T01"]
    assert columns(seen)["done"] == ["T03", "T02"], "the newest first"
    planned = [one["id"] for one in (await bench.call("plan_next", limit=3))["tasks"]]
    assert columns(seen)["pending"] == planned


async def test_one_column_is_read_to_its_end_and_those_that_wait_come_last(bench: Bench) -> None:
    await bench.create(*(a_task(f"T{n}") for n in range(7)), *(a_task(f"W{n}", depends_on=["T0"]) for n in range(5)))

    found = await pages(bench, status="pending", limit=3)

    assert len(found) == len(set(found)) == 12
    assert all(one.startswith("W") for one in found[7:])
    (column,) = (await board(bench, status="pending"))["columns"]
    assert column["tasks"][-1]["unmet_deps"] == 1
    assert await pages(bench, status="blocked") == []


async def test_what_has_ended_is_paged_from_the_newest(bench: Bench) -> None:
    await bench.create(*(a_task(f"T{n}", epic_id="E" if n % 2 else "F") for n in range(6)))
    await bench.done(*(f"T{n}" for n in range(6)), caller=BOB)

    assert await pages(bench, status="done", limit=2) == ["T5", "T4", "T3", "T2", "T1", "T0"]
    assert await pages(bench, status="done", epic_id="E", limit=2) == ["T5", "T3", "T1"]


async def test_every_filter_narrows_and_the_counts_follow(bench: Bench) -> None:
    await bench.create(
        a_task("A", epic_id="E", labels=["x"]), a_task("B", epic_id="E", title="Find the needle"), a_task("C")
    )
    await bench.claim(BOB, "B")

    assert columns(await board(bench, epic_id="E")) == {"pending": ["A"], "in_progress": ["B"]}
    assert columns(await board(bench, label="x")) == {"pending": ["A"]}
    assert columns(await board(bench, agent_id="bob")) == {"in_progress": ["B"]}
    assert columns(await board(bench, query="needle")) == {"in_progress": ["B"]}
    assert columns(await board(bench, epic_id="E", status="pending")) == {"pending": ["A"]}
    assert (await board(bench, query="nothing at all"))["columns"] == []
    with pytest.raises(NotFound):
        await board(bench, milestone_id="M")
    with pytest.raises(InvalidInput):
        await board(bench, view="epic", label="x")


async def test_epics_and_milestones_show_how_far_they_are_and_what_is_open(bench: Bench) -> None:
    await bench.create(*(a_task(f"T{n}", epic_id="E") for n in range(5)), a_task("F1", epic_id="F"))
    await bench.write(lambda tx: tx.tasks.put_milestone("M", {"title": "First version"}), OWNER)
    await bench.call("update_task", task_id="T4", milestone_id="M")
    await bench.done("T0", caller=BOB)
    await bench.claim(BOB, "T3")

    (epic, other) = (await board(bench, view="epic"))["columns"]
    (milestone,) = (await board(bench, view="milestone"))["columns"]

    assert (epic["key"], epic["count"]) == ("E", 5)
    assert epic["counts"] == {"pending": 3, "in_progress": 1, "done": 1}
    assert [task["id"] for task in epic["tasks"]] == ["T3", "T1", "T2"], "what goes on first, nothing that is done"
    assert [task["id"] for task in other["tasks"]] == ["F1"]
    assert (milestone["title"], milestone["count"], milestone["tasks"][0]["id"]) == ("First version", 1, "T4")


async def test_many_epics_are_paged(bench: Bench) -> None:
    await bench.create(*(a_task(f"T{n}", epic_id=f"E{n}") for n in range(45)))

    assert len(set(await pages(bench, view="epic"))) == 45


async def test_a_gate_is_named_beside_its_task(bench: Bench) -> None:
    await bench.create(a_task("A", requires_approval=True), a_task("B", not_before="2030-01-01T00:00:00Z"))

    (pending,) = (one for one in (await board(bench))["columns"] if one["key"] == "pending")

    assert {task["id"]: task["gates"] for task in pending["tasks"]} == {"A": ["approval"], "B": ["not_before"]}


async def test_long_titles_make_columns_shorter_and_nothing_is_cut(bench: Bench) -> None:
    await bench.create(*(a_task(f"T{n}", title='"' * 400, epic_id="E" * 60) for n in range(120)))
    await bench.done(*(f"T{n}" for n in range(60)), caller=BOB)

    seen = await board(bench, limit=100)

    assert "clipped" not in seen
    assert len(compact(seen)) <= MAX_CHARACTERS
    assert all(one["tasks"] for one in seen["columns"] if one["count"])
    assert len(set(await pages(bench, status="done", limit=100))) == 60
