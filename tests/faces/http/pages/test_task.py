"""The page of one task: why it is not running, what became of it, and what may be done."""

from typing import Any

import pytest

from tests.support.bench import ANN, OWNER, Bench, a_task
from tests.support.web import controls, operations, visited
from tests.support.yard import Yard
from wvo_mcp.domain.lease import Role
from wvo_mcp.execution.agents.logs import WorkerLogFiles
from wvo_mcp.operations import ALL, Container
from wvo_mcp.ports import Transaction
from wvo_mcp.ports.workers import Violation, WorkerLogs

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("DASH-1", "DASH-2")]

HOSTILE = "<script>alert(1)</script> \x1b[31m \u202e"
PEOPLE_S = {
    "review",
    "merge_retry",
    "merge_park",
    "merge_revert",
    "worker_stop",
    "message",
    "answer",
    "approve",
    "deny",
}


def parts(yard: Yard) -> Container:
    return yard.services.having({WorkerLogs: WorkerLogFiles(yard.root / "state" / "workers")})


async def test_a_task_that_was_never_touched_reads_and_says_the_next_command(yard: Yard) -> None:
    await yard.bench.create(a_task("T1"))

    async with visited(parts(yard)) as visitor:
        html = await visitor.page("/tasks/T1")
        missing = await visitor.get("/tasks/T9")

    assert "It is ready" in html
    assert "wvo-mcp autopilot --task T1" in html
    assert controls(html) == ["Set priority", "Cancel"]
    assert (missing.status_code, "No task" in missing.text) == (404, True)


async def test_a_task_that_waits_for_a_pause_to_end_offers_its_end(yard: Yard) -> None:
    await yard.bench.create(a_task("T1"))
    await yard.bench.call("pause", OWNER, reason="lunch")

    async with visited(parts(yard)) as visitor:
        html = await visitor.page("/tasks/T1")

    assert "Work is paused: lunch." in html
    assert controls(html) == ["Resume work", "Set priority", "Cancel"]


@pytest.mark.parametrize(
    ("status", "offered"),
    [
        ("pending", ["Set priority", "Cancel"]),
        ("in_progress", ["Set priority", "Message its agent", "Review now", "Cancel"]),
        ("blocked", ["Unblock", "Set priority", "Review now", "Cancel"]),
        ("failed", ["Retry", "Set priority", "Cancel"]),
        ("in_review", ["Set priority", "Review now", "Pass it", "Stop it", "Cancel"]),
        ("done", ["Reopen"]),
        ("cancelled", ["Restore"]),
    ],
)
async def test_only_what_the_state_allows_is_offered(yard: Yard, status: str, offered: list[str]) -> None:
    await yard.bench.create(a_task("T1"))
    await yard.bench.force("UPDATE tasks SET status = ? WHERE id = 'T1'", status)

    async with visited(parts(yard)) as visitor:
        assert controls(await visitor.page("/tasks/T1")) == offered


async def test_a_viewer_is_offered_nothing_and_an_agent_nothing_that_people_decide(yard: Yard) -> None:
    await full(yard)

    async with visited(parts(yard), Role.VIEWER) as viewer:
        assert operations(await viewer.page("/tasks/T1")) == []
        assert operations(await viewer.page("/tasks/T1/files")) == []
    async with visited(parts(yard), Role.AGENT) as agent:
        assert not PEOPLE_S & set(operations(await agent.page("/tasks/T1")))
        assert operations(await agent.page("/tasks/T1/files")) == []


async def full(yard: Yard) -> None:
    """T1 with something of everything, each text as an attacker would write it."""
    bench = yard.bench
    bench.limits(wip_limit=9, agent_wip_limit=9)
    worker, place = await yard.opened("T1", title=HOSTILE, description=HOSTILE, acceptance=[HOSTILE], labels=["<b>"])
    call = yard.services

    async def ask(name: str, caller: Any = worker, **given: Any) -> None:
        await ALL[name](call, caller, given)

    yard.write(place.path, {"<i>.py": HOSTILE + "\n"})
    await ask("checkpoint", task_id="T1", summary=HOSTILE, next_steps=HOSTILE, files=["<i>.py"])
    await ask("context_write", task_id="T1", topic="a", content=HOSTILE)
    await ask("message_send", ANN, to="T1", task_id="T1", kind="question", body=HOSTILE)
    await ask("review", OWNER, task_id="T1", question=HOSTILE)
    await bench.write(lambda tx: tx.violations.add(Violation("command", "deny", "<u>", HOSTILE, "T1", "w-1")))
    logs = yard.root / "state" / "workers"
    logs.mkdir(parents=True, exist_ok=True)
    (logs / "w-1.jsonl").write_text(f'{{"wvo": "log", "driver": "none"}}\n{HOSTILE}\n')
    change = {"log": str(logs / "w-1.jsonl"), "last_act": HOSTILE, "reason": HOSTILE}
    await bench.write(lambda tx: tx.workers.change("w-1", change))
    await ask("complete_task", task_id="T1", summary=HOSTILE, evidence=[HOSTILE])


@pytest.mark.parametrize("role", Role)
async def test_each_page_reads_for_each_role_with_much_and_with_nothing(yard: Yard, role: Role) -> None:
    lists = ("/workers", "/recoveries", "/reviews")
    async with visited(parts(yard), role) as visitor:
        for address in lists:
            await visitor.page(address)
        await full(yard)
        for address in (*lists, "/tasks/T1", "/tasks/T1/files", "/workers/w-1", "/reviews/R-1"):
            await visitor.page(address)
            await visitor.data(f"{address}.json")


async def test_what_agents_wrote_is_shown_and_does_nothing(yard: Yard) -> None:
    await full(yard)

    async with visited(parts(yard)) as visitor:
        pages = [await visitor.page(one) for one in ("/tasks/T1", "/tasks/T1/files", "/workers/w-1", "/workers")]
        pages += [await visitor.page(one) for one in ("/recoveries", "/reviews", "/reviews/R-1")]

    for html in pages:
        assert "&lt;script&gt;" in html
        for raw in ("<script>alert", "\x1b", "\u202e", "<b>", "<i>", "<u>"):
            assert raw not in html


async def test_the_json_of_the_page_is_what_the_operations_say(yard: Yard) -> None:
    await full(yard)

    async with visited(parts(yard), Role.VIEWER) as visitor:
        data = await visitor.data("/tasks/T1.json")

    for name, operation, field in (
        ("task", "get_task", "task"),
        ("workers", "workers", "workers"),
        ("submissions", "submissions", "entries"),
        ("reviews", "review_status", "reviews"),
        ("messages", "messages", "messages"),
        ("files", "workspace_checkpoints", "checkpoints"),
        ("violations", "violations", "violations"),
    ):
        asked = await ALL[operation](parts(yard), OWNER, {"task_id": "T1"})
        assert data[name] == asked[field] != [], name
    assert data["events"][0]["seq"] == max(one["seq"] for one in data["events"])
    assert data["log"]["lines"]


async def test_a_long_history_is_read_page_by_page(bench: Bench, yard: Yard) -> None:
    await bench.create(a_task("T1"))
    for number in range(70):
        await bench.write(lambda tx, n=number: tx.events.append("task.updated", "T1", {"note": f"step {n}"}))
    seen: list[int] = []

    async with visited(parts(yard)) as visitor:
        before = ""
        for _ in range(5):
            data = await visitor.data(f"/tasks/T1.json{before}")
            seen += [one["seq"] for one in data["events"]]
            if data["older"] is None:
                break
            assert f"before={data['older']}" in await visitor.page(f"/tasks/T1{before}")
            before = f"?before={data['older']}"

    assert seen == list(range(71, 0, -1))


async def test_controls_do_what_they_say_in_the_name_of_the_person(yard: Yard) -> None:
    bench = yard.bench
    await bench.create(a_task("T1"), a_task("T2", max_attempts=1))
    bench.limits(wip_limit=9, agent_wip_limit=9)
    await bench.claim(ANN, "T2")
    await bench.call("fail_task", ANN, task_id="T2", error="no", retry=False)

    async with visited(parts(yard)) as visitor:
        seen = await bench.read(lambda tx: tx.events.last_seq())
        again = await visitor.do("retry", task_id="T2", seen_task="T2", seen=seen, back="/tasks/T2")
        moved = await visitor.do("update_task", task_id="T1", priority="critical", expected_version="1")
        stale = await visitor.do("update_task", task_id="T1", priority="low", expected_version="1")
        late = await visitor.do("cancel", task_id="T2", seen_task="T2", seen=seen, confirmed="yes")

    assert (again.status_code, again.headers["location"]) == (303, "/tasks/T2?did=retry")
    assert (moved.status_code, stale.status_code, late.status_code) == (303, 409, 409)
    assert await bench.status("T1", "T2") == ["pending", "pending"]
    assert (await bench.task("T1")).priority == "critical"
    rows = await bench.sql("SELECT agent_id, session_id FROM events WHERE kind = 'task.retried'")
    assert [tuple(row.values()) for row in rows] == [("pat", "web:k1")]


async def test_a_checkpoint_of_the_agent_is_no_news_that_stops_a_decision(yard: Yard) -> None:
    bench = yard.bench
    await bench.create(a_task("T1"))
    await bench.claim(ANN, "T1")
    seen = await bench.read(lambda tx: tx.events.last_seq())
    await bench.call("checkpoint", ANN, task_id="T1", summary="half")
    await bench.call("heartbeat", ANN, task_id="T1")

    async with visited(parts(yard)) as visitor:
        done = await visitor.do("cancel", task_id="T1", seen_task="T1", seen=seen, confirmed="yes")

    assert done.status_code == 303
    assert await bench.status("T1") == ["cancelled"]


async def test_the_cost_is_of_all_launches_with_the_way_to_them(yard: Yard) -> None:
    await yard.bench.create(a_task("T1"))
    row = {"task_id": "T1", "agent_id": "a", "run_id": "r", "provider": "c", "tier": "high", "model": "m", "host": "h"}
    row |= {"lease_token": 1, "tokens_in": 1_000, "tokens_out": 10}

    async def launched(tx: Transaction) -> None:
        for number in range(12):  # more than the page lists
            await tx.workers.add({**row, "cost_usd": 0.25, "review_id": "R-1" if number > 9 else None})

    async with visited(parts(yard)) as visitor:
        before = await visitor.page("/tasks/T1")
        await yard.bench.write(launched)
        html = await visitor.page("/tasks/T1")

    assert "<dt>cost</dt>" not in before
    assert "<dd>$3.00, of " in html
    assert '<a href="/workers?task_id=T1">10 worker runs</a> <span class="note">$2.50, 10,100 tokens</span>' in html
    assert '<a href="/reviews?task_id=T1">2 review runs</a> <span class="note">$0.50, 2,020 tokens</span>' in html
