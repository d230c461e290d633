"""Lists, counts and near matches: bounded at any size, complete by cursor."""

from typing import Any

import pytest

from tests.support.bench import Bench, a_task
from tests.support.sessions import an_agent
from wvo_mcp.errors import InvalidInput, NotFound
from wvo_mcp.store.records import tasks

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("CORE-6")]


async def listed(bench: Bench, **asked: Any) -> list[str]:
    """All ids, page after page."""
    found: list[str] = []
    cursor: dict[str, Any] = {}
    while True:
        page = await bench.call("list_tasks", **asked, **cursor)
        found += [task["id"] for task in page["tasks"]]
        if page["next_cursor"] is None:
            return found
        cursor = {"cursor": page["next_cursor"]}


async def test_pages_follow_each_other_without_a_gap_while_tasks_come_and_change(bench: Bench) -> None:
    await bench.create(*(a_task(f"T{n}") for n in range(7)))
    first = await bench.call("list_tasks", limit=3)

    await bench.call("update_task", task_id="T4", priority="critical", title="now the best")
    await bench.create(a_task("A0"))
    second = await bench.call("list_tasks", limit=3, cursor=first["next_cursor"])
    third = await bench.call("list_tasks", limit=3, cursor=second["next_cursor"])

    assert [task["id"] for page in (first, second, third) for task in page["tasks"]] == [
        "T0", "T1", "T2", "T3", "T4", "T5", "T6", "A0",
    ]  # fmt: skip
    assert third["next_cursor"] is None


async def test_every_filter_narrows_and_they_combine(bench: Bench) -> None:
    await bench.create(
        a_task("T1", epic_id="E", labels=["api", "slow"]),
        a_task("T2", epic_id="E", labels=["api"], description="about invoices"),
        a_task("T3", labels=["slow"], title="Invoices"),
    )
    await bench.claim(an_agent("dan"), "T2")

    assert await listed(bench, epic_id="E") == ["T1", "T2"]
    assert await listed(bench, label="slow") == ["T1", "T3"]
    assert await listed(bench, status="in_progress") == ["T2"]
    assert await listed(bench, agent_id="dan") == ["T2"]
    assert await listed(bench, query="invoices") == ["T2", "T3"]
    assert await listed(bench, query="invoi") == ["T2", "T3"]
    assert await listed(bench, query="t3") == ["T3"]
    assert await listed(bench, query="invoices", epic_id="E", label="api", limit=1) == ["T2"]
    assert await listed(bench, label="nobody's") == []


async def test_what_a_task_says_now_is_found_and_what_it_said_is_not(bench: Bench) -> None:
    await bench.create(a_task("T", title="Paint it red", labels=["old"]))

    await bench.call("update_task", task_id="T", title="Paint it blue", labels=["new"])

    assert await listed(bench, query="red") == await listed(bench, label="old") == []
    assert await listed(bench, query="blue") == await listed(bench, label="new") == ["T"]


async def test_a_total_is_counted_up_to_a_thousand(bench: Bench) -> None:
    await bench.create(*(a_task() for _ in range(500)))
    await bench.create(*(a_task(labels=["x"]) for _ in range(500)))
    page = await bench.call("list_tasks", limit=1)
    assert (page["total"], page["total_is_capped"]) == (1_000, False)

    await bench.create(a_task())

    page = await bench.call("list_tasks", limit=1)
    assert (page["total"], page["total_is_capped"]) == (1_000, True)
    page = await bench.call("list_tasks", limit=1, label="x")
    assert (page["total"], page["total_is_capped"]) == (500, False)


@pytest.mark.requirement("CORE-7")
@pytest.mark.parametrize("cursor", ["x", "-1", "1e3", str(2**70), "١٢"])
async def test_a_cursor_that_is_none_is_refused(bench: Bench, cursor: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        await bench.call("list_tasks", cursor=cursor)
    assert refused.value.details["field"] == "cursor"


@pytest.mark.requirement("CORE-7")
@pytest.mark.parametrize("large", [False, True])
async def test_an_unknown_id_names_those_that_look_like_it(
    bench: Bench, large: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tasks, "_SMALL_STORE", 3 if large else 3_000)
    await bench.create(*(a_task(f"CHECKOUT-{n}") for n in range(1, 30)), a_task("login"))

    for wanted, meant in (("CHECKOUT-30", "CHECKOUT-3"), ("checkout-7", "CHECKOUT-7"), ("LOGIN", "login")):
        with pytest.raises(NotFound) as unknown:
            await bench.call("get_task", task_id=wanted)
        assert meant in unknown.value.details["near"], wanted
        assert len(unknown.value.details["near"]) <= 5
        assert unknown.value.details["field"] == "task_id"


@pytest.mark.requirement("TASK-2")
async def test_open_tasks_behind_what_was_cancelled_or_failed_are_stranded(bench: Bench) -> None:
    await bench.create(
        a_task("C"), a_task("F"), a_task("D", depends_on=["C"]), a_task("E", depends_on=["F", "C"]), a_task("X")
    )
    await bench.call("update_task", task_id="C", status="cancelled")
    await bench.claim(task_id="F")
    await bench.call("fail_task", task_id="F", error="no", retry=False)

    stranded = {(row["id"], row["waiting_for"]) for row in (await bench.call("status"))["stranded"]}
    assert stranded == {("D", "C"), ("E", "C"), ("E", "F")}
    await bench.call("update_task", task_id="C", status="pending")
    await bench.call("update_task", task_id="E", status="cancelled")
    assert (await bench.call("status"))["stranded"] == []
