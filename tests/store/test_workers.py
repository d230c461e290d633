"""The rows of workers, their places, submissions, approvals and violations; the same of either database."""

from typing import Any

import pytest

from tests.support.bench import ANN, Bench, a_task
from tests.support.sessions import an_agent
from wvo_mcp.domain.approval import ApprovalState
from wvo_mcp.domain.worker import Worker, WorkerState
from wvo_mcp.errors import NotFound
from wvo_mcp.ports import Transaction
from wvo_mcp.ports.workers import Violation

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("WORK-8")]

ROW: dict[str, Any] = {
    "task_id": "T1", "lease_token": 1, "agent_id": "auto-host.1", "run_id": "r1", "provider": "claude", "tier": "low",
    "model": "m", "host": "here",
}  # fmt: skip


async def add(bench: Bench, key: str | None = None, **fields: Any) -> Worker:
    return await bench.write(lambda tx: tx.workers.add({**ROW, **fields}, key))


async def test_workers_are_numbered_and_begin_now(bench: Bench) -> None:
    first, second = await add(bench), await add(bench, reserved_usd=0.4)
    assert [first.worker_id, second.worker_id] == ["w-1", "w-2"]
    assert (first.state, first.since, first.started_at) == (WorkerState.STARTING, bench.clock.now(), bench.clock.now())
    assert (second.reserved_usd, second.ended_at, second.tokens_in) == (0.4, None, 0)
    with pytest.raises(NotFound) as missing:
        await bench.read(lambda tx: tx.workers.get("w-11"))
    assert missing.value.details["near"] == ["w-1"]


async def test_since_follows_the_state_and_nothing_else(bench: Bench) -> None:
    began = (await add(bench)).since
    bench.clock.advance(5)
    await bench.write(lambda tx: tx.workers.change("w-1", {"last_act": "reads", "tokens_in": 7}))
    await bench.write(lambda tx: tx.workers.change("w-1", {"state": "starting"}))
    assert (await bench.read(lambda tx: tx.workers.get("w-1"))).since == began
    await bench.write(lambda tx: tx.workers.change("w-1", {"state": "working", "reason": "writes a file"}))
    worker = await bench.read(lambda tx: tx.workers.get("w-1"))
    assert (worker.since, worker.reason, worker.last_act) == (bench.clock.now(), "writes a file", "reads")


@pytest.mark.parametrize("state", ["ended", "limited", "paused", "waiting_approval"])
async def test_a_key_is_kept_hashed_and_only_as_long_as_the_worker_runs(bench: Bench, state: str) -> None:
    await add(bench, "secret-key")
    await add(bench)
    found = await bench.read(lambda tx: tx.workers.by_key("secret-key"))
    assert found is not None
    assert "secret-key" not in str(await bench.sql("SELECT * FROM workers"))
    assert await bench.read(lambda tx: tx.workers.by_key("")) is None

    await bench.write(lambda tx: tx.workers.change("w-1", {"state": state}))

    assert await bench.read(lambda tx: tx.workers.by_key("secret-key")) is None
    assert await bench.sql("SELECT worker_id FROM workers WHERE key_hash IS NOT NULL") == []


async def test_those_that_have_not_ended_are_open_and_shown_first(bench: Bench) -> None:
    for number in range(4):
        await add(bench, host="here" if number % 2 else "there", task_id=f"T{number % 2}")
    for worker_id in ("w-1", "w-4"):
        ended = {"state": "ended", "ended_at": bench.clock.now(), "outcome": "completed"}
        await bench.write(lambda tx, name=worker_id, ended=ended: tx.workers.change(name, ended))
    await bench.write(lambda tx: tx.workers.change("w-2", {"state": "limited"}))

    async def ids(tx: Transaction) -> list[list[str]]:
        found = [await tx.workers.open(), await tx.workers.open("there")]
        found += [await tx.workers.recent(3), await tx.workers.of_task("T1", 5)]
        return [[one.worker_id for one in some] for some in found]

    assert await bench.read(ids) == [["w-2", "w-3"], ["w-3"], ["w-2", "w-3", "w-4"], ["w-4", "w-2"]]


async def test_money_counts_what_is_reserved_until_it_is_known(bench: Bench) -> None:
    await add(bench, reserved_usd=0.5, cost_usd=0.1)
    await add(bench, reserved_usd=0.1, cost_usd=0.3, run_id="r2")
    await add(bench, task_id="T2", reserved_usd=9.0, cost_usd=0.2)
    ended = {"state": "ended", "outcome": "failed", "ended_at": bench.clock.now()}
    await bench.write(lambda tx: tx.workers.change("w-3", ended))
    bench.clock.advance(10)

    async def sums(tx: Transaction) -> list[float]:
        spent = tx.workers.spent
        now = tx.now
        return [
            round(one, 6)
            for one in (await spent(), await spent("r1"), await spent(task_id="T2"), await spent(since=now))
        ]

    assert await bench.read(sums) == [1.0, 0.7, 0.2, 0.0]
    assert await bench.read(lambda tx: tx.workers.past_costs("claude", "low", 5)) == [0.2]
    assert await bench.read(lambda tx: tx.workers.past_costs("claude", "high", 5)) == []


async def test_the_place_of_a_task_is_its_newest_that_is_there(bench: Bench) -> None:
    row = {"task_id": "T1", "lease_token": 1, "host": "here", "path": "/p", "mode": "worktree", "state": "open"}
    for name, state in (("p1", "open"), ("p2", "making"), ("p3", "failed"), ("p4", "removed")):
        await bench.write(lambda tx, n=name, s=state: tx.workspaces.add({**row, "workspace_id": n, "state": s}))
        bench.clock.advance(1)

    async def look(tx: Transaction) -> list[Any]:
        place = await tx.workspaces.open_of("T1")
        unfinished, all_here = await tx.workspaces.unfinished("here"), await tx.workspaces.on_host("here", 9)
        return [
            place and place["workspace_id"],
            len(unfinished),
            len(all_here),
            await tx.workspaces.unfinished("there"),
        ]

    assert await bench.read(look) == ["p2", 1, 2, []]


async def test_a_number_of_a_submission_is_never_given_twice(bench: Bench) -> None:
    numbers = [await bench.write(lambda tx: tx.submissions.next_number("T1")) for _ in range(3)]
    other = await bench.write(lambda tx: tx.submissions.next_number("T2"))
    assert (numbers, other) == ([1, 2, 3], 1)
    row = {"repository": "r", "host": "h", "path": "/p", "target": "main", "base_sha": "b"}
    for task_id, number, sha in (("T1", 1, "old"), ("T1", 3, "new"), ("T2", 1, "two")):
        entry = {**row, "task_id": task_id, "number": number, "commit_sha": sha}
        await bench.write(lambda tx, entry=entry: tx.submissions.add(entry))

    assert await bench.read(lambda tx: tx.submissions.commits(["T1", "T2", "T3"])) == {"T1": "new", "T2": "two"}
    await bench.write(lambda tx: tx.submissions.change("m-2", {"state": "withdrawn"}))
    assert await bench.read(lambda tx: tx.submissions.commits(["T1"])) == {"T1": "old"}
    assert [one["entry_id"] for one in await bench.read(lambda tx: tx.submissions.of_task("T1"))] == ["m-2", "m-1"]


async def test_an_approval_is_found_by_exactly_what_it_is_about(bench: Bench) -> None:
    about = {"task_id": "T1", "command": "make"}
    asked = {"kind": "command", "task_id": "T1", "subject": about}
    first = await bench.write(lambda tx: tx.approvals.add({**asked, "expires_at": bench.clock.now()}))
    second = await bench.write(lambda tx: tx.approvals.add(asked), an_agent("bob"))
    assert (first.approval_id, first.asked_by, first.asked_session) == ("A-1", ANN.agent_id, ANN.session_id)
    assert await bench.read(lambda tx: tx.approvals.usable("command", first.subject_hash)) is None
    for approval in (second, first):
        fields = {"state": ApprovalState.APPROVED}
        await bench.write(lambda tx, known=approval.approval_id, f=fields: tx.approvals.change(known, f))

    usable = await bench.read(lambda tx: tx.approvals.usable("command", first.subject_hash))
    assert usable is not None
    assert usable.approval_id == "A-1"
    assert await bench.read(lambda tx: tx.approvals.usable("task", first.subject_hash)) is None
    assert await bench.read(lambda tx: tx.approvals.expired(9)) == []
    assert await bench.read(lambda tx: tx.approvals.open_of_task("T1")) == []
    assert [one.approval_id for one in await bench.read(lambda tx: tx.approvals.decided(9))] == ["A-2", "A-1"]


@pytest.mark.parametrize("kind", ["command", "path", "tool", "repository"])
async def test_whatever_was_refused_can_be_recorded(bench: Bench, kind: str) -> None:
    await bench.write(lambda tx: tx.violations.add(Violation(kind, "deny", "rule", "subject")))
    (row,) = await bench.read(lambda tx: tx.violations.page(None, 9))
    assert row["kind"] == kind


async def test_violations_show_no_secret_and_the_newest_first(bench: Bench) -> None:
    await bench.create(a_task("T1"))
    secret = "sk-ant-api03-" + "y" * 40
    await bench.write(lambda tx: tx.violations.add(Violation("command", "deny", "rm", f"curl {secret}", "T1", "w-1")))
    await bench.write(lambda tx: tx.violations.add(Violation("path", "deny", "git", "x" * 9_000)))

    rows = await bench.read(lambda tx: tx.violations.page(None, 9))

    assert [row["kind"] for row in rows] == ["path", "command"]
    assert len(rows[0]["subject"]) == 4_000
    assert secret not in str(rows)
    assert [row["rule"] for row in await bench.read(lambda tx: tx.violations.page("T1", 9))] == ["rm"]
