"""What the connection of a worker may do: all for its one task, and nothing else, and nothing any more once it has ended."""

from dataclasses import replace
from typing import Any

import pytest

from tests.support.bench import ANN, OWNER, Bench, a_task
from tests.support.invariants import verify
from tests.support.sessions import an_agent
from wvo_mcp.domain.lease import Caller
from wvo_mcp.errors import Forbidden, StaleLease
from wvo_mcp.operations import ALL, Effect, Workers
from wvo_mcp.orchestration.tasks import admission

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("WORK-8", "SAFE-4")]

KEY = "5e" * 32
POOL = an_agent("auto-host", worker=True)
PLACE = "auto-host.1"


async def launched(bench: Bench, task_id: str = "T1") -> Caller:
    """The caller behind the connection of a worker for the task, which the pool has claimed."""
    bench.limits(wip_limit=9, agent_wip_limit=9)
    await bench.create(a_task("T1"), a_task("T2"))
    claim = await bench.claim(POOL, task_id, agent_id=PLACE)
    row = {"task_id": task_id, "lease_token": claim["lease"]["token"], "agent_id": PLACE, "run_id": "r1"}
    more = {"provider": "claude", "tier": "low", "model": "m", "host": "host"}
    await bench.write(lambda tx: tx.workers.add({**row, **more}, KEY))
    return await shown(bench, KEY)


async def shown(bench: Bench, key: str) -> Caller:
    found = await bench.read(lambda tx: admission.admit(tx, key))
    assert not isinstance(found, str), found
    worker, admitted = found
    return replace(an_agent(worker.agent_id, "its-own"), admitted=admitted)


async def refusal(bench: Bench, key: str) -> str:
    found = await bench.read(lambda tx: admission.admit(tx, key))
    assert isinstance(found, str)
    return found


async def test_it_writes_with_the_lease_that_the_pool_holds_and_the_trail_names_both(bench: Bench) -> None:
    worker = await launched(bench)

    await bench.call("checkpoint", worker, task_id="T1", summary="half")
    task = await bench.task("T1")
    await bench.call("checkpoint", worker, task_id="T1", lease_token=task.lease_token, summary="more")
    await bench.call("heartbeat", POOL, task_id="T1", lease_token=task.lease_token)

    assert (task.session_id, task.assigned_to) == (POOL.session_id, PLACE)
    events = await bench.read(lambda tx: tx.events.of_task("T1", 10))
    written = [event for event in events if event.kind == "task.checkpoint"]
    assert {event.session_id for event in written} == {"its-own"}
    assert [event.data["worker_id"] for event in written] == ["w-1", "w-1"]
    assert {event.data["lease_session"] for event in written} == {POOL.session_id}
    verify(bench.source)


@pytest.mark.parametrize(
    ("tool", "more", "status"),
    [
        ("fail_task", {"error": "no"}, "pending"),
        ("release_task", {}, "pending"),
        ("block_task", {"reason": "stuck"}, "blocked"),
        ("approval_request", {"command": "git push"}, "awaiting_approval"),
    ],
)
async def test_it_ends_its_task_once_and_the_key_with_it(
    bench: Bench, tool: str, more: dict[str, Any], status: str
) -> None:
    worker = await launched(bench)

    first = await bench.call(tool, worker, task_id="T1", lease_token=1, **more)
    again = await bench.call(tool, worker, task_id="T1", lease_token=1, **more)

    assert first == again
    assert await bench.status("T1") == [status]
    with pytest.raises((Forbidden, StaleLease)):
        await bench.call("checkpoint", worker, task_id="T1", summary="still here")
    with pytest.raises(Forbidden, match="void"):
        await bench.call("context_write", worker, topic="t", content="c")
    assert "void" in await refusal(bench, KEY)
    assert (await bench.call("get_task", worker, task_id="T1"))["task"]["status"] == status
    verify(bench.source)


async def test_a_later_claim_of_the_same_task_is_not_its(bench: Bench) -> None:
    worker = await launched(bench)
    await bench.call("release_task", POOL, task_id="T1", lease_token=1)
    await bench.claim(POOL, "T1", agent_id=PLACE)

    for token in (None, 1, 2):
        with pytest.raises((Forbidden, StaleLease)):
            await bench.call("checkpoint", worker, task_id="T1", lease_token=token, summary="me again")
    assert "later lease" in await refusal(bench, KEY)


@pytest.mark.parametrize("state", ["ended", "paused", "limited", "waiting_approval"])
async def test_the_key_ends_with_the_worker_though_its_lease_lasts(bench: Bench, state: str) -> None:
    worker = await launched(bench)
    ended = {"ended_at": bench.clock.now(), "outcome": "killed"} if state == "ended" else {}
    await bench.write(lambda tx: tx.workers.change("w-1", {"state": state, **ended}))

    for tool, more in (
        ("checkpoint", {"task_id": "T1", "summary": "s"}),
        ("create_tasks", {"tasks": [a_task("N", parent_id="T1")]}),
        ("context_write", {"topic": "t", "content": "c"}),
        ("approval_request", {"task_id": "T1", "command": "ls"}),
    ):
        with pytest.raises(Forbidden, match="void"):
            await bench.call(tool, worker, **more)
    assert "not the key of a worker that runs" in await refusal(bench, KEY)
    assert await bench.status("T1") == ["in_progress"]


async def test_a_wrong_key_is_nobodys(bench: Bench) -> None:
    await launched(bench)
    for key in ("", "5e" * 31, KEY.upper(), "w-1", "' OR 1=1 --"):
        assert "may only read" in await refusal(bench, key)
    stored = await bench.sql("SELECT key_hash FROM workers")
    assert KEY not in str(stored)


async def test_what_a_worker_may_call_is_declared_and_nothing_else_is_there(bench: Bench) -> None:
    writes = {name: op.workers for name, op in ALL.items() if op.effect is not Effect.READ}
    own = {name for name, may in writes.items() if may is Workers.OWN}
    assert own >= {"heartbeat", "checkpoint", "complete_task", "fail_task", "release_task", "block_task"}
    assert own >= {"approval_request", "context_write"}
    assert not own & {"claim_task", "update_task", "approve", "deny"}
    assert {name for name, may in writes.items() if may is Workers.ANY} <= {"create_tasks", "command_check"}

    worker = await launched(bench)
    given: dict[str, dict[str, Any]] = {
        "claim_task": {},
        "update_task": {"task_id": "T1", "acceptance": ["nothing"]},
        "approve": {"id": "T1"},
        "unblock": {"task_id": "T1"},
        "cancel": {"task_id": "T2"},
        "add": {"title": "x"},
        "roadmap_sync": {},
        "alert_ack": {"alert_id": 1},
        "agent_register": {"capabilities": ["gpu"]},
        "provider_report": {"provider": "claude", "tier": "low"},
        "health_run": {},
        "backup_create": {},
    }
    for name, arguments in given.items():
        if name in ALL:
            with pytest.raises(Forbidden):
                await bench.call(name, worker, **arguments)


@pytest.mark.parametrize(
    "change",
    [
        {"acceptance": ["nothing"]},
        {"files": []},
        {"requires_approval": False},
        {"max_attempts": 100},
        {"status": "pending"},
        {"status": "cancelled", "reason": "done with it"},
        {"title": "easier"},
    ],
)
async def test_it_edits_no_task_and_least_of_all_its_own(bench: Bench, change: dict[str, Any]) -> None:
    worker = await launched(bench)
    before = await bench.task("T1")
    for task_id in ("T1", "T2"):
        with pytest.raises(Forbidden, match="works on T1 alone"):
            await bench.call("update_task", worker, task_id=task_id, **change)
    assert await bench.task("T1") == before


async def test_another_task_is_out_of_its_reach(bench: Bench) -> None:
    worker = await launched(bench)
    await bench.claim(ANN, "T2")
    for tool, more in (
        ("checkpoint", {"summary": "s"}),
        ("complete_task", {"summary": "s"}),
        ("fail_task", {"error": "e"}),
        ("block_task", {"reason": "r"}),
        ("approval_request", {"command": "ls"}),
        ("context_write", {"topic": "t", "content": "c"}),
    ):
        with pytest.raises(Forbidden):
            await bench.call(tool, worker, task_id="T2", **more)
    assert await bench.status("T2") == ["in_progress"]


async def test_it_creates_tasks_below_its_own_and_at_most_twenty(bench: Bench) -> None:
    worker = await launched(bench)
    await bench.create(*(a_task(f"H{n}", parent_id="T1") for n in range(3)), caller=OWNER)

    for parent in (None, "T2", "nowhere"):
        with pytest.raises(Forbidden, match="below its own"):
            await bench.create(a_task("N", parent_id=parent), caller=worker)
    await bench.create(a_task("C", parent_id="B"), a_task("B", parent_id="T1"), caller=worker)
    await bench.create(*(a_task(f"N{n}", parent_id="C") for n in range(18)), caller=worker)
    with pytest.raises(Forbidden, match="at most 20"):
        await bench.create(a_task("ONE-MORE", parent_id="T1"), caller=worker)

    assert (await bench.task("C")).origin == "agent"
    verify(bench.source)


@pytest.mark.full  # three seconds
async def test_its_tasks_are_counted_however_many_people_put_beside_them(bench: Bench) -> None:
    worker = await launched(bench)
    for part in range(3):
        await bench.create(*(a_task(f"H{part}-{n}", parent_id="T1") for n in range(400)), caller=OWNER)
    await bench.create(*(a_task(f"N{n}", parent_id="H2-399") for n in range(20)), caller=worker)
    with pytest.raises(Forbidden, match="at most 20"):
        await bench.create(a_task("ONE-MORE", parent_id="N19"), caller=worker)
