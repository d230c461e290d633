"""What waits for an agent is in the result of its next call; the call after that acknowledges it (CTX-4)."""

from typing import Any

import pytest

from tests.support.bench import ANN, BOB, OWNER, Bench, a_task
from wvo_mcp.domain.lease import Caller
from wvo_mcp.domain.messages import MessageKind
from wvo_mcp.errors import WvoError
from wvo_mcp.orchestration import messages
from wvo_mcp.orchestration.pool.hearing import Hearing
from wvo_mcp.ports import Transaction

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("CTX-4")]


async def send(bench: Bench, body: str, to: Caller = BOB, kind: MessageKind = MessageKind.NOTE, **more: Any) -> str:
    row = await bench.write(lambda tx: messages.send(tx, to.agent_id, kind, body, **more))
    return row["message_id"]


async def unread(bench: Bench, to: Caller = BOB) -> list[str]:
    return [row["body"] for row in await bench.read(lambda tx: tx.messages.waiting(to.agent_id, 100))]


@pytest.mark.both_stores
async def test_it_is_shown_once_and_the_next_call_acknowledges_it(bench: Bench) -> None:
    sent = await send(bench, "look at the parser")
    first = await bench.call("plan_next", BOB)
    assert first["notices"] == [f'{sent}, note from agent ann: "look at the parser"']
    assert await unread(bench) == ["look at the parser"]
    assert "notices" not in await bench.call("plan_next", ANN)
    assert "notices" not in await bench.call("create_tasks", BOB, tasks=[a_task("T1")])
    assert await unread(bench) == []


async def test_a_question_stays_until_it_is_answered(bench: Bench) -> None:
    await send(bench, f"which one? {'x' * 4_000}", kind=MessageKind.QUESTION, needs_answer=True)
    shown = [(await bench.call("plan_next", BOB))["notices"][0] for _ in range(3)]
    assert [len(one) > 900 for one in shown] == [True, False, False], "later ones only remind"
    assert all("It waits for your answer" in one for one in shown)


async def test_a_call_that_failed_acknowledges_and_shows_nothing(bench: Bench) -> None:
    await send(bench, "one")
    with pytest.raises(WvoError):
        await bench.call("checkpoint", BOB, task_id="none", summary="x")
    assert len((await bench.call("plan_next", BOB))["notices"]) == 1
    with pytest.raises(WvoError):
        await bench.call("checkpoint", BOB, task_id="none", summary="x")
    assert await unread(bench) == ["one"]


async def test_a_repeat_answers_what_its_first_call_was_told_and_acknowledges_nothing(bench: Bench) -> None:
    await send(bench, "one")
    once = {"tasks": [a_task("T1")], "request_id": "r-1"}
    first = await bench.call("create_tasks", BOB, **once)
    assert (await bench.call("create_tasks", BOB, **once))["notices"] == first["notices"]
    assert await unread(bench) == ["one"], "the answer may have been lost, and was asked for again"


async def test_a_trial_and_a_person_take_no_notice(bench: Bench) -> None:
    await send(bench, "one")
    await send(bench, "yours", to=OWNER)
    assert "notices" not in await bench.call("create_tasks", BOB, tasks=[a_task("T1")], dry_run=True)
    assert "notices" not in await bench.call("create_tasks", OWNER, tasks=[a_task("T2")])
    assert len((await bench.call("plan_next", BOB))["notices"]) == 1


@pytest.mark.both_stores
async def test_what_is_said_of_files_goes_to_whoever_holds_the_task(bench: Bench) -> None:
    await bench.create(a_task("T1"), a_task("T2"))
    await bench.claim(BOB, "T1")

    async def say(body: str) -> None:
        await bench.write(lambda tx: messages.about_files(tx, "T1", MessageKind.VIOLATION, body))

    await say("src/x is forbidden")
    assert "src/x" in (await bench.call("plan_next", BOB))["notices"][0]
    await say("src/y is forbidden")
    await bench.call("release_task", BOB, task_id="T1")
    assert "notices" not in await bench.claim(BOB, "T2"), "it holds another task now"
    claimed = await bench.claim(ANN, "T1")
    assert [one.partition(": ")[2] for one in claimed["notices"]] == ["src/y is forbidden"]


async def test_of_a_task_that_is_over_nobody_hears(bench: Bench) -> None:
    await bench.create(a_task("T1"))
    await bench.claim(BOB, "T1")
    await bench.write(lambda tx: messages.about_files(tx, "T1", MessageKind.VIOLATION, "src/x is forbidden"))
    await bench.complete("T1", BOB)
    await bench.call("plan_next", BOB)
    assert "notices" not in await bench.call("plan_next", BOB)
    assert await unread(bench) == []


async def test_many_come_in_portions_and_a_huge_one_is_cut(bench: Bench) -> None:
    for number in range(12):
        await send(bench, f"{number} {'y' * 100_000}")
    sizes = [len((await bench.call("plan_next", BOB)).get("notices", [])) for _ in range(3)]
    assert sizes == [10, 2, 0]


async def test_what_nobody_is_shown_now_keeps_nothing_else_from_being_shown(bench: Bench) -> None:
    """What is said of files of tasks that the agent does not hold waits for their next holders, however much of it there is."""
    ids = await bench.create(*(a_task(f"T{number}") for number in range(60)))

    async def flood(tx: Transaction) -> None:
        for task_id in ids:
            await messages.send(tx, "bob", MessageKind.VIOLATION, "v", task_id=task_id)

    await bench.write(flood)
    await send(bench, "the note")
    await send(bench, "the next")
    shown = (await bench.call("plan_next", BOB))["notices"]
    assert [one.split(": ")[1] for one in shown] == ['"the note"', '"the next"']
    assert "notices" not in await bench.call("plan_next", BOB)
    assert len(await unread(bench)) == 60


async def test_a_running_worker_is_told_what_comes_after_much_that_it_is_not(bench: Bench) -> None:
    ids = await bench.create(*(a_task(f"T{number}") for number in range(60)))

    async def flood(tx: Transaction) -> None:
        for task_id in ids:
            await messages.send(tx, "bob", MessageKind.VIOLATION, "v", task_id=task_id)

    await bench.write(flood)
    await send(bench, "the note")
    hearing = Hearing(None, None)  # pyright: ignore[reportArgumentType]
    hearing.worker = type("Worker", (), {"agent_id": "bob"})()  # pyright: ignore[reportAttributeAccessIssue]
    assert [row["body"] for row in await bench.read(hearing._unread)] == ["the note"]
