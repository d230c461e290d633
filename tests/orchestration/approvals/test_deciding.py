"""Who may decide, once, for exactly what was asked, in time; and what becomes of the task."""

import anyio
import pytest

from tests.support.bench import ANN, BOB, OWNER, Bench, a_task
from tests.support.invariants import verify
from tests.support.sessions import a_person, an_agent
from wvo_mcp.domain.approval import Approval, ApprovalKind, subject_hash, subject_of_command
from wvo_mcp.domain.lease import Caller
from wvo_mcp.errors import Conflict, Forbidden, NotFound, StaleLease
from wvo_mcp.orchestration.approvals import deciding
from wvo_mcp.ports import Transaction

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("SAFE-4")]

PUSH = subject_of_command("T1", "git push origin main")
SLOT = an_agent("auto-host.2")


async def asked(bench: Bench, command: str = "git push origin main", caller: Caller = ANN, **more: str) -> str:
    await bench.create(a_task("T1"), a_task("T2"))
    await bench.claim(caller, "T1")
    answer = await bench.call("approval_request", caller, task_id="T1", command=command, **more)
    assert answer["approval"]["state"] == "pending"
    return str(answer["approval"]["approval_id"])


async def approvals(bench: Bench) -> dict[str, str]:
    rows = await bench.sql("SELECT approval_id, state FROM approvals ORDER BY seq")
    return {row["approval_id"]: row["state"] for row in rows}


async def test_asking_ends_the_lease_and_costs_no_work_in_progress(bench: Bench) -> None:
    known = await asked(bench, reason="to deploy")

    task = await bench.task("T1")
    assert (task.status, task.session_id, task.lease_expires_at, task.assigned_to) == (
        "awaiting_approval",
        None,
        None,
        None,
    )
    assert (await bench.claim(ANN))["task"]["id"] == "T2"
    assert await bench.alerts() == [("approval", "warning", "T1")]
    (alert,) = await bench.read(lambda tx: tx.alerts.open_alerts(9))
    assert f"wvo-mcp approve {known}" in alert["message"]
    assert "git push origin main" in alert["message"]
    with pytest.raises(StaleLease):
        await bench.call("checkpoint", ANN, task_id="T1", lease_token=1, summary="still here")
    verify(bench.source)


@pytest.mark.requirement("APPR-1")
@pytest.mark.parametrize("asks", [{"command": "make"}, {"question": "May I?"}, None], ids=["command", "task", "gate"])
async def test_waiting_holds_no_lease_no_work_in_progress_and_no_process(
    bench: Bench, asks: dict[str, str] | None
) -> None:
    bench.limits(wip_limit=1, agent_wip_limit=1)
    await bench.create(a_task("T1", requires_approval=asks is None), a_task("T2"))
    if asks is not None:
        await bench.claim(ANN, "T1")
        await bench.call("approval_request", ANN, task_id="T1", **asks)
    task = await bench.task("T1")
    assert (task.session_id, task.lease_expires_at, task.assigned_to) == (None, None, None)
    assert await approvals(bench) == {"A-1": "pending"}
    assert await bench.sql("SELECT worker_id FROM workers") == []
    assert (await bench.claim(ANN))["task"]["id"] == "T2"


@pytest.mark.parametrize("verdict", ["approve", "deny"])
async def test_a_decided_command_returns_to_its_agent_with_the_answer(bench: Bench, verdict: str) -> None:
    known = await asked(bench)
    bench.clock.advance(60)

    answer = await bench.call(verdict, OWNER, id=known, reason="as I say")

    assert answer["task"]["status"] == "pending"
    assert await bench.alerts() == []
    assert (await bench.claim(BOB))["task"]["id"] == "T2"
    claim = await bench.claim(ANN)
    assert claim["task"]["id"] == "T1"
    said = f"{known} {'approved' if verdict == 'approve' else 'denied'} by owner: as I say"
    assert claim["resume"]["summary"].startswith(said)
    assert (await bench.task("T1")).attempts == 0
    verify(bench.source)


async def test_it_is_kept_for_ten_minutes_and_then_anybodys(bench: Bench) -> None:
    await bench.call("approve", OWNER, id=await asked(bench))
    bench.clock.advance(599)
    assert (await bench.claim(BOB))["task"]["id"] == "T2"
    bench.clock.advance(1)
    assert (await bench.claim(an_agent("eve")))["task"]["id"] == "T1"


async def test_the_answer_stands_before_the_last_checkpoint(bench: Bench) -> None:
    await bench.create(a_task("T1"))
    await bench.claim(ANN, "T1")
    await bench.call("checkpoint", task_id="T1", summary="half done", next_steps="push it", files=["a.py"])
    await bench.call("approval_request", task_id="T1", command="git push")
    await bench.call("approve", OWNER, id="A-1")

    resume = (await bench.claim(ANN))["resume"]

    assert resume["summary"].startswith("A-1 approved")
    assert resume["summary"].endswith("half done")
    assert (resume["next_steps"], resume["files"]) == ("push it", ["a.py"])


async def test_the_task_of_a_worker_is_kept_for_every_place_of_its_pool(bench: Bench) -> None:
    await bench.create(a_task("T1"))
    await bench.claim(SLOT, "T1")
    row = {"task_id": "T1", "lease_token": 1, "agent_id": SLOT.agent_id, "run_id": "r", "provider": "claude"}
    more = {"tier": "low", "model": "m", "host": "host"}
    await bench.write(lambda tx: tx.workers.add({**row, **more}))
    await bench.call("approval_request", SLOT, task_id="T1", command="git push")

    await bench.call("approve", OWNER, id="A-1")

    assert (await bench.task("T1")).kept_for == "auto-host"
    assert (await bench.claim(an_agent("auto-host.1")))["task"]["id"] == "T1"


async def test_an_approved_command_is_used_once_and_only_as_it_was_asked(bench: Bench) -> None:
    await bench.call("approve", OWNER, id=await asked(bench))

    async def use(command: str, task_id: str = "T1", cwd: str = ".") -> str | None:
        subject = subject_of_command(task_id, command, cwd)
        used = await bench.write(lambda tx: deciding.use(tx, ApprovalKind.COMMAND, subject))
        return None if used is None else used.state.value

    assert [await use("git push origin main "), await use("git push"), await use("git push origin main", "T2")] == [
        None
    ] * 3
    assert await use("git push origin main", cwd="sub") is None
    assert await use("git push origin main", cwd="./sub/..") == "used"
    assert await use("git push origin main") is None
    assert await approvals(bench) == {"A-1": "used"}


async def test_an_agent_learns_once_that_its_command_is_approved(bench: Bench) -> None:
    await bench.call("approve", OWNER, id=await asked(bench))
    lease = (await bench.claim(ANN, "T1"))["lease"]["token"]

    async def again() -> tuple[str, str]:
        command = "git push origin main"
        answer = await bench.call("approval_request", task_id="T1", lease_token=lease, command=command)
        return answer["approval"]["state"], answer["task"]["status"]

    assert [await again(), await again()] == [("approved", "in_progress"), ("pending", "awaiting_approval")]
    assert await approvals(bench) == {"A-1": "used", "A-2": "pending"}


async def test_what_expires_first_is_listed_first_and_all_are_counted(bench: Bench) -> None:
    bench.limits(wip_limit=9, agent_wip_limit=9)
    names = [f"G{number}" for number in range(101)]
    await bench.create(*(a_task(name, requires_approval=True) for name in names), a_task("T1"), a_task("T2"))
    for task_id, seconds in (("T1", 600), ("T2", 60)):
        bench.limits(approval_seconds=seconds, wip_limit=9, agent_wip_limit=9)
        await bench.claim(ANN, task_id)
        await bench.call("approval_request", ANN, task_id=task_id, command="git push")

    listed = await bench.call("approvals", OWNER, limit=3)

    assert [one["task_id"] for one in listed["approvals"]] == ["T2", "T1", "G0"]
    assert listed["open"] == 103
    assert [one["task_id"] for one in (await bench.call("workers", OWNER))["approvals"][:2]] == ["T2", "T1"]


async def test_an_approval_that_is_not_used_in_time_is_void(bench: Bench) -> None:
    await bench.call("approve", OWNER, id=await asked(bench))
    bench.clock.advance(86_400)
    assert await bench.write(lambda tx: deciding.use(tx, ApprovalKind.COMMAND, PUSH)) is None
    assert await approvals(bench) == {"A-1": "void"}


async def test_a_denied_question_blocks_the_task_and_only_people_lift_that(bench: Bench) -> None:
    await bench.create(a_task("T1"))
    await bench.claim(ANN, "T1")
    await bench.call("approval_request", task_id="T1", question="Drop the old table?")

    denied = await bench.call("deny", OWNER, id="T1", reason="keep it")

    assert denied["task"]["status"] == "blocked"
    assert (await bench.task("T1")).block_author == "approval"
    with pytest.raises(Forbidden):
        await bench.call("update_task", ANN, task_id="T1", status="pending")
    await bench.call("unblock", OWNER, task_id="T1")
    assert "keep it" in (await bench.claim(ANN))["resume"]["summary"]


async def test_the_second_of_two_people_is_told_what_the_first_decided(bench: Bench) -> None:
    known = await asked(bench)
    carol = a_person("carol")
    told: list[str] = []

    async def decide(verdict: str, who: Caller) -> None:
        try:
            await bench.call(verdict, who, id=known, reason=f"says {who.agent_id}")
        except Conflict as error:
            told.append(error.message)

    async with anyio.create_task_group() as group:
        group.start_soon(decide, "approve", OWNER)
        group.start_soon(decide, "deny", carol)

    (row,) = await bench.sql("SELECT state, decided_by FROM approvals")
    assert [row["state"], row["decided_by"]] in (["approved", OWNER.agent_id], ["denied", carol.agent_id])
    assert told == [f"{known} was already {row['state']} by {row['decided_by']} (says {row['decided_by']})."]
    assert (await bench.kinds("T1")).count(f"task.{row['state']}") == 1


async def test_a_decision_that_comes_too_late_finds_it_expired(bench: Bench) -> None:
    known = await asked(bench)
    bench.clock.advance(86_400)
    with pytest.raises(Conflict, match="expired"):
        await bench.call("approve", OWNER, id=known)

    assert await approvals(bench) == {known: "expired"}
    assert (await bench.task("T1")).block_author == "approval"
    assert await bench.alerts() == [("task_blocked", "warning", "T1")]
    verify(bench.source)


@pytest.mark.parametrize("verdict", ["approve", "deny"])
async def test_naming_the_task_decides_no_more_than_naming_what_expired(bench: Bench, verdict: str) -> None:
    known = await asked(bench)
    bench.clock.advance(86_400)

    with pytest.raises(Conflict, match="has expired"):
        await bench.call(verdict, OWNER, id="T1", reason="too late")

    assert (await bench.task("T1")).status == "blocked"
    assert await approvals(bench) == {known: "expired"}


async def test_silence_is_a_no_and_blocks_the_task(bench: Bench) -> None:
    bench.limits(approval_seconds=60)
    known = await asked(bench)
    bench.clock.advance(59)
    assert await bench.write(deciding.expire) == []
    bench.clock.advance(1)
    assert (await bench.call("approvals", OWNER))["approvals"][0]["state"] == "expired"
    assert [one.approval_id for one in await bench.write(deciding.expire)] == [known]
    assert await bench.status("T1") == ["blocked"]
    await bench.call("unblock", OWNER, task_id="T1")
    assert await bench.alerts() == []


async def test_no_agent_decides_and_nobody_decides_what_they_asked(bench: Bench) -> None:
    known = await asked(bench)
    same_name = a_person("x")
    for caller in (ANN, BOB, an_agent("owner")):
        with pytest.raises(Forbidden, match="people only"):
            await bench.call("approve", caller, id=known)
    for asker in (
        *(type(same_name)(name, "cli:other", role=same_name.role) for name in ("ann", "ANN", "ann.1")),
        type(same_name)("other", ANN.session_id, role=same_name.role),
    ):
        with pytest.raises(Forbidden, match="who asks cannot decide"):
            await bench.call("approve", asker, id=known)
    assert await approvals(bench) == {known: "pending"}


async def test_cancelling_a_task_makes_what_it_asked_void(bench: Bench) -> None:
    known = await asked(bench)
    await bench.call("cancel", OWNER, task_id="T1")
    assert await approvals(bench) == {known: "void"}
    assert await bench.alerts() == []
    with pytest.raises(Conflict, match="void"):
        await bench.call("approve", OWNER, id=known)


@pytest.mark.parametrize("over", ["cancelled", "done"])
async def test_a_command_that_was_approved_before_the_task_was_over_is_asked_for_again(bench: Bench, over: str) -> None:
    known = await asked(bench, "rm -rf build")
    await bench.call("approve", OWNER, id=known)
    if over == "cancelled":
        await bench.call("cancel", OWNER, task_id="T1", reason="wrong")
        await bench.call("restore", OWNER, task_id="T1")
    else:
        await bench.done("T1")
        await bench.call("reopen", OWNER, task_id="T1", reason="wrong")
    assert await approvals(bench) == {known: "void"}
    await bench.claim(BOB, "T1")
    again = await bench.call("approval_request", BOB, task_id="T1", command="rm -rf build")
    assert again["approval"]["state"] == "pending"


async def test_a_task_that_requires_approval_asks_when_it_is_made_and_never_expires(bench: Bench) -> None:
    await bench.create(a_task("T1", requires_approval=True), a_task("T2"))
    (listed,) = (await bench.call("approvals", OWNER, state="open"))["approvals"]
    assert (listed["kind"], listed["task_id"], listed["about"]) == ("task", "T1", "begin T1: Do T1")
    assert "expires_at" not in listed
    assert await bench.alerts() == []
    bench.clock.advance(864_000)
    assert await bench.write(deciding.expire) == []
    assert (await bench.call("approve", OWNER, id="A-1"))["task"]["id"] == "T1"
    assert (await bench.claim(BOB, "T1"))["task"]["id"] == "T1"
    assert await approvals(bench) == {"A-1": "approved"}


async def test_what_the_task_says_now_is_what_is_approved(bench: Bench) -> None:
    await bench.create(a_task("T1", requires_approval=True))
    await bench.call("update_task", BOB, task_id="T1", title="Delete everything")
    assert await approvals(bench) == {"A-1": "void", "A-2": "pending"}
    await bench.force("UPDATE tasks SET title = 'Behind our back'")

    with pytest.raises(Conflict, match="has changed"):
        await bench.call("approve", OWNER, id="A-2")

    assert await approvals(bench) == {"A-1": "void", "A-2": "void", "A-3": "pending"}
    await bench.call("approve", OWNER, id="T1")
    assert (await bench.task("T1")).approved_at is not None


async def test_a_refused_task_asks_again_once_it_is_unblocked(bench: Bench) -> None:
    await bench.create(a_task("T1", requires_approval=True))
    await bench.call("deny", OWNER, id="T1", reason="not now")
    assert await bench.status("T1") == ["blocked"]
    await bench.call("unblock", OWNER, task_id="T1")
    assert await approvals(bench) == {"A-1": "denied", "A-2": "pending"}
    await bench.call("approve", OWNER, id="A-2")
    await bench.done("T1")
    await bench.call("reopen", OWNER, task_id="T1", reason="wrong")
    assert (await approvals(bench))["A-3"] == "pending"


async def test_who_set_the_gate_of_a_task_by_hand_may_open_it(bench: Bench) -> None:
    await bench.create(a_task("MINE", requires_approval=True), caller=OWNER)
    assert (await bench.call("approve", OWNER, id="MINE"))["approval"]["state"] == "approved"


async def test_an_id_that_names_several_is_refused_with_the_choice(bench: Bench) -> None:
    await bench.create(a_task("A-2", requires_approval=True), a_task("B", requires_approval=True))
    with pytest.raises(Conflict, match="both an approval and a task") as refused:
        await bench.call("approve", OWNER, id="A-2")
    assert sorted(refused.value.details["approvals"]) == ["A-1", "A-2"]
    with pytest.raises(NotFound, match="A-7"):
        await bench.call("approve", OWNER, id="A-7")


async def test_secrets_of_a_command_are_not_stored_but_bound(bench: Bench) -> None:
    secret = "curl -H 'Authorization: Bearer sk-ant-api03-" + "x" * 40 + "' https://example.com"
    known = await asked(bench, secret)
    stored = await bench.sql("SELECT subject, subject_hash FROM approvals")
    alerts = await bench.sql("SELECT message FROM alerts")
    events = await bench.sql("SELECT data FROM events")
    assert "x" * 40 not in str([stored, alerts, events])
    assert stored[0]["subject_hash"] == subject_hash(subject_of_command("T1", secret))
    await bench.call("approve", OWNER, id=known)

    async def use(tx: Transaction) -> Approval | None:
        return await deciding.use(tx, ApprovalKind.COMMAND, subject_of_command("T1", secret))

    assert await bench.write(use) is not None
