"""Why a task is not running, what was set right without a person, what was refused, and what was said about a task."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from tests.support.bench import ANN, BOB, OWNER, Bench, a_task
from tests.support.providers import FixedProviders
from wvo_mcp.errors import NotFound
from wvo_mcp.ports.workers import Violation

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("DASH-1"), pytest.mark.both_stores]


async def why(bench: Bench, task_id: str) -> Mapping[str, Any]:
    return await bench.call("why", OWNER, task_id=task_id)


async def test_a_task_that_waits_names_what_it_waits_for_and_what_will_never_come(bench: Bench) -> None:
    await bench.create(a_task("A", max_attempts=1), a_task("B", depends_on=["A"]), a_task("C", parent_id="B"))
    await bench.claim(ANN, "A")
    await bench.call("fail_task", ANN, task_id="A", error="no such file", retry=False)

    waits, failed = await why(bench, "B"), await why(bench, "A")

    assert (waits["reason"], waits["waiting_for"]) == ("dependencies", ["A"])
    assert waits["sentence"] == "It waits for A (failed)."
    assert failed["sentence"] == "It failed after 1 of 1 attempt: no such file"
    assert (await why(bench, "C"))["reason"] == "ready"


async def test_each_gate_of_a_pending_task_is_a_reason(bench: Bench) -> None:
    await bench.create(
        a_task("T1", files=["src/**"]),
        a_task("T2", files=["src/a.py"]),
        a_task("T3", requires_approval=True),
        a_task("T4", not_before="2100-01-01T00:00:00Z"),
        a_task("T5", capabilities=["rust"]),
        a_task("T6"),
        a_task("T7", parent_id="T6"),
        a_task("T8", epic_id="E"),
        a_task("T9", epic_id="E"),
    )
    bench.limits(wip_limit=9, agent_wip_limit=9)
    await bench.claim(ANN, "T1")
    await bench.claim(ANN, "T8")
    await bench.force("UPDATE epics SET wip_limit = 1 WHERE id = 'E'")

    found = {task_id: await why(bench, task_id) for task_id in (f"T{n}" for n in range(1, 10))}

    assert {task_id: one["reason"] for task_id, one in found.items()} == {
        "T1": "in_progress",
        "T2": "files",
        "T3": "approval",
        "T4": "not_before",
        "T5": "capabilities",
        "T6": "children",
        "T7": "ready",
        "T8": "in_progress",
        "T9": "epic_wip_limit",
    }
    assert found["T2"]["sentence"] == "Its files are in use by T1."
    assert found["T4"]["until"] == "2100-01-01T00:00:00.000Z"
    assert found["T6"]["sentence"] == "Its parts come first: T7 (pending)."
    assert (found["T1"]["holder"], found["T9"]["epic"]["in_progress"]) == ("ann", 1)


async def test_what_some_agent_can_do_lacks_nothing(bench: Bench) -> None:
    await bench.create(a_task("T1", capabilities=["rust"]))
    await bench.call("agent_register", BOB, capabilities=["rust"])

    assert (await why(bench, "T1"))["reason"] == "ready"


async def test_a_ready_task_says_that_work_is_paused_or_that_enough_is_begun(bench: Bench) -> None:
    await bench.create(a_task("T1"), a_task("T2"))
    bench.limits(wip_limit=1)
    await bench.claim(ANN, "T1")
    full = await why(bench, "T2")
    await bench.call("pause", OWNER, reason="lunch")
    paused = await why(bench, "T2")
    await bench.call("stop", OWNER)

    assert (full["reason"], full["sentence"]) == (
        "wip_limit",
        "WIP limit reached: 1 of 1 tasks in progress (store-wide).",
    )
    assert (paused["reason"], paused["sentence"]) == ("paused", "Work is paused: lunch.")
    assert (await why(bench, "T2"))["sentence"] == "Work is stopped: lunch."


async def test_a_broken_file_of_providers_is_named(bench: Bench) -> None:
    await bench.create(a_task("T1"))
    bench.services = replace(bench.services, providers=FixedProviders(None, wrong="line 3 is not YAML"))

    found = await why(bench, "T1")

    assert found["reason"] == "budget"
    assert "line 3" in found["sentence"]


async def test_a_task_in_other_hands_says_whose(bench: Bench) -> None:
    await bench.create(a_task("T1"), a_task("T2"), a_task("T3"), a_task("T4"))
    bench.limits(wip_limit=9, agent_wip_limit=9)
    await bench.claim(ANN, "T1")
    await bench.call("approval_request", ANN, task_id="T1", question="Delete the old table?")
    await bench.claim(ANN, "T2")
    await bench.call("block_task", ANN, task_id="T2", reason="the API is down")
    await bench.claim(ANN, "T3")
    await bench.call("block_task", ANN, task_id="T3", reason="first that", waiting_for=["T4"])
    await bench.done("T4")

    asked, blocked, over = [await why(bench, task_id) for task_id in ("T1", "T2", "T4")]

    assert (asked["reason"], asked["waiting_for"]) == ("awaiting_approval", ["A-1"])
    assert blocked["sentence"] == "It is blocked by holder: the API is down"
    assert (over["reason"], over["sentence"]) == ("done", "It is done.")


async def test_it_says_since_when_the_task_is_as_it_is_whatever_was_written_since(bench: Bench) -> None:
    await bench.create(a_task("T1"))
    await bench.claim(ANN, "T1")
    since = (await why(bench, "T1"))["since"]
    bench.clock.advance(minutes=5)
    await bench.call("heartbeat", ANN, task_id="T1", progress=50)
    await bench.call("update_task", OWNER, task_id="T1", priority="high")

    assert (await why(bench, "T1"))["since"] == since


async def test_the_parts_of_the_score_add_up_to_it(bench: Bench) -> None:
    await bench.create(a_task("T1", priority="high", complexity=4))

    found = await why(bench, "T1")
    parts = found["parts"]

    value = parts["business_value"] + parts["time_criticality"] + parts["unlock_value"]
    assert found["score"] == pytest.approx(value / (parts["complexity"] + parts["unlock_size"]) + parts["path_value"])


async def test_recoveries_are_listed_newest_first_page_by_page_and_by_task(bench: Bench) -> None:
    await bench.create(a_task("T1"), a_task("T2"))
    for number in range(3):
        await bench.write(lambda tx, n=number: tx.events.append("task.returned", "T1", {"reason": f"conflict {n}"}))
    await bench.write(lambda tx: tx.events.append("worker.recovery", "T2", {"trigger": "sandbox", "reason": "a flag"}))
    await bench.write(lambda tx: tx.events.append("provider.opened", None, {"provider": "claude", "tier": "high"}))

    first = await bench.call("recoveries", OWNER, limit=2)
    second = await bench.call("recoveries", OWNER, limit=2, cursor=first["next_cursor"])
    third = await bench.call("recoveries", OWNER, limit=2, cursor=second["next_cursor"])
    of_one = await bench.call("recoveries", OWNER, task_id="T1", limit=2)
    rest = await bench.call("recoveries", OWNER, task_id="T1", limit=2, cursor=of_one["next_cursor"])

    def said(page: Mapping[str, Any]) -> list[str]:
        return [one["said"] for one in page["recoveries"]]

    assert said(first) == ["claude high is left alone (?): ?", "sandbox: a flag"]
    assert said(second) == ["it came back: conflict 2", "it came back: conflict 1"]
    assert (said(third), third.get("next_cursor")) == (["it came back: conflict 0"], None)
    assert said(of_one) == said(second)
    assert (said(rest), "next_cursor" in rest) == (["it came back: conflict 0"], False)


async def test_refusals_are_listed_newest_first_page_by_page_and_by_task(bench: Bench) -> None:
    for number in range(3):
        refused = Violation("command", "deny", "rm", f"rm -rf /{number}", "T1" if number else "T2", "w-1")
        await bench.write(lambda tx, one=refused: tx.violations.add(one))

    first = await bench.call("violations", OWNER, limit=2)
    second = await bench.call("violations", OWNER, limit=2, cursor=first["next_cursor"])
    of_one = await bench.call("violations", OWNER, task_id="T1")

    assert [one["subject"] for one in first["violations"]] == ["rm -rf /2", "rm -rf /1"]
    assert [one["subject"] for one in second["violations"]] == ["rm -rf /0"]
    assert "next_cursor" not in second
    assert of_one["violations"] == first["violations"]


async def test_what_was_said_about_a_task_is_listed_whoever_said_it(bench: Bench) -> None:
    await bench.create(a_task("T1"), a_task("T2"))
    await bench.claim(BOB, "T1")
    await bench.call("message", OWNER, to="T1", body="Mind the cache.")
    await bench.call("message_send", ANN, to="T2", body="Another task.")
    await bench.call("message_send", ANN, to="bob", task_id="T1", kind="question", body="Which cache?")
    await bench.call("heartbeat", BOB, task_id="T1")
    await bench.call("message_send", BOB, answers="n-3", body="The one of prices.")

    found = (await bench.call("messages", OWNER, task_id="T1"))["messages"]
    page = await bench.call("messages", OWNER, task_id="T1", limit=2)
    rest = await bench.call("messages", OWNER, task_id="T1", limit=2, cursor=page["next_cursor"])

    assert [one["body"] for one in found] == ["The one of prices.", "Which cache?", "Mind the cache."]
    assert (found[0]["answers"], "acked_at" in found[1], "acked_at" in found[0]) == ("n-3", True, False)
    assert page["messages"] + rest["messages"] == found


async def test_a_task_that_is_not_there_is_said_with_those_that_are_near(bench: Bench) -> None:
    await bench.create(a_task("T1"))

    for name in ("why", "messages", "submissions"):
        with pytest.raises(NotFound):
            await bench.call(name, OWNER, task_id="T9")
