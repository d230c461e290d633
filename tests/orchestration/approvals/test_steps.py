"""What belongs to no task is asked, decided, used and void like the rest: the frame for the steps of flows."""

import shlex
from collections.abc import Mapping
from typing import Any

import pytest

from tests.support.bench import ANN, BOB, OWNER, Bench
from tests.support.sessions import a_person, an_agent
from wvo_mcp.domain.approval import Approval, ApprovalKind, subject_of_step
from wvo_mcp.domain.lease import Caller
from wvo_mcp.errors import Conflict, Forbidden
from wvo_mcp.orchestration.approvals import deciding
from wvo_mcp.ports import Transaction

Subject = Mapping[str, Any]

pytestmark = [pytest.mark.anyio, pytest.mark.both_stores, pytest.mark.requirement("APPR-1", "APPR-2")]

DEPLOY = subject_of_step("run-1", "deploy", "run `make deploy`", {"command": "make deploy", "env": {"STAGE": "prod"}})
OTHER = subject_of_step("run-1", "deploy", "run `make deploy`", {"command": "make deploy", "env": {"STAGE": "test"}})
TOPIC = "flow/run-1/deploy"
WEEK = 7 * 86_400


async def ask(
    bench: Bench, subject: Subject = DEPLOY, caller: Caller = ANN, why: str | None = None, topic: str = TOPIC
) -> str:
    async def asking(tx: Transaction) -> Approval:
        return await deciding.ask_apart(tx, bench.policy, ApprovalKind.FLOW_STEP, topic, subject, why)

    return (await bench.write(asking, caller)).approval_id


async def use(bench: Bench, subject: Subject = DEPLOY) -> bool:
    return await bench.write(lambda tx: deciding.use(tx, ApprovalKind.FLOW_STEP, subject)) is not None


async def states(bench: Bench) -> dict[str, str]:
    found = await bench.sql("SELECT approval_id, state FROM approvals ORDER BY seq")
    return {one["approval_id"]: one["state"] for one in found}


async def test_it_waits_for_a_person_and_holds_nothing_meanwhile(bench: Bench) -> None:
    known = await ask(bench, why="the release is due")

    (line,) = (await bench.call("approvals", OWNER))["approvals"]
    assert (line["kind"], line["about"]) == ("flow_step", "let run-1 do deploy: run `make deploy`")
    assert "task_id" not in line
    (alert,) = await bench.read(lambda tx: tx.alerts.open_alerts(9))
    assert (alert["kind"], alert["task_id"]) == ("approval_A-1", None)
    assert alert["message"].endswith(f'Decide: wvo-mcp approve {known}   or: wvo-mcp deny {known} "reason"')
    assert shlex.split(line["decide"]) == ["wvo-mcp", "approve", known]
    for table in ("tasks", "workers", "file_reservations"):
        assert await bench.sql(f"SELECT * FROM {table}") == []
    assert await bench.sql("SELECT * FROM agent_pool WHERE current_task_id IS NOT NULL") == []


async def test_approved_it_is_used_once_for_exactly_this(bench: Bench) -> None:
    known = await ask(bench)
    assert await use(bench) is False
    answer = await bench.call("approve", OWNER, id=known)
    assert (answer["approval"]["state"], "task" in answer) == ("approved", False)
    assert await bench.alerts() == []
    assert [await use(bench, OTHER), await use(bench), await use(bench)] == [False, True, False]
    assert await states(bench) == {known: "used"}


async def test_denied_or_left_alone_for_a_week_it_is_not_used(bench: Bench) -> None:
    await bench.call("deny", OWNER, id=await ask(bench), reason="not on a Friday")
    second = await ask(bench)
    bench.clock.advance(WEEK - 1)
    assert await bench.write(deciding.expire) == []
    bench.clock.advance(1)
    with pytest.raises(Conflict, match="expired"):
        await bench.call("approve", OWNER, id=second)
    assert await use(bench) is False
    assert await states(bench) == {"A-1": "denied", "A-2": "expired"}
    assert await bench.alerts() == []


async def test_an_approval_that_nobody_used_for_a_week_is_void(bench: Bench) -> None:
    await bench.call("approve", OWNER, id=await ask(bench))
    bench.clock.advance(WEEK)
    assert await use(bench) is False
    assert await states(bench) == {"A-1": "void"}


async def test_asking_again_is_the_same_question_and_another_subject_makes_it_void(bench: Bench) -> None:
    assert [await ask(bench), await ask(bench), await ask(bench, OTHER)] == ["A-1", "A-1", "A-2"]
    assert await states(bench) == {"A-1": "void", "A-2": "pending"}
    with pytest.raises(Conflict, match="void"):
        await bench.call("approve", OWNER, id="A-1")
    await bench.call("approve", OWNER, id="A-2")
    assert await ask(bench, OTHER) == "A-2"
    assert await ask(bench) == "A-3"  # and what was approved of the other subject may not be used any more
    assert await use(bench, OTHER) is False
    assert await states(bench) == {"A-1": "void", "A-2": "void", "A-3": "pending"}


async def test_who_asked_does_not_decide_it_nor_does_an_agent(bench: Bench) -> None:
    known = await ask(bench, caller=a_person("carol"))
    for caller in (ANN, BOB, an_agent("owner"), a_person("carol")):
        with pytest.raises(Forbidden):
            await bench.call("approve", caller, id=known)
    await bench.call("approve", OWNER, id=known)


async def test_the_leader_lets_many_expire(bench: Bench) -> None:
    for number in range(3):
        await ask(bench, {**DEPLOY, "step_id": f"s{number}"}, topic=f"flow/{number}")
    assert len(await bench.alerts()) == 3
    bench.clock.advance(WEEK)
    assert len(await bench.write(deciding.expire)) == 3
    assert set((await states(bench)).values()) == {"expired"}
    assert await bench.alerts() == []
