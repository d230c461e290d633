"""A budget that keeps work back is asked for once, raised once, exactly as it was shown."""

from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest

from tests.support.bench import ANN, BOB, OWNER, Bench, a_task
from tests.support.providers import FixedProviders, limited, only
from tests.support.sessions import a_person, an_agent
from wvo_mcp.domain.lease import Role
from wvo_mcp.domain.providers.catalogue import Catalogue, Limits
from wvo_mcp.errors import BudgetExhausted, Conflict, Forbidden
from wvo_mcp.operations import ALL
from wvo_mcp.orchestration.approvals import deciding
from wvo_mcp.orchestration.routing import overview
from wvo_mcp.ports.providers import Spent

pytestmark = [pytest.mark.anyio, pytest.mark.both_stores, pytest.mark.requirement("APPR-1", "APPR-2")]


def keeping(limits: Limits) -> Catalogue:
    return limited("claude", limits, only("claude"))


async def exhausted(bench: Bench, limits: Limits, used: int = 30_000) -> Bench:
    """One task, and nothing left of the budget of claude."""
    bench.services, bench.workers = replace(bench.services, providers=FixedProviders(keeping(limits))), True
    await bench.create(a_task("T", complexity=1))
    await bench.write(lambda tx: tx.routing.record(Spent("zoe", "claude", "low", "m", used, used)))
    assert (await bench.claim())["reason"] == "budget"
    return bench


async def now_limited(bench: Bench, limits: Limits) -> None:
    bench.services = replace(bench.services, providers=FixedProviders(keeping(limits)))


async def rows(bench: Bench) -> list[tuple[str, str]]:
    found = await bench.sql("SELECT approval_id, state, kind FROM approvals ORDER BY seq")
    assert {one["kind"] for one in found} <= {"budget"}
    return [(one["approval_id"], one["state"]) for one in found]


async def raises(bench: Bench) -> list[dict[str, Any]]:
    return await bench.sql("SELECT scope, name, period, tokens, by_agent FROM budget_raises ORDER BY id")


async def open_about(bench: Bench) -> str:
    (line,) = (await bench.call("approvals", OWNER, state="open"))["approvals"]
    return str(line["about"])


async def test_it_is_asked_for_once_however_many_claims_meet_it(bench: Bench) -> None:
    short = await exhausted(bench, Limits(hourly=30_000))
    for caller in (ANN, BOB, an_agent("eve")):
        assert (await short.claim(caller))["task"] is None
        with pytest.raises(BudgetExhausted):
            await short.claim(caller, task_id="T")
        short.clock.advance(minutes=5)

    assert await rows(short) == [("A-1", "pending")]
    assert await open_about(short) == (
        "raise the budget of provider claude from 30,000 to 50,000 tokens per hour, for 60 minutes from then on; work"
        " that waits wants about 20,000"
    )
    (alert,) = await short.read(lambda tx: tx.alerts.open_alerts(9))
    assert 'wvo-mcp approve A-1   or: wvo-mcp deny A-1 "reason"' in alert["message"]


async def test_asking_costs_no_lease_no_work_in_progress_and_no_process(bench: Bench) -> None:
    short = await exhausted(bench, Limits(hourly=30_000))
    task = await short.task("T")
    assert (task.status, task.session_id, task.lease_token, task.assigned_to) == ("pending", None, 0, None)
    assert await short.sql("SELECT * FROM workers") == []
    assert await short.sql("SELECT * FROM agent_pool WHERE current_task_id IS NOT NULL") == []


async def test_approved_exactly_this_is_raised_once_and_the_work_goes_on(bench: Bench) -> None:
    short = await exhausted(bench, Limits(hourly=30_000))

    answer = await short.call("approve", OWNER, id="A-1", reason="go on")

    assert (answer["approval"]["state"], answer["approval"]["decided_by"]) == ("used", "owner")
    expected = {"scope": "provider", "name": "claude", "period": "hour", "tokens": 20_000, "by_agent": "owner"}
    assert await raises(short) == [expected]
    assert await short.alerts() == []
    assert (await short.claim())["task"]["id"] == "T"
    with pytest.raises(Conflict, match="already approved by owner"):
        await short.call("approve", a_person("carol"), id="A-1")
    with pytest.raises(Conflict, match="already approved by owner"):
        await short.call("deny", a_person("carol"), id="A-1", reason="no")
    assert await raises(short) == [expected]


@pytest.mark.parametrize("period", ["hour", "day"])
async def test_a_raise_is_over_with_its_period(bench: Bench, period: str) -> None:
    limits = Limits(hourly=30_000) if period == "hour" else Limits(daily=30_000)
    short = await exhausted(bench, limits)
    await short.call("approve", OWNER, id="A-1")
    (row,) = await short.sql("SELECT until FROM budget_raises")
    ends = {"hour": 3_600, "day": (datetime.fromisoformat("2026-03-03T00:00:00Z") - short.clock.now()).total_seconds()}
    assert (datetime.fromisoformat(row["until"]) - short.clock.now()).total_seconds() == ends[period]


@pytest.mark.parametrize("period", ["hour", "day"])
async def test_denied_it_is_not_asked_for_again_in_the_period(bench: Bench, period: str) -> None:
    limits = Limits(hourly=30_000) if period == "hour" else Limits(daily=30_000)
    short = await exhausted(bench, limits)
    await short.call("deny", OWNER, id="A-1", reason="enough for now")
    for minutes in (0, 30, 29):
        short.clock.advance(minutes=minutes)
        await short.claim()
        assert await rows(short) == [("A-1", "denied")]
    assert await raises(short) == []

    short.clock.advance(minutes=2 if period == "hour" else 24 * 60)
    await short.write(lambda tx: tx.routing.record(Spent("zoe", "claude", "low", "m", 30_000, 30_000)))
    await short.claim()

    assert await rows(short) == [("A-1", "denied"), ("A-2", "pending")]


async def test_silence_is_a_no_for_the_period_too(bench: Bench) -> None:
    bench.limits(approval_seconds=60)
    short = await exhausted(bench, Limits(daily=30_000))
    short.clock.advance(60)
    assert (await short.claim())["task"] is None  # before the leader has written it down
    with pytest.raises(Conflict, match="has expired") as late:
        await short.call("approve", OWNER, id="A-1")
    assert "None" not in f"{late.value.message} {late.value.hint}"
    assert await rows(short) == [("A-1", "expired")]
    await short.claim()
    assert await rows(short) == [("A-1", "expired")]
    assert await raises(short) == []


async def test_the_question_of_a_day_ends_with_the_day(bench: Bench) -> None:
    bench.limits(approval_seconds=864_000)
    short = await exhausted(bench, Limits(daily=30_000))
    assert "until the end of 2026-03-02, UTC" in await open_about(short)
    midnight = datetime.fromisoformat("2026-03-03T00:00:00Z")
    short.clock.advance((midnight - short.clock.now()).total_seconds())
    with pytest.raises(Conflict, match="has expired"):
        await short.call("approve", OWNER, id="A-1")
    assert await raises(short) == []


async def test_it_is_void_once_a_person_has_raised_the_limit_by_a_command(bench: Bench) -> None:
    short = await exhausted(bench, Limits(hourly=30_000))
    raised = await ALL["budget_raise"](short.services, OWNER, {"scope": "provider", "name": "claude", "hourly": 1})
    assert raised["resolved"] is False
    assert await rows(short) == [("A-1", "void")]
    with pytest.raises(Conflict, match="void"):
        await short.call("approve", a_person("carol"), id="A-1")
    await short.claim()
    assert await rows(short) == [("A-1", "void"), ("A-2", "pending")]
    assert "from 30,001 to 50,000" in await open_about(short)


@pytest.mark.parametrize("verdict", ["approve", "deny"])
async def test_it_is_void_when_the_limit_changed_meanwhile(bench: Bench, verdict: str) -> None:
    short = await exhausted(bench, Limits(hourly=30_000))
    await now_limited(short, Limits(hourly=20_000))
    with pytest.raises(Conflict, match="is void"):
        await short.call(verdict, OWNER, id="A-1", reason="as shown")
    assert await rows(short) == [("A-1", "void")]
    assert await raises(short) == []


async def test_a_question_that_nothing_waits_for_any_more_is_void(bench: Bench) -> None:
    short = await exhausted(bench, Limits(hourly=30_000))
    short.clock.advance(minutes=62)
    assert short.services.providers is not None
    await overview.refresh(short.services.providers, short.store, ANN)
    assert await rows(short) == [("A-1", "void")]
    assert await short.alerts() == []


async def test_each_budget_is_asked_for_by_itself_and_is_news(bench: Bench) -> None:
    short = await exhausted(bench, Limits(hourly=30_000, daily=40_000))
    assert await rows(short) == [("A-1", "pending"), ("A-2", "pending")]
    await short.call("approve", OWNER, id="A-1")
    assert [one["period"] for one in await raises(short)] == ["hour"]
    assert await rows(short) == [("A-1", "used"), ("A-2", "pending")]
    (alert,) = await short.read(lambda tx: tx.alerts.open_alerts(9))
    assert "wvo-mcp approve A-2" in alert["message"]

    await short.write(lambda tx: tx.routing.record(Spent("zoe", "claude", "low", "m", 30_000, 30_000)))
    await short.claim()

    assert await rows(short) == [("A-1", "used"), ("A-2", "pending"), ("A-3", "pending")]
    raised = await short.sql("SELECT change FROM alert_news ORDER BY id")
    assert [one["change"] for one in raised] == ["raised", "resolved", "raised"]


async def test_neither_agents_nor_operators_raise_a_budget_by_it(bench: Bench) -> None:
    short = await exhausted(bench, Limits(hourly=30_000))
    operator = replace(a_person("op"), role=Role.OPERATOR)
    same = replace(a_person("x"), agent_id=ANN.agent_id)
    session = replace(a_person("x"), session_id=ANN.session_id)
    for caller in (ANN, BOB, an_agent("owner"), operator, same, session):
        with pytest.raises(Forbidden):
            await short.call("approve", caller, id="A-1")
    assert (await rows(short), await raises(short)) == ([("A-1", "pending")], [])
    await short.call("deny", operator, id="A-1", reason="no")
    assert await rows(short) == [("A-1", "denied")]


async def test_a_person_who_met_it_may_decide_it(bench: Bench) -> None:
    bench.services, bench.workers = (
        replace(bench.services, providers=FixedProviders(keeping(Limits(hourly=30_000)))),
        True,
    )
    await bench.create(a_task("T", complexity=1))
    await bench.write(lambda tx: tx.routing.record(Spent("zoe", "claude", "low", "m", 30_000, 30_000)))
    await bench.claim(OWNER)
    assert (await bench.call("approve", OWNER, id="A-1"))["approval"]["state"] == "used"


async def test_reservations_alone_ask_nobody(bench: Bench) -> None:
    bench.services, bench.workers = (
        replace(bench.services, providers=FixedProviders(keeping(Limits(hourly=30_000)))),
        True,
    )
    bench.limits(agent_wip_limit=9)
    await bench.create(a_task("T1", complexity=1), a_task("T2", complexity=1))
    assert (await bench.claim())["task"]["id"] == "T1"
    assert (await bench.claim(BOB))["task"] is None
    assert await rows(bench) == []


async def test_the_leader_writes_down_that_nobody_answered(bench: Bench) -> None:
    bench.limits(approval_seconds=60)
    short = await exhausted(bench, Limits(hourly=30_000))
    short.clock.advance(61)
    assert [one.approval_id for one in await short.write(deciding.expire)] == ["A-1"]
    assert await rows(short) == [("A-1", "expired")]
    kinds = await short.sql("SELECT kind FROM events WHERE kind LIKE 'approval.%' ORDER BY seq")
    assert [one["kind"] for one in kinds] == ["approval.asked", "approval.decided"]
