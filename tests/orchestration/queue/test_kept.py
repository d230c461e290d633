"""What is kept for one agent: nobody else gets it, and it is the first that this one is given."""

from datetime import datetime, timedelta

import pytest

from tests.support.bench import ANN, BOB, Bench, a_task
from tests.support.invariants import verify
from tests.support.sessions import an_agent
from wvo_mcp.errors import NotReady
from wvo_mcp.ports import Transaction

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("CLAIM-1", "SCHED-1")]

SLOT = an_agent("auto-host.2")


async def keep(bench: Bench, task_id: str, agent: str = "auto-host", seconds: float = 600) -> datetime:
    until = bench.clock.now() + timedelta(seconds=seconds)

    async def kept(tx: Transaction) -> None:
        fields = {"kept_for": agent, "kept_until": until}
        await tx.tasks.change(await tx.tasks.get(task_id), "task.kept", fields, {})

    await bench.write(kept)
    return until


async def ready(bench: Bench) -> tuple[list[str], int]:
    rows = await bench.sql("SELECT id FROM ready_tasks")
    return [row["id"] for row in rows], await bench.read(lambda tx: tx.health.claimable())


async def test_what_is_kept_is_not_given_to_others_and_they_are_told_until_when(bench: Bench) -> None:
    await bench.create(a_task("KEPT", priority="critical"), a_task("OTHER"))
    await keep(bench, "KEPT")

    with pytest.raises(NotReady) as refused:
        await bench.claim(ANN, "KEPT")
    plan = await bench.call("plan_next")

    assert (await bench.claim(ANN))["task"]["id"] == "OTHER"
    assert (await bench.claim(BOB))["reason"] == "no_ready_tasks"
    assert refused.value.details["reason"] == "kept"
    assert "auto-host until 20" in refused.value.message
    assert [(one["id"], one["reason"]) for one in plan["not_ready"]] == [("KEPT", "kept")]
    assert plan["ready"] == 1
    verify(bench.source)


async def test_its_own_agent_gets_it_before_what_is_worth_more(bench: Bench) -> None:
    bench.limits(agent_wip_limit=2, wip_limit=9)
    await bench.create(a_task("BEST", priority="critical"), a_task("KEPT", priority="low"), a_task("NAMED"))
    await keep(bench, "KEPT")
    await keep(bench, "NAMED", "auto-host.2")

    plan = await bench.call("plan_next", SLOT, agent_id="auto-host.2")
    first = await bench.claim(SLOT, "NAMED")
    second = await bench.claim(SLOT)

    assert {one["id"] for one in plan["tasks"]} == {"BEST", "KEPT", "NAMED"}
    assert [one["task"]["id"] for one in (first, second)] == ["NAMED", "KEPT"]
    task = await bench.task("KEPT")
    assert (task.kept_for, task.kept_until, task.gates) == (None, None, 0)
    verify(bench.source)


@pytest.mark.parametrize("stranger", ["auto-hos", "auto-host2", "auto-host-2", "AUTO-HOST.1", "auto"])
async def test_an_id_that_only_begins_alike_is_another_agent(bench: Bench, stranger: str) -> None:
    await bench.create(a_task("KEPT"))
    await keep(bench, "KEPT")
    assert (await bench.claim(an_agent(stranger)))["task"] is None
    with pytest.raises(NotReady):
        await bench.claim(an_agent(stranger), "KEPT")


async def test_it_is_anybodys_once_the_time_has_come(bench: Bench) -> None:
    await bench.create(a_task("KEPT"))
    await keep(bench, "KEPT", seconds=60)
    asked_again = (await bench.claim(ANN))["retry_after"]
    bench.clock.advance(60)

    assert asked_again == 60
    assert await bench.read(lambda tx: tx.health.claimable()) == 1
    assert (await bench.claim(ANN))["task"]["id"] == "KEPT"
    verify(bench.source)


async def test_what_is_kept_and_not_yet_due_waits_for_both(bench: Bench) -> None:
    await bench.create(a_task("KEPT", not_before=(bench.clock.now() + timedelta(seconds=30)).isoformat()))
    await keep(bench, "KEPT")

    assert (await bench.claim(SLOT))["task"] is None
    bench.clock.advance(30)
    assert (await bench.claim(ANN))["task"] is None
    assert (await bench.claim(SLOT))["task"]["id"] == "KEPT"


async def test_what_cannot_be_claimed_now_does_not_hold_up_what_else_is_kept(bench: Bench) -> None:
    bench.limits(agent_wip_limit=9, wip_limit=9)
    await bench.create(
        a_task("HELD", files=["a.py"]), a_task("SAME", files=["a.py"], priority="critical"), a_task("FREE")
    )
    await bench.claim(ANN, "HELD")
    for task_id in ("SAME", "FREE"):
        await keep(bench, task_id)

    assert (await bench.claim(SLOT))["task"]["id"] == "FREE"
    assert (await bench.claim(SLOT))["reason"] == "no_ready_tasks"


async def test_blocking_or_cancelling_it_ends_the_keeping(bench: Bench) -> None:
    await bench.create(a_task("A"), a_task("B"))
    for task_id, status in (("A", "blocked"), ("B", "cancelled")):
        await keep(bench, task_id)
        await bench.call("update_task", task_id=task_id, status=status, reason="because")
        await bench.call("update_task", task_id=task_id, status="pending", reason="because")
    assert await ready(bench) == (["A", "B"], 2)
    verify(bench.source)
