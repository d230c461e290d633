"""Who gets what, and what is said to who gets nothing."""

from typing import Any

import pytest

from tests.support.bench import ANN, BOB, OWNER, Bench, a_task
from tests.support.sessions import an_agent
from wvo_mcp.errors import AlreadyClaimed, NotReady, Paused, ReservationConflict, StaleLease, WipLimit

pytestmark = [pytest.mark.anyio, pytest.mark.both_stores]


async def refusal(bench: Bench, **asked: Any) -> tuple[str, int]:
    answer = await bench.claim(**asked)
    assert answer["task"] is None
    assert (answer["lease"], answer["context"]) == (None, [])
    return answer["reason"], answer["retry_after"]


@pytest.mark.requirement("SCHED-1")
async def test_the_best_score_is_given_first_then_what_was_created_first(bench: Bench) -> None:
    bench.limits(wip_limit=10, agent_wip_limit=10)
    await bench.create(a_task("B"), a_task("A"))
    bench.clock.advance(1)
    await bench.create(a_task("C"), a_task("Z", priority="critical"))

    given = [(await bench.claim())["task"]["id"] for _ in range(4)]

    assert given == ["Z", "B", "A", "C"]


@pytest.mark.requirement("SCHED-2")
async def test_reasons_come_in_the_order_of_the_contract(bench: Bench) -> None:
    await bench.create(a_task("T1", epic_id="E"), a_task("T2", epic_id="E"))
    await bench.force("UPDATE epics SET wip_limit = 1")
    assert (await bench.claim(ANN))["task"]["id"] == "T1"

    assert (await refusal(bench, caller=BOB))[0] == "epic_wip_limit"
    bench.limits(wip_limit=1)
    assert (await refusal(bench, caller=BOB))[0] == "wip_limit"
    assert (await refusal(bench, caller=ANN))[0] == "agent_wip_limit"
    await bench.call("pause", OWNER, reason="lunch")
    assert (await refusal(bench, caller=ANN))[0] == "paused"
    await bench.call("resume", OWNER)
    await bench.complete("T1")
    await bench.done("T2")
    reason, wait = await refusal(bench)
    assert reason == "no_ready_tasks"
    assert 2 <= wait <= 60


@pytest.mark.requirement("SCHED-2", "CORE-7")
async def test_a_named_task_that_may_not_be_claimed_says_why(bench: Bench) -> None:
    await bench.create(
        a_task("T1", files=["src/**"], epic_id="E"),
        a_task("T2", files=["src/a.py"]),
        a_task("T3", depends_on=["T1", "T2"]),
        a_task("T4", epic_id="E"),
        a_task("T5", capabilities=["gpu"]),
        a_task("T6", requires_approval=True),
        a_task("T7", not_before="2026-03-02T10:00:00Z"),
        a_task("P"),
        a_task("C", parent_id="P"),
    )
    await bench.force("UPDATE epics SET wip_limit = 1")
    await bench.claim(ANN, "T1")

    with pytest.raises(AlreadyClaimed) as held:
        await bench.claim(BOB, "T1")
    assert held.value.details == {"task_id": "T1", "by": "ann", "until": "2026-03-02T09:10:00.000Z"}
    with pytest.raises(ReservationConflict) as files:
        await bench.claim(BOB, "T2")
    assert (files.value.details["with"], files.value.details["files"]) == ("T1", ["src/a.py"])
    with pytest.raises(WipLimit) as epic:
        await bench.claim(BOB, "T4")
    assert epic.value.details["scope"] == "epic"
    with pytest.raises(WipLimit) as agent:
        await bench.claim(ANN, "C")
    assert agent.value.details["scope"] == "agent"
    for task_id, reason, waiting_for in (
        ("T3", "dependencies", ["T1", "T2"]),
        ("T5", "capabilities", ["gpu"]),
        ("T6", "approval", ["a person: wvo-mcp approve T6"]),
        ("T7", "not_before", ["2026-03-02T10:00:00.000Z"]),
        ("P", "children", ["C"]),
    ):
        with pytest.raises(NotReady) as not_ready:
            await bench.claim(BOB, task_id)
        assert (not_ready.value.details["reason"], not_ready.value.details["waiting_for"]) == (reason, waiting_for)
    bench.limits(wip_limit=1)
    with pytest.raises(WipLimit) as store:
        await bench.claim(BOB, "C")
    assert store.value.details["scope"] == "store"
    await bench.call("pause", OWNER)
    with pytest.raises(Paused):
        await bench.claim(BOB, "C")


@pytest.mark.requirement("SCHED-3")
async def test_the_best_task_is_passed_over_for_files_capabilities_and_gates(bench: Bench) -> None:
    bench.limits(wip_limit=10)
    await bench.create(
        a_task("held", files=["src/**"], priority="critical"),
        a_task("files", files=["src/a.py"], priority="high"),
        a_task("gpu", capabilities=["gpu"], priority="high"),
        a_task("later", not_before="2026-03-02T10:00:00Z", priority="high"),
        a_task("approval", requires_approval=True, priority="high"),
        a_task("free", priority="low"),
    )
    assert (await bench.claim(ANN))["task"]["id"] == "held"

    assert (await bench.claim(BOB))["task"]["id"] == "free"
    able = an_agent("able", None, "gpu")
    assert (await bench.claim(able))["task"]["id"] == "gpu"
    bench.clock.advance(hours=1)
    await bench.call("heartbeat", ANN, task_id="held")
    late = an_agent("late")
    assert (await bench.claim(late))["task"]["id"] == "later"
    await bench.call("approve", OWNER, task_id="approval")
    assert (await bench.claim(an_agent("next")))["task"]["id"] == "approval"


@pytest.mark.requirement("CLAIM-2")
async def test_a_holder_that_was_overtaken_changes_nothing(bench: Bench) -> None:
    await bench.create(a_task("T1"))
    slow = await bench.claim(ANN)
    bench.clock.advance(minutes=11)
    fast = await bench.claim(BOB)

    assert fast["lease"]["token"] == slow["lease"]["token"] + 1
    before = await bench.task("T1")
    calls: dict[str, dict[str, Any]] = {
        "complete_task": {"summary": "s"},
        "checkpoint": {"summary": "s"},
        "heartbeat": {},
        "fail_task": {"error": "e"},
        "release_task": {},
        "block_task": {"reason": "r"},
    }
    for name, arguments in calls.items():
        for token in ({"lease_token": slow["lease"]["token"]}, {}):
            with pytest.raises(StaleLease) as stale:
                await bench.call(name, ANN, task_id="T1", **arguments, **token)
            assert stale.value.details["holder"] == "bob"
    assert await bench.task("T1") == before


@pytest.mark.requirement("CLAIM-2")
async def test_a_name_is_no_key_while_the_session_of_the_holder_lives(bench: Bench) -> None:
    await bench.create(a_task("T1"))
    lease = (await bench.claim(ANN))["lease"]
    twin = an_agent("ann", "ann/2")

    with pytest.raises(StaleLease):
        await bench.complete("T1", twin, lease_token=lease["token"])
    bench.servers.kill("ann/1")
    answer = await bench.complete("T1", twin, lease_token=lease["token"])

    assert answer["task"]["status"] == "done"
    assert "lease.adopted" in await bench.kinds("T1")


@pytest.mark.requirement("CLAIM-3", "CLAIM-5")
async def test_a_respawned_agent_gets_its_own_task_back_with_its_checkpoint(bench: Bench) -> None:
    await bench.create(a_task("T1"), a_task("T2", priority="critical"))
    first = await bench.claim(ANN, "T1")
    await bench.call("checkpoint", ANN, task_id="T1", summary="half", next_steps="the rest", progress=50)
    bench.servers.kill("ann/1")

    again = await bench.claim(an_agent("ann", "ann/2"))

    assert again["task"]["id"] == "T1"
    assert again["lease"]["token"] == first["lease"]["token"] + 1
    assert (again["resume"]["summary"], again["resume"]["next_steps"]) == ("half", "the rest")


@pytest.mark.requirement("CLAIM-3")
async def test_who_names_the_task_of_a_killed_server_gets_it_after_the_grace(bench: Bench) -> None:
    await bench.create(a_task("T1"))
    await bench.claim(ANN)
    bench.servers.kill("ann/1")

    with pytest.raises(AlreadyClaimed):
        await bench.claim(BOB, "T1")
    bench.clock.advance(61)

    assert (await bench.claim(BOB, "T1"))["task"]["assigned_to"] == "bob"


@pytest.mark.requirement("CLAIM-3")
async def test_a_killed_server_leaves_its_task_to_others_after_the_grace(bench: Bench) -> None:
    await bench.create(a_task("T1"))
    await bench.claim(ANN)
    bench.servers.kill("ann/1")

    assert (await bench.claim(BOB))["task"] is None
    bench.clock.advance(59)
    assert (await bench.claim(BOB))["task"] is None
    bench.clock.advance(1)
    taken = await bench.claim(BOB)

    assert taken["task"]["id"] == "T1"
    assert taken["task"]["expiries"] == 1


@pytest.mark.requirement("CLAIM-3")
async def test_a_late_holder_of_a_task_that_nobody_took_is_honoured_and_renewed(bench: Bench) -> None:
    await bench.create(a_task("T1"))
    await bench.claim(ANN)
    bench.clock.advance(minutes=30)

    lease = (await bench.call("heartbeat", ANN, task_id="T1", progress=10))["lease"]

    assert lease["expires_at"] == "2026-03-02T09:40:00.000Z"


@pytest.mark.requirement("CLAIM-4")
async def test_the_tenth_expired_lease_blocks_the_task_with_an_alert(bench: Bench) -> None:
    await bench.create(a_task("T1"))
    for expiry in range(1, 11):
        assert (await bench.claim(ANN))["task"]["id"] == "T1"
        bench.clock.advance(minutes=11)
        assert (await bench.task("T1")).expiries == expiry - 1
    assert (await bench.claim(BOB))["task"] is None

    task = await bench.task("T1")

    assert (task.status, task.expiries, task.attempts) == ("blocked", 10, 0)
    assert ("task_blocked", "critical", "T1") in await bench.alerts()


@pytest.mark.requirement("CTX-1")
async def test_a_claim_brings_what_was_remembered_about_the_task_its_epic_and_its_words(bench: Bench) -> None:
    await bench.create(a_task("T1", title="Rotate the signing keys", epic_id="E"), a_task("T2"))
    written: tuple[tuple[str, str, dict[str, Any]], ...] = (
        ("own", "about T1", {"task_id": "T1"}),
        ("epic", "about E", {"epic_id": "E"}),
        ("alike", "signing needs two people", {}),
        ("other", "nothing to do with it", {}),
        ("own", "about T1, newer", {"task_id": "T1"}),
    )
    for topic, content, about in written:
        await bench.call("context_write", topic=topic, content=content, **about)

    context = (await bench.claim(task_id="T1"))["context"]

    assert [(entry["topic"], entry["version"]) for entry in context] == [("own", 2), ("epic", 1), ("alike", 1)]
