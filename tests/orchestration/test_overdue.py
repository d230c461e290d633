"""A message that is not acknowledged in time is shown again, twice; then people hear of it until it is (CTX-4)."""

from datetime import timedelta
from typing import Any

import pytest

from tests.support.bench import ANN, BOB, OWNER, Bench, a_task
from wvo_mcp.domain.lease import Caller
from wvo_mcp.domain.messages import MessageKind
from wvo_mcp.orchestration import messages
from wvo_mcp.orchestration.leader import Candidate
from wvo_mcp.orchestration.overdue import retrying

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("CTX-4", "WS-9")]
_OVERDUE = [("messages_overdue", "warning", None)]


async def look(bench: Bench, **later: float) -> None:
    """What the leader does, after a while."""
    bench.clock.advance(**later)
    term = await Candidate(bench.store, lambda: OWNER, bench.clock).seek()
    assert term is not None
    await retrying().run(term)


async def question(bench: Bench) -> str:
    async def sent(tx: Any) -> Any:
        deadline = tx.now + timedelta(minutes=2)
        return await messages.send(tx, "bob", MessageKind.NOTE, "y" * 300, deadline=deadline)

    return (await bench.write(sent))["message_id"]


async def violation(bench: Bench) -> None:
    await bench.write(lambda tx: messages.about_files(tx, "T1", MessageKind.VIOLATION, "src/x is forbidden"))


async def notices(bench: Bench, caller: Caller = BOB) -> list[str]:
    return list((await bench.call("plan_next", caller)).get("notices", []))


@pytest.mark.both_stores
async def test_it_is_shown_in_full_again_twice_and_then_people_hear_of_it(bench: Bench) -> None:
    sent = await question(bench)
    for minutes in (2, 2, 4):
        (shown,) = await notices(bench)
        assert "y" * 300 in shown, "in full, though it was shown before"
        await look(bench, minutes=minutes - 0.1)
        assert await bench.alerts() == []
        await look(bench, minutes=0.1)
    assert await bench.alerts() == _OVERDUE
    (alert,) = await bench.read(lambda tx: tx.alerts.open_alerts(5))
    assert "A message is not acknowledged after 2 reminders. " in alert["message"]
    assert f"{sent} (note) to bob: yyy" in alert["message"]
    await look(bench, minutes=30)
    (same,) = await bench.read(lambda tx: tx.alerts.open_alerts(5))
    assert (same["id"], same["times"]) == (alert["id"], 1), "nobody hears of it again"
    assert await notices(bench) == [], "this call acknowledges it"
    await look(bench, seconds=20)
    assert await bench.alerts() == []
    assert not await bench.read(lambda tx: tx.state.get("messages_overdue"))
    kinds = [one["kind"] for one in await bench.sql("SELECT kind FROM events WHERE kind LIKE 'message.%' ORDER BY seq")]
    assert kinds == ["message.sent", "message.retried", "message.retried", "message.escalated"]


async def test_what_was_acknowledged_in_time_is_not_shown_again(bench: Bench) -> None:
    await question(bench)
    assert len(await notices(bench)) == 1
    assert await notices(bench) == []
    await look(bench, hours=5)
    assert (await notices(bench), await bench.alerts()) == ([], [])


@pytest.mark.both_stores
async def test_who_holds_the_task_next_has_all_the_time_again(bench: Bench) -> None:
    await bench.create(a_task("T1"))
    await bench.claim(BOB, "T1")
    await violation(bench)
    for minutes in (11, 22, 44):
        await look(bench, minutes=minutes)
    assert await bench.alerts() == _OVERDUE
    await bench.call("release_task", BOB, task_id="T1")
    await look(bench, minutes=1)
    assert await bench.alerts() == [], "nobody works on it"
    await bench.claim(ANN, "T1")
    await look(bench, hours=3)
    assert await bench.alerts() == []
    assert "src/x is forbidden" in (await notices(bench, ANN))[0]


async def test_of_a_task_that_is_over_nobody_is_reminded(bench: Bench) -> None:
    await bench.create(a_task("T1"))
    await bench.claim(BOB, "T1")
    await violation(bench)
    await bench.complete("T1", BOB)
    await look(bench, hours=1)
    assert await bench.read(lambda tx: tx.messages.overdue(5)) == []
    assert await bench.alerts() == []


async def test_who_stopped_for_a_pause_whose_author_died_goes_on(bench: Bench) -> None:
    await bench.create(a_task("T1"))
    await bench.claim(BOB, "T1")

    async def paused(tx: Any) -> None:
        deadline = tx.now + timedelta(seconds=10)
        await messages.send(tx, "bob", MessageKind.PAUSE, "Write nothing", task_id="T1", deadline=deadline)

    await bench.write(paused)
    assert len(await notices(bench)) == 1
    await look(bench, minutes=3)
    (told,) = await notices(bench)
    assert "resume on T1: Go on with T1." in told
    assert await bench.alerts() == []


@pytest.mark.parametrize("over", ["cancelled", "taken"])
async def test_what_was_for_the_next_holder_of_a_task_that_is_over_reminds_nobody(bench: Bench, over: str) -> None:
    await bench.call("agent_register", ANN)
    await bench.create(a_task("T1"))
    await bench.call("message_send", ANN, to="T1", kind="question", body="why?")
    if over == "cancelled":
        await bench.call("cancel", OWNER, task_id="T1", reason="no longer")
    for hours in (2, 4, 8, 16):
        await look(bench, hours=hours)
    assert await bench.alerts() == ([] if over == "cancelled" else _OVERDUE), "somebody may take it"
    if over == "taken":
        await bench.claim(BOB, "T1")
        await look(bench, seconds=20)
        assert await bench.alerts() == []
