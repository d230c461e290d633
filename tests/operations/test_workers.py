"""What people see of workers, and how they end one."""

import os
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from tests.support.bench import ANN, OWNER, Bench, a_task
from wvo_mcp.domain.approval import ApprovalKind, subject_of_command
from wvo_mcp.domain.lease import Caller, Policy, Role
from wvo_mcp.domain.worker import Outcome, WorkerState
from wvo_mcp.errors import Conflict, Forbidden, NotFound
from wvo_mcp.operations import ALL
from wvo_mcp.orchestration.approvals import deciding
from wvo_mcp.orchestration.pool import facts
from wvo_mcp.ports import Transaction
from wvo_mcp.ports.workers import LogPage, Violation, WorkerLogs

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("WORK-10")]

WORKER = {
    "lease_token": 1,
    "agent_id": "auto-here.1",
    "run_id": "r1",
    "provider": "claude",
    "tier": "high",
    "model": "sonnet",
    "host": "here",
}


async def _launched(bench: Bench, task_id: str, **fields: Any) -> str:
    worker = await bench.write(lambda tx: tx.workers.add({**WORKER, "task_id": task_id, "state": "working", **fields}))
    return worker.worker_id


async def test_a_person_sees_what_each_does_since_when_and_why_it_waits(bench: Bench) -> None:
    await bench.create(a_task("T1", title="Price rules"), a_task("T2"))
    await _launched(bench, "T1", last_act="runs npm test", tokens_in=10, cost_usd=0.5)
    await _launched(bench, "T2", state="limited", reason="5 hour limit", resets_at="2026-03-02T15:00:00.000Z")
    ended = await _launched(bench, "T1", cost_usd=0.25, run_id="r0")
    await bench.write(lambda tx: tx.workers.change(ended, {"state": WorkerState.ENDED, "outcome": Outcome.CRASHED}))
    subject = {"task": "T1", "command": "git push\norigin", "cwd": "."}
    await bench.write(lambda tx: tx.approvals.add({"kind": "command", "task_id": "T1", "subject": subject}))
    await bench.write(lambda tx: tx.violations.add(Violation("command", "deny", "rm", "rm -rf /", "T1", "w-1")))

    seen = await bench.call("workers", OWNER)

    assert [(one["worker_id"], one["title"], one["state"]) for one in seen["workers"]] == [
        ("w-1", "Price rules", "working"),
        ("w-2", "Do T2", "limited"),
        ("w-3", "Price rules", "ended"),
    ]
    assert seen["workers"][0]["last_act"] == "runs npm test"
    assert seen["workers"][1]["resets_at"] == "2026-03-02T15:00:00.000Z"
    assert [(one["approval_id"], one["about"]) for one in seen["approvals"]] == [("A-1", "run `git push\\norigin`")]
    assert [one["subject"] for one in seen["violations"]] == ["rm -rf /"]
    assert seen["spent_usd"] == 0.75
    assert (await bench.call("workers", OWNER, run_id="r0"))["spent_usd"] == 0.25


async def test_an_autopilot_that_runs_is_named_with_its_process(bench: Bench) -> None:
    assert (await bench.call("workers", OWNER))["autopilots"] == []
    autopilot = Caller("auto-here", "autopilot-1", client="autopilot", worker=True)

    await bench.write(lambda tx: tx.sessions.ensure(), autopilot)
    (running,) = (await bench.call("workers", OWNER))["autopilots"]
    assert (running["agent_id"], running["pid"]) == ("auto-here", os.getpid())

    bench.servers.kill(autopilot.session_id)
    assert (await bench.call("workers", OWNER))["autopilots"] == []


async def test_the_state_of_work_says_what_workers_do_and_what_to_approve(bench: Bench) -> None:
    await bench.create(a_task("T1"), a_task("T2"))
    for task_id in ("T1", "T2"):
        await bench.claim(replace(ANN, agent_id=f"auto-here.{task_id[1]}"), task_id)
        await _launched(bench, task_id, last_act=f"reads {task_id}")
    await bench.write(_asks_for_a_push)

    seen = await bench.call("status", OWNER)

    assert [(one["id"], one["worker_id"], one["does"]) for one in seen["in_progress"]] == [("T1", "w-1", "reads T1")]
    (waits,) = seen["needs_you"]
    assert (waits["id"], waits["approval_id"]) == ("T2", "A-1")
    assert "git push" in waits["detail"]


async def _asks_for_a_push(tx: Transaction) -> None:
    task = await tx.tasks.get("T2")
    await deciding.ask(tx, Policy(), task, ApprovalKind.COMMAND, subject_of_command("T2", "git push", "."))


async def test_a_megabyte_in_a_title_or_a_reason_is_cut(bench: Bench) -> None:
    await bench.create(a_task("T1"))
    await _launched(bench, "T1", reason="x" * 1_000_000, last_act="y" * 1_000_000)

    line = (await bench.call("workers", OWNER))["workers"][0]

    assert len(line["reason"]) == len(line["last_act"]) == 300


async def test_stopping_a_worker_is_a_fact_that_its_autopilot_finds(bench: Bench) -> None:
    await bench.create(a_task("T1"))
    await _launched(bench, "T1")

    answers = [await bench.call("worker_stop", OWNER, worker_id=name, reason="wrong way") for name in ("w-1", "T1")]

    assert answers == [{"worker_id": "w-1", "task_id": "T1", "state": "working"}] * 2
    assert (await bench.read(facts.read)).asked == {"w-1": "wrong way"}
    asked = await bench.sql("SELECT data FROM events WHERE kind = 'worker.stop_asked'")
    assert len(asked) == 1, "a repeat asks nothing new"


async def test_a_worker_without_a_process_has_ended_when_it_is_stopped(bench: Bench) -> None:
    await bench.create(a_task("T1"))
    await _launched(bench, "T1", state="limited")

    assert (await bench.call("worker_stop", OWNER, worker_id="w-1"))["state"] == "ended"
    assert (await bench.read(facts.read)).asked == {}
    with pytest.raises(Conflict, match=r"w-1 has ended \(stopped\)"):
        await bench.call("worker_stop", OWNER, worker_id="w-1")


async def test_only_people_stop_workers_and_read_raw_logs(bench: Bench) -> None:
    await bench.create(a_task("T1"))
    await _launched(bench, "T1", log="w-1.log")
    for name, more in (("worker_stop", {}), ("worker_log", {"raw": True})):
        with pytest.raises(Forbidden):
            await bench.call(name, replace(ANN, role=Role.AGENT), worker_id="w-1", **more)


class _Logs:
    """A log of three lines."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, int | None, bool]] = []

    async def read(self, log: str, after: int | None, *, raw: bool) -> LogPage:
        self.asked.append((log, after, raw))
        lines: Sequence[str] = ("one", "two", "three")
        return LogPage(lines, 3, False)


async def test_the_log_of_a_task_is_that_of_its_newest_worker(bench: Bench) -> None:
    logs = _Logs()
    await bench.create(a_task("T1"))
    await _launched(bench, "T1", log="w-1.log")
    await _launched(bench, "T1", log="w-2.log")
    services = bench.services.having({WorkerLogs: logs})

    shown = await ALL["worker_log"](services, OWNER, {"worker_id": "T1", "after": 2})

    assert logs.asked == [("w-2.log", 2, False)]
    assert (shown["worker_id"], shown["lines"], shown["next_after"]) == ("w-2", ["one", "two", "three"], 3)
    with pytest.raises(NotFound):
        await ALL["worker_log"](services, OWNER, {"worker_id": "w-9"})


async def test_workers_are_listed_page_by_page_and_by_task(bench: Bench) -> None:
    await bench.create(a_task("T1"), a_task("T2"))
    for number in range(5):
        worker = await _launched(bench, "T1" if number % 2 else "T2")
        over = {"state": WorkerState.ENDED, "outcome": Outcome.CRASHED, "ended_at": bench.clock.now()}
        await bench.write(lambda tx, one=worker, said=over: tx.workers.change(one, said))
    running = await _launched(bench, "T1")

    first = await bench.call("workers", OWNER, limit=3)
    rest = await bench.call("workers", OWNER, limit=3, cursor=first["next_cursor"])
    mine = await bench.call("workers", OWNER, task_id="T1", limit=2)
    older = await bench.call("workers", OWNER, task_id="T1", limit=2, cursor=mine["next_cursor"])

    assert [one["worker_id"] for one in first["workers"]] == [running, "w-5", "w-4"]
    assert [one["worker_id"] for one in rest["workers"]] == ["w-3", "w-2", "w-1"]
    assert "next_cursor" not in rest
    assert [one["worker_id"] for one in mine["workers"] + older["workers"]] == [running, "w-4", "w-2"]


async def test_one_worker_is_shown_whole_also_by_its_task(bench: Bench) -> None:
    await bench.create(a_task("T1", title="Price rules"))
    await bench.claim(ANN, "T1")
    await _launched(bench, "T1", pid=77, client_session="s-1", workspace="/w/T1", log="/logs/w-1.jsonl", review_id=None)

    seen = (await bench.call("worker_show", OWNER, worker_id="w-1"))["worker"]
    await bench.call("worker_stop", OWNER, worker_id="w-1", reason="it runs in circles")
    asked = (await bench.call("worker_show", OWNER, worker_id="T1"))["worker"]

    assert (seen["title"], seen["task_status"], seen["pid"]) == ("Price rules", "in_progress", 77)
    assert (seen["workspace"], seen["log"], seen["client_session"]) == ("/w/T1", "/logs/w-1.jsonl", "s-1")
    assert ("stop_asked" in seen, asked["stop_asked"]) == (False, "it runs in circles")
    assert "key_hash" not in seen
    with pytest.raises(NotFound):
        await bench.call("worker_show", OWNER, worker_id="w-9")


async def test_what_was_spent_in_a_day_counts_all_that_were_launched_in_it(bench: Bench) -> None:
    await bench.create(a_task("T1"))
    for _ in range(70):
        await _launched(bench, "T1", cost_usd=1.0)
    bench.clock.advance(hours=30)
    for _ in range(70):
        await _launched(bench, "T1", cost_usd=0.5)

    assert (await bench.call("workers", OWNER))["spent_usd"] == 35.0
    bench.clock.advance(hours=30)
    assert (await bench.call("workers", OWNER))["spent_usd"] == 0.0
