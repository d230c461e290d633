"""What needs people, in the order of the terminal and with what it rests on; and why nothing runs."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from tests.support.bench import ANN, BOB, OWNER, Bench, a_task
from tests.support.providers import FixedProviders, limited
from tests.support.yard import Yard
from wvo_mcp.domain.approval import ApprovalKind, subject_of_budget, subject_of_command
from wvo_mcp.domain.lease import Caller, Policy, Role
from wvo_mcp.domain.providers.catalogue import Limits
from wvo_mcp.domain.providers.state import Window
from wvo_mcp.domain.worker import WorkerState
from wvo_mcp.errors import Forbidden
from wvo_mcp.operations import ALL
from wvo_mcp.orchestration.approvals import deciding
from wvo_mcp.ports import Transaction
from wvo_mcp.store.sql import Rows
from wvo_mcp.store.sqlite.connection import SqliteRows

pytestmark = [pytest.mark.anyio, pytest.mark.both_stores, pytest.mark.requirement("DASH-1")]

VIEWER = Caller("eve", "http:eve", durable=True, role=Role.VIEWER)
ENTRY = {"agent_id": "ann", "repository": "r", "host": "here", "path": "/p", "target": "main", "base_sha": "b"}


async def looked(bench: Bench, **asked: Any) -> dict[str, Any]:
    return await bench.call("attention", OWNER, **asked)


async def a_submission(tx: Transaction, task_id: str, **fields: Any) -> dict[str, Any]:
    number = await tx.submissions.next_number(task_id)
    return await tx.submissions.add({**ENTRY, "task_id": task_id, "number": number, "commit_sha": "c", **fields})


async def everything(bench: Bench) -> None:
    """One need of each kind."""
    bench.limits(wip_limit=20, agent_wip_limit=20)
    names = ("ASKS", "WONDERS", "FAILS", "STOPPED", "PARKED", "CALM")
    await bench.create(*(a_task(name) for name in names), a_task("GATED", requires_approval=True))
    await bench.create(a_task("BEHIND", depends_on=["FAILS"]), a_task("RED"))
    for name in (*names, "RED"):
        await bench.claim(BOB, name)

    async def ask(tx: Transaction) -> None:
        asks, wonders = await tx.tasks.get("ASKS"), await tx.tasks.get("WONDERS")
        await deciding.ask(
            tx, Policy(), asks, ApprovalKind.COMMAND, subject_of_command("ASKS", "git push", "."), "soon"
        )
        question = {"task_id": "WONDERS", "question": "Which of the two?"}
        await deciding.ask(tx, Policy(), wonders, ApprovalKind.TASK, question)

    await bench.write(ask, BOB)
    await bench.call("fail_task", BOB, task_id="FAILS", error="no such host", retry=False)
    for name in ("STOPPED", "PARKED", "RED"):
        await bench.call("block_task", BOB, task_id=name, reason=f"{name} waits")
    await bench.call("message_send", BOB, to="person", body="Is it Friday?", kind="question")
    await bench.call("message_send", BOB, to="person", body="It is done.")

    async def rest(tx: Transaction) -> None:
        await a_submission(tx, "PARKED", state="parked", reason="the remote is away")
        await a_submission(tx, "RED", state="red", findings={"tail": "1 failed", "command": "pytest"})
        await tx.alerts.raise_alert("queue_stalled", "critical", None, "nothing completed", {"minutes": 60})
        await tx.alerts.raise_alert("odd", "warning", "CALM", "odd")
        await tx.alerts.raise_alert("known", "warning", "FAILS", "said already")

    await bench.write(rest)


async def test_needs_are_sorted_by_what_frees_the_most_work(bench: Bench) -> None:
    await everything(bench)

    seen = await looked(bench)

    assert [(one["why"], one["id"]) for one in seen["needs"]] == [
        ("critical", "alert 4"),
        ("approval", "ASKS"),
        ("question", "WONDERS"),
        ("approval", "GATED"),
        ("question", "n-1"),
        ("failed", "FAILS"),
        ("blocked", "STOPPED"),
        ("parked", "PARKED"),
        ("red", "RED"),
        ("warning", "alert 5"),
        ("stranded", "BEHIND"),
        ("note", "n-2"),
    ]
    assert seen["needs_count"] == 12
    assert [one["run"] for one in seen["needs"]][:4] == [
        "alert-ack 4",
        "approve A-2",
        'answer A-3 "your answer"',
        "approve GATED",
    ]


@pytest.mark.requirement("CORE-12")
async def test_the_state_of_work_shows_the_same_needs_in_the_same_words(bench: Bench) -> None:
    await everything(bench)

    seen, state = await looked(bench), await bench.call("status", OWNER)

    def of(one: dict[str, Any]) -> dict[str, Any]:
        return {name: one.get(name) for name in ("id", "why", "run", "since", "title", "approval_id")}

    assert [of(one) for one in seen["needs"]] == [of(one) for one in state["needs_you"]]
    assert (seen.get("holds"), seen["next"]) == (state.get("holds"), state["next"])


async def test_each_need_comes_with_what_it_rests_on(bench: Bench) -> None:
    await everything(bench)
    needs = {one["id"]: one for one in (await looked(bench))["needs"]}

    assert "git push" in needs["ASKS"]["approval"]["about"]
    assert needs["WONDERS"]["approval"]["question"] is True
    assert "question" not in needs["GATED"]["approval"]
    assert needs["FAILS"]["detail"] == "no such host"
    assert needs["RED"]["entry"]["tail"] == "1 failed"
    assert "retries" not in needs["PARKED"]["entry"], "a person blocked it: to unblock it is what lifts that"
    assert needs["alert 4"]["alert"]["evidence"] == {"minutes": 60}
    assert (needs["n-1"]["message"]["from_agent"], needs["n-1"]["detail"]) == ("bob", "Is it Friday?")
    assert needs["BEHIND"]["waiting_for"] == "FAILS"


async def test_only_a_parked_submission_that_no_time_brings_back_is_a_need(bench: Bench) -> None:
    await bench.create(a_task("A"), a_task("B"))
    later = bench.clock.now() + timedelta(minutes=5)

    async def park(tx: Transaction) -> None:
        await a_submission(tx, "A", state="parked", reason="the base has changed")
        await a_submission(tx, "B", state="parked", reason="the remote is away", retry_at=later)

    await bench.write(park)
    (need,) = (await looked(bench))["needs"]

    assert (need["task_id"], need["run"], need["entry"]["retries"]) == ("A", "merge retry m-1", True)


async def test_an_answered_question_and_an_acknowledged_alert_are_gone(bench: Bench) -> None:
    await everything(bench)

    await bench.call("answer", OWNER, id="A-3", body="the first")
    await bench.call("answer", OWNER, id="n-1", body="yes")
    await bench.call("approve", OWNER, id="A-2")
    await bench.call("alert_ack", OWNER, alert_id=4)
    await bench.call("message_ack", OWNER, message_ids=["n-2"])

    left = [one["id"] for one in (await looked(bench))["needs"]]
    assert left == ["GATED", "FAILS", "STOPPED", "PARKED", "RED", "alert 5", "BEHIND"]


async def kinds(bench: Bench) -> list[str]:
    return [one["kind"] for one in (await looked(bench)).get("holds", [])]


async def test_it_says_why_nothing_runs(bench: Bench) -> None:
    assert await kinds(bench) == ["no_tasks"]
    await bench.create(a_task("A"), a_task("B", depends_on=["A"]))
    bench.servers.kill(ANN.session_id)
    assert await kinds(bench) == ["nobody"]
    await bench.claim(BOB, "A")
    assert await kinds(bench) == ["not_ready"]
    bench.limits(wip_limit=1)
    await bench.create(a_task("C"))
    assert await kinds(bench) == ["wip"]
    await bench.call("pause", OWNER, reason="lunch", gently=True)
    seen = await looked(bench)
    assert (seen["mode"], seen["reason"]) == ("paused_gently", "lunch")
    assert seen["holds"][0] == {
        "kind": "paused",
        "text": "Work is paused; workers finish their tasks: lunch.",
        "run": "resume",
    }
    await bench.call("stop", OWNER)
    assert (await looked(bench))["mode"] == "stopped"


async def test_a_full_epic_and_a_used_budget_hold_work_back(bench: Bench) -> None:
    await bench.create(a_task("A", epic_id="E"), a_task("B", epic_id="E"))
    await bench.force("UPDATE epics SET wip_limit = 1")
    await bench.claim(BOB, "A")
    catalogue = limited("claude", Limits(hourly=0))
    bench.services = replace(bench.services, providers=FixedProviders(catalogue))

    texts = [one["text"] for one in (await looked(bench))["holds"]]

    assert "Epic E is at its WIP limit: 1 of 1." in texts
    assert any(text.startswith("The budget of provider claude per hour is used up: 0 of 0") for text in texts)


async def test_workers_at_a_limit_say_until_when(bench: Bench) -> None:
    await bench.create(a_task("T1"), a_task("T2"))
    until = bench.clock.now() + timedelta(hours=1)
    fields: dict[str, Any] = {"task_id": "T1", "lease_token": 1, "agent_id": "auto.1", "run_id": "r", "host": "here"}
    fields |= {"provider": "claude", "tier": "high", "model": "m", "reserved_usd": 0.0}

    async def limit(tx: Transaction) -> None:
        worker = await tx.workers.add(fields)
        await tx.workers.change(worker.worker_id, {"state": WorkerState.LIMITED, "resets_at": until, "reason": "quota"})

    await bench.write(limit)
    seen = await looked(bench)

    (hold,) = [one for one in seen["holds"] if one["kind"] == "limit"]
    assert hold["text"] == "claude has reached its limit; waiting: T1."
    assert hold["until"].startswith(until.isoformat()[:19])
    (running,) = seen["running"]
    assert (running["state"], running["does"], running["worker_id"]) == ("limited", "quota", "w-1")


async def test_who_holds_a_task_is_shown_once_and_marked_when_its_server_is_gone(bench: Bench) -> None:
    await bench.create(a_task("A"), a_task("B"))
    await bench.claim(BOB, "A")
    bench.servers.kill(BOB.session_id)

    (running,) = (await looked(bench))["running"]

    assert (running["task_id"], running["agent_id"], running["state"]) == ("A", "bob", "server_gone")


async def test_viewers_may_look_and_so_much_fits_into_one_result(bench: Bench) -> None:
    await bench.create(*(a_task(f"T{number}", requires_approval=True, title="x" * 400) for number in range(60)))

    seen = await bench.call("attention", VIEWER, limit=100)

    assert 10 < len(seen["needs"]) <= 20
    assert len(str(seen)) < 20_000
    with pytest.raises(Forbidden):
        await bench.call("approve", VIEWER, id="T1")


async def test_an_approval_of_work_shows_what_it_would_let_land(yard: Yard) -> None:
    commit = yard.git("rev-parse", "HEAD")
    yard.write(yard.root, {"code.py": "a = 2\n"})
    new = yard.save("change")
    await yard.bench.create(a_task("T1"))

    async def ask(tx: Transaction) -> None:
        await a_submission(tx, "T1", commit_sha=new, base_sha=commit)
        subject = {"task_id": "T1", "commit": new, "paths": ["code.py"], "question": "land m-1 of T1: code.py"}
        await tx.approvals.add({"kind": "merge", "task_id": "T1", "subject": subject})

    await yard.bench.write(ask)
    shown = await ALL["approval_show"](yard.services, OWNER, {"approval_id": "A-1"})

    assert (shown["commit"], shown["entry_id"], shown["files"]) == (new, "m-1", ["code.py"])
    assert "-a = 1\n+a = 2\n" in shown["diff"]
    assert shown["approval"]["about"] == "land m-1 of T1: code.py"


async def test_an_approval_of_a_budget_shows_its_limit_and_use(yard: Yard) -> None:
    window = Window("provider", "claude", "hour", 1_000, 0, 900, 0)

    async def ask(tx: Transaction) -> None:
        subject = subject_of_budget(window, 2_000, 500)
        await deciding.ask_apart(tx, Policy(), ApprovalKind.BUDGET, "budget", subject)

    await yard.bench.write(ask)
    known = replace(yard.bench.services, providers=FixedProviders(limited("claude", Limits(hourly=1_000))))
    yard.bench.services = known
    shown = await ALL["approval_show"](yard.services, OWNER, {"approval_id": "A-1"})

    assert {name: shown["budget"][name] for name in ("limit", "new_limit", "wanted", "used")} == {
        "limit": 1_000,
        "new_limit": 2_000,
        "wanted": 500,
        "used": 0,
    }
    assert [one["id"] for one in (await looked(yard.bench))["needs"]] == ["A-1"], "its alert says nothing more"


GROWING = (
    "tasks", "t", "d", "events", "sessions", "task_dependencies", "approvals", "messages", "task_waits", "merge_entries",
)  # fmt: skip
OPEN = ("sessions_open", "merge_entries_open", "approvals_open")
"""Indexes that have only what is open: all of it may be read."""


@pytest.mark.sqlite
@pytest.mark.requirement("SCALE-1")
async def test_no_statement_of_what_people_look_at_scans_a_table_that_grows(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    await everything(bench)
    await bench.create(a_task("IN", epic_id="E", labels=["l"]))
    asked: dict[str, Any] = {}
    execute = SqliteRows.execute

    def noted(rows: SqliteRows, sql: str, params: Any) -> Any:
        asked[sql] = params
        return execute(rows, sql, params)

    monkeypatch.setattr(SqliteRows, "execute", noted)
    await looked(bench)
    await bench.call("status", OWNER)
    for given in ({}, {"view": "epic"}, {"view": "milestone"}, {"status": "pending"}, {"status": "done"}):
        await bench.call("board", ANN, **given)
    for name, value in (("epic_id", "E"), ("label", "l"), ("agent_id", "bob"), ("query", "do")):
        await bench.call("board", ANN, **{name: value})
        await bench.call("board", ANN, status="blocked", **{name: value})
    monkeypatch.undo()
    assert len(asked) > 40

    async def plans(rows: Rows) -> set[str]:
        return {
            f"{step['detail']}: {sql}"
            for sql, params in asked.items()
            if sql.lstrip().startswith(("SELECT", "WITH"))
            for step in rows.all(f"EXPLAIN QUERY PLAN {sql}", params)
            if (step["detail"].startswith("SCAN") and step["detail"].split()[1] in GROWING)
            or ("|| ''" in sql and "tasks_status" in step["detail"])
        }

    scans = await bench.store.writer.read(plans)
    assert {scan for scan in scans if not scan.partition(":")[0].endswith(OPEN)} == set()


def test_people_have_it_and_agents_have_no_tool_of_it() -> None:
    assert {ALL[name].audience.value for name in ("attention", "board", "approval_show")} == {"people"}
    assert {ALL[name].role for name in ("attention", "board", "approval_show")} == {Role.VIEWER}
