"""News of alerts on the stopped clock, over a channel that does as the test says."""

from collections.abc import AsyncGenerator

import anyio
import pytest
from anyio.abc import TaskGroup

from tests.support.bench import ANN, BOB, OWNER, Bench, a_task
from tests.support.desk import Desk, Line
from tests.support.leading import a_leader
from wvo_mcp.domain import news
from wvo_mcp.domain.lease import Caller
from wvo_mcp.orchestration.delivery import KEEP, Courier, forget, leader_jobs
from wvo_mcp.orchestration.leader import LEASE_SECONDS, Leader
from wvo_mcp.ports import Transaction

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("HEALTH-3")]


@pytest.fixture
async def desk(bench: Bench) -> AsyncGenerator[Desk]:
    """A channel that was there before anything happened."""
    made = Desk(bench, Line())
    await made.look()
    yield made


async def test_each_change_is_told_once_in_its_order_with_all_that_is_known_and_no_secret(desk: Desk) -> None:
    await desk.alert("disk", message="full; token=ghp_0123456789abcdefghijABCDEFGHIJ012345")
    await desk.alert("disk")
    assert await desk.look(3) == [("raised", "disk")]

    await desk.alert("disk", "critical", message="token=ghp_0123456789abcdefghijABCDEFGHIJ012345")
    await desk.over("disk")
    assert await desk.look(3) == [("escalated", "disk"), ("resolved", "disk")]

    first, second, third = desk.line.told
    assert len({first.id, second.id, third.id}) == 3
    body = second.body
    assert (body["id"], body["data"]["store"]) == (second.id, "host:shop")
    alert = body["data"]["alert"]
    assert (alert["severity"], alert["times"], alert["evidence"]) == ("critical", 3, {"n": 1})
    assert "ghp_" not in str(body)
    assert "ghp_" not in str(await desk.bench.sql("SELECT message FROM alerts"))


async def test_the_severity_that_is_asked_for_is_the_least_that_is_told(bench: Bench) -> None:
    desk = Desk(bench, Line(), "critical")
    await desk.look()
    await desk.alert("small")
    await desk.alert("grows")
    await desk.alert("large", "critical")
    assert await desk.look() == [("raised", "large")]

    await desk.alert("grows", "critical")
    await desk.over("small")
    await desk.alert("large", "info")  # it became less, and whoever heard of it hears its end
    await desk.over("large")

    assert await desk.look() == [("escalated", "grows"), ("resolved", "large")]


async def test_who_has_seen_to_an_alert_hears_nothing_but_its_end(desk: Desk) -> None:
    await desk.alert("told")
    assert await desk.look() == [("raised", "told")]
    desk.line.broken = {"*"}
    await desk.alert("untold")
    await desk.look()
    for kind in ("told", "untold"):
        await desk.acknowledge(kind)
        await desk.alert(kind, "critical")
    await desk.bench.write(lambda tx: tx.alerts.escalate("told", None, "still there"))
    desk.line.broken = set()
    desk.bench.clock.advance(minutes=1)
    assert await desk.look(2) == []

    await desk.over("told")
    await desk.over("untold")

    assert await desk.look(2) == [("resolved", "told"), ("resolved", "untold")]


async def test_a_new_channel_is_told_what_is_open_and_not_what_was(bench: Bench) -> None:
    desk = Desk(bench, Line())
    for kind in ("over", "open", "seen"):
        await desk.alert(kind)
    await desk.over("over")
    await desk.acknowledge("seen")
    await desk.alert("open", "critical")
    assert await desk.look(2) == [("escalated", "open")]

    bench.clock.advance(hours=23)
    await desk.alert("while away")
    await desk.over("while away")
    assert await desk.look(2) == [("raised", "while away"), ("resolved", "while away")]

    bench.clock.advance(days=2)  # nobody had the channel
    for number in range(5):
        await desk.alert(f"missed-{number}")
        await desk.over(f"missed-{number}")
    await desk.alert("still there")
    assert await desk.look(2) == [("raised", "still there")]


async def test_a_new_channel_is_told_the_worst_of_more_than_anybody_reads(bench: Bench) -> None:
    async def storm(tx: Transaction) -> None:
        for number in range(230):
            await tx.alerts.raise_alert("storm", "critical" if number == 229 else "warning", f"T{number}", "m")
        await tx.alerts.raise_alert("old", "critical", None, "m")

    await bench.create(*(a_task(f"T{number}") for number in range(230)))
    await bench.write(storm)

    heard = await Desk(bench, Line()).look(6)

    assert len(heard) == 200
    assert ("raised", "old") in heard


async def test_a_failure_is_tried_again_ever_later_under_the_same_id_and_others_pass_it(desk: Desk) -> None:
    desk.line.broken = {"poison"}
    began = desk.bench.clock.now()
    await desk.alert("poison")
    await desk.alert("other")
    assert await desk.look() == []
    assert await desk.look() == [("raised", "other")]
    tried: list[float] = []
    while desk.line.attempts < 5:
        before = desk.line.attempts
        await desk.look()
        if desk.line.attempts > before:
            tried.append((desk.bench.clock.now() - began).total_seconds())
        desk.bench.clock.advance(1)

    assert tried == [6, 18, 41]  # 5, 10, 20 s and an eighth more, at whole seconds

    await desk.over("poison")
    await desk.look()
    desk.line.broken = set()
    desk.bench.clock.advance(minutes=2)
    assert await desk.look(2) == [("raised", "poison"), ("resolved", "poison")], "nothing overtakes within one alert"


async def test_a_channel_that_stays_down_raises_an_alert_that_it_does_not_carry(bench: Bench) -> None:
    down, up = Desk(bench, Line("webhook")), Desk(bench, Line("command"))
    await down.look()
    await up.look()
    down.line.broken = {"*"}
    await down.alert("disk")
    for _ in range(200):
        bench.clock.advance(15)
        await down.look()

    assert down.line.attempts == news.MOST_ATTEMPTS
    assert await bench.alerts() == [("disk", "warning", None), (news.FAILED, "critical", None)]
    assert await up.look(2) == [("raised", "disk"), ("raised", news.FAILED)]
    assert "webhook is down" in up.line.told[1].body["data"]["alert"]["message"]
    assert "swordfish" not in str(up.line.told[1].body) + str(await bench.sql("SELECT * FROM alert_deliveries"))

    down.line.broken = set()
    await down.alert("next")
    assert await down.look() == [("raised", "next")]
    assert await bench.alerts() == [("disk", "warning", None), ("next", "warning", None)]
    assert await up.look() == [("raised", "next"), ("resolved", news.FAILED)]
    assert down.line.heard == [("raised", "next")]
    await down.over("disk")
    assert await down.look() == [("resolved", "disk")]


async def test_a_leader_replaced_during_a_delivery_stops_and_the_next_reuses_the_id(
    desk: Desk,
) -> None:
    bench = desk.bench
    await desk.alert("disk")
    next_line = Line()
    successor = Desk(bench, next_line)
    desk.line.hang = True

    def leader(caller: Caller, courier: Courier) -> Leader:
        return a_leader(bench.store, lambda: caller, bench.clock, leader_jobs({"command": courier}))

    async def tick(one: Leader, tasks: TaskGroup) -> None:
        await one.tick(tasks)
        with anyio.fail_after(120):
            while set(one.running) - {"alerts_by_command"}:
                await anyio.wait_all_tasks_blocked()

    first, second = leader(ANN, desk.courier), leader(BOB, successor.courier)
    async with anyio.create_task_group() as tasks:
        await tick(first, tasks)
        with anyio.fail_after(120):
            await desk.line.hangs.wait()
        bench.clock.advance(LEASE_SECONDS + 1)
        await tick(second, tasks)
        with anyio.fail_after(120):
            await next_line.hangs.wait()
        await tick(first, tasks)  # finds out, and stops what hangs
        with anyio.fail_after(120):
            while first.running or second.running:
                await anyio.wait_all_tasks_blocked()

    assert desk.line.told == []
    assert next_line.heard == [("raised", "disk")]


async def test_what_was_delivered_and_not_recorded_is_delivered_again_under_the_same_id(desk: Desk) -> None:
    await desk.alert("disk")
    await desk.look()
    await desk.bench.force("UPDATE alert_deliveries SET delivered_at = NULL, attempts = 0, next_at = '2026-01-01'")
    await desk.look()

    assert len(desk.line.told) == 2
    assert len({message.id for message in desk.line.told}) == 1
    assert len({str(message.body) for message in desk.line.told}) == 1


async def test_old_news_is_forgotten_and_the_numbers_never_come_again(desk: Desk) -> None:
    bench = desk.bench
    for kind in ("open", "over", "last"):
        await desk.alert(kind)
    await desk.over("over")
    await desk.over("last")
    await desk.look()
    bench.clock.advance(seconds=KEEP.total_seconds() + 1)
    await forget(await desk.term())

    left = await bench.sql("SELECT alert_id, change FROM alert_news ORDER BY id")
    assert [row["change"] for row in left] == ["raised", "resolved"], "of the open one, and the newest"
    assert len(await bench.sql("SELECT * FROM alert_deliveries")) == 2
    await desk.look()
    await desk.alert("new")
    assert await desk.look() == [("raised", "new")]


async def test_an_acknowledgement_is_repeated_without_effect_and_kept_with_its_note(bench: Bench) -> None:
    await bench.create(a_task("T"))
    await bench.write(lambda tx: tx.alerts.raise_alert("odd", "critical", "T", "look"))
    (row,) = (await bench.call("alerts"))["alerts"]

    first = await bench.call("alert_ack", BOB, alert_id=row["id"], note="on it")
    again = await bench.call("alert_ack", OWNER, alert_id=row["id"], note="me too")

    assert first == again
    assert first["alert"]["acknowledged_by"] == "bob"
    events = await bench.read(lambda tx: tx.events.of_task("T", 10))
    assert [event.data["note"] for event in events if event.kind == "alert.acknowledged"] == ["on it"]
