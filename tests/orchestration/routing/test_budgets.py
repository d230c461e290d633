"""Budgets: windows that slide, what a refusal says, who is asked, and how people let work go on."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from tests.support.bench import ANN, BOB, OWNER, Bench, a_task
from tests.support.clock import START
from tests.support.providers import FixedProviders, a_provider, limited, only
from tests.support.watching import seated
from wvo_mcp.domain.instant import iso
from wvo_mcp.domain.lease import Policy
from wvo_mcp.domain.providers.breaker import Breaker, BreakerState
from wvo_mcp.domain.providers.catalogue import Catalogue, Limits, Tier
from wvo_mcp.errors import BudgetExhausted, InvalidInput, NotFound
from wvo_mcp.operations import ALL, Audience, tools
from wvo_mcp.orchestration import background
from wvo_mcp.orchestration.routing import overview
from wvo_mcp.ports.providers import Spent

pytestmark = [pytest.mark.anyio, pytest.mark.both_stores]


def configured(bench: Bench, catalogue: Catalogue) -> Bench:
    bench.services, bench.workers = replace(bench.services, providers=FixedProviders(catalogue)), True
    bench.limits(wip_limit=50, agent_wip_limit=50)
    return bench


def hourly(tokens: int, **more: int) -> Catalogue:
    return limited("claude", Limits(hourly=tokens, **more), only("claude"))


async def spend(bench: Bench, tokens: int, tier: str = "low", agent: str = "zoe", task: str | None = None) -> None:
    spent = Spent(agent, "claude", tier, "m", tokens, tokens, task_id=task)
    await bench.write(lambda tx: tx.routing.record(spent))


async def raise_budget(bench: Bench, **given: object) -> dict[str, Any]:
    return await ALL["budget_raise"](bench.services, OWNER, given)


async def look(bench: Bench) -> None:
    """What the leader does before each health cycle."""
    assert bench.services.providers is not None
    await overview.refresh(bench.services.providers, bench.store, ANN)


async def written(bench: Bench) -> str:
    """All that a refused claim may write but the agent's sign of life."""
    rows = [await bench.sql(f"SELECT * FROM {table} ORDER BY id") for table in ("alerts", "alert_news")]
    return str((rows, await bench.sql("SELECT count(*) AS n FROM events")))


@pytest.mark.requirement("PROV-3")
async def test_the_hour_slides_by_whole_minutes_and_the_claim_says_when_there_is_room(bench: Bench) -> None:
    routed = configured(bench, hourly(30_000))
    await routed.create(a_task("T", complexity=1))
    routed.clock.advance(seconds=20)
    await spend(routed, 20_000)  # 09:00:20
    routed.clock.advance(minutes=30)
    await spend(routed, 10_000)  # 09:30:20: full

    refused = await routed.claim()

    # 20,000 are wanted: those of 09:00 leave at 10:01:00.
    assert refused["retry_after"] == 30 * 60 + 40 + 1
    free = START + timedelta(minutes=61)
    with pytest.raises(BudgetExhausted) as named:
        await routed.claim(task_id="T")
    assert named.value.details["until"] == iso(free)
    for at, granted in ((timedelta(minutes=59, seconds=59), False), (timedelta(minutes=60), False)):
        routed.clock.advance((START + at - routed.clock.now()).total_seconds())
        assert ((await routed.claim())["task"] is not None) is granted
    routed.clock.advance((free - routed.clock.now()).total_seconds() - 0.001)
    assert (await routed.claim())["task"] is None
    routed.clock.advance(0.001)
    assert (await routed.claim())["task"]["id"] == "T"


@pytest.mark.requirement("PROV-3")
async def test_the_day_ends_at_midnight_utc_and_a_clock_that_jumps_back_frees_nothing(bench: Bench) -> None:
    routed = configured(bench, limited("claude", Limits(daily=30_000), only("claude")))
    await routed.create(a_task("T", complexity=1))
    midnight = datetime.fromisoformat("2026-03-03T00:00:00Z")
    routed.clock.advance((midnight - routed.clock.now()).total_seconds() - 1)
    await spend(routed, 30_000)

    assert (await routed.claim())["retry_after"] == 2
    routed.clock.jump(-86_400)
    assert (await routed.claim())["task"] is None
    routed.clock.jump(86_400)
    routed.clock.advance(0.999)
    assert (await routed.claim())["task"] is None
    routed.clock.advance(0.001)
    assert (await routed.claim())["task"]["id"] == "T"


@pytest.mark.requirement("PROV-3")
async def test_retry_time_is_the_last_of_a_providers_windows_and_the_first_provider(bench: Bench) -> None:
    claude = a_provider("claude", tier_limits={Tier.LOW: Limits(hourly=20_000)}, limits=Limits(hourly=50_000))
    codex = replace(a_provider("codex"), limits=Limits(daily=20_000))
    routed = configured(bench, replace(Catalogue((claude, codex)), agent_limits=Limits(hourly=90_000)))
    await routed.create(a_task("T", complexity=1))
    await spend(routed, 45_000, "high")  # the provider's window frees at 10:01
    routed.clock.advance(minutes=10)
    await spend(routed, 20_000)  # the tier's at 10:11
    await routed.write(lambda tx: tx.routing.record(Spent("zoe", "codex", "low", "m", 20_000)))
    routed.clock.advance(minutes=5)

    assert (await routed.claim())["retry_after"] == 56 * 60 + 1
    windows = (await routed.read(lambda tx: tx.alerts.find("budget_exhausted", None)) or {})["evidence"]["windows"]
    names = {(one["scope"], one["name"], one["period"]) for one in windows}
    assert names == {("provider", "claude", "hour"), ("tier", "claude/low", "hour"), ("provider", "codex", "day")}
    await spend(routed, 80_000, "medium", "ann")
    routed.clock.advance(minutes=5)
    own = await routed.claim()
    assert "agent ann" not in own["explanation"]  # the first that stands in the way is told
    windows = (await routed.read(lambda tx: tx.alerts.find("budget_exhausted", None)) or {})["evidence"]["windows"]
    assert ("agent", "ann", "hour") in {(one["scope"], one["name"], one["period"]) for one in windows}


@pytest.mark.requirement("PROV-3", "HEALTH-2")
async def test_the_claim_of_a_named_task_asks_a_person_too_though_it_is_an_error(bench: Bench) -> None:
    routed = configured(bench, hourly(30_000))
    await routed.create(a_task("T", complexity=1))
    await spend(routed, 30_000)
    for caller in (ANN, BOB, ANN):
        with pytest.raises(BudgetExhausted) as refused:
            await routed.claim(caller, task_id="T")
        assert "raise the budget" in refused.value.hint

    alert = (await routed.call("alerts"))["alerts"][0]
    assert (alert["kind"], alert["severity"], alert["times"]) == ("budget_exhausted", "critical", 1)
    assert await routed.status("T") == ["pending"]
    before = await written(routed)
    with pytest.raises(BudgetExhausted):
        await routed.claim(BOB, task_id="T")
    assert await written(routed) == before
    await routed.call("routing_mode", mode="local")
    with pytest.raises(BudgetExhausted) as refused:
        await routed.claim(BOB, task_id="T")
    assert "raise the budget" not in refused.value.hint  # that would not help


@pytest.mark.requirement("PROV-3", "HEALTH-2")
async def test_a_used_up_budget_raises_one_alert_however_many_claims_meet_it(bench: Bench) -> None:
    routed = configured(bench, hourly(30_000))
    await routed.create(a_task("T", complexity=1))
    await spend(routed, 30_000)
    assert (await routed.claim())["reason"] == "budget"

    alert = (await routed.call("alerts"))["alerts"][0]

    assert (alert["kind"], alert["severity"]) == ("budget_exhausted", "critical")
    assert "provider claude, hour: 30,000 of 30,000 tokens used" in alert["message"]
    assert "there is room again at 2026-03-02 10:01 UTC" in alert["message"]
    assert "wvo-mcp budget raise provider claude --hourly 20000" in alert["message"]
    before = await written(routed)
    for caller in (ANN, BOB) * 3:
        assert (await routed.claim(caller))["reason"] == "budget"
    assert await written(routed) == before
    routed.clock.advance(seconds=61)
    await routed.claim()
    assert (await routed.call("alerts"))["alerts"][0]["times"] == 2
    await look(routed)
    assert [kind for kind, _, _ in await routed.alerts()] == ["budget_exhausted"]
    routed.clock.advance(minutes=60)
    await look(routed)
    assert await routed.alerts() == []


@pytest.mark.requirement("PROV-3")
async def test_what_is_only_reserved_needs_nobody_and_nothing_that_runs_is_stopped(bench: Bench) -> None:
    routed = configured(bench, hourly(30_000))
    await routed.create(a_task("A", complexity=1), a_task("B", complexity=1))
    await routed.claim(task_id="A")
    assert (await routed.claim(BOB))["reason"] == "budget"
    assert await routed.alerts() == [("budget_exhausted", "warning", None)]
    await routed.call("provider_report", task_id="A", tokens_in=500_000)  # more than everything

    await routed.call("heartbeat", task_id="A")
    await routed.call("checkpoint", task_id="A", summary="half")
    assert (await routed.complete("A"))["task"]["status"] == "done"
    routed.clock.advance(seconds=61)
    assert (await routed.claim(BOB))["reason"] == "budget"
    assert await routed.alerts() == [("budget_exhausted", "critical", None)]


@pytest.mark.requirement("PROV-3")
async def test_a_person_lets_work_go_on(bench: Bench) -> None:
    routed = configured(bench, replace(hourly(30_000), agent_limits=Limits(daily=10_000_000)))
    await routed.create(a_task("A", complexity=1), a_task("B", complexity=1))
    await spend(routed, 30_000)
    assert (await routed.claim())["reason"] == "budget"

    raised = await raise_budget(
        routed, scope="provider", name="claude", hourly=20_000, duration="2h", reason="the demo"
    )

    assert raised["raised"] == [{"period": "hour", "tokens": 20_000, "until": "2026-03-02T11:00:00.000Z"}]
    assert (raised["resolved"], await routed.alerts()) == (True, [])
    assert (await routed.claim())["task"]["id"] == "A"
    assert (await routed.claim())["reason"] == "budget"
    shown = await routed.call("budget_show", OWNER)
    window = next(one for one in shown["windows"] if one["scope"] == "provider")
    assert (window["limit"], window["raised"], window["used"], window["reserved"]) == (50_000, 20_000, 30_000, 20_000)
    assert [(one["by_agent"], one["reason"]) for one in shown["raises"]] == [("owner", "the demo")]
    event = (await routed.read(lambda tx: tx.events.after(0, 9, None, "budget.raised")))[0]
    assert (event.agent_id, event.data["tokens"], event.data["reason"]) == ("owner", 20_000, "the demo")
    routed.clock.advance(hours=2)
    assert (await routed.call("budget_show", OWNER))["raises"] == []


@pytest.mark.requirement("PROV-3")
@pytest.mark.sqlite
async def test_raising_is_peoples_and_names_what_is_wrong(bench: Bench) -> None:
    routed = configured(bench, hourly(30_000))
    assert ALL["budget_raise"].audience is ALL["budget_show"].audience is Audience.PEOPLE
    assert not [op.name for op in tools() if "budget" in op.name or "raise" in op.name]
    good = {"scope": "provider", "name": "claude", "hourly": 1}

    for wrong, field in (
        ({"hourly": 0}, "hourly"),
        ({"hourly": None}, "hourly"),
        ({"hourly": None, "daily": 5}, "daily"),
        ({"duration": "soon"}, "duration"),
        ({"duration": "41d"}, "duration"),
        ({"duration": "0h"}, "duration"),
        ({"scope": "world"}, "scope"),
        ({"scope": "agent", "name": "no id!"}, "name"),
    ):
        with pytest.raises(InvalidInput) as caught:
            await raise_budget(routed, **{**good, **wrong})
        assert caught.value.details["field"] == field
    for scope, name, near in (("provider", "cluade", "claude"), ("tier", "claude/hihg", "claude/high")):
        with pytest.raises(NotFound) as unknown:
            await raise_budget(routed, **{**good, "scope": scope, "name": name})
        assert unknown.value.details["near"][0] == near
    with pytest.raises(NotFound):
        await raise_budget(routed, **{**good, "scope": "task", "name": "T404"})


@pytest.mark.requirement("PROV-4", "HEALTH-2")
async def test_the_alert_is_critical_while_all_breakers_are_open_until_one_recovers(bench: Bench) -> None:
    routed = configured(bench, only("claude", "codex"))
    await routed.create(a_task("T"))
    for name in ("claude", "codex"):
        until = routed.clock.now() + timedelta(minutes=30)
        opened = Breaker(name, "", BreakerState.OPEN, "outage", 1, until, opened_at=START, reason="no answer")
        await routed.write(lambda tx, opened=opened: tx.routing.put_breaker(opened))

    assert (await routed.claim())["retry_after"] == 1_801
    assert await routed.alerts() == [("all_providers_failing", "critical", None)]
    before = await written(routed)
    await routed.claim(BOB)
    assert await written(routed) == before
    await look(routed)
    rows = await routed.sql("SELECT provider, state, reason FROM provider_states ORDER BY provider")
    assert rows == [{"provider": n, "state": "open", "reason": "open: no answer"} for n in ("claude", "codex")]
    routed.clock.advance(minutes=31)
    await routed.claim()
    await look(routed)
    assert {row["state"] for row in await routed.sql("SELECT state FROM provider_states")} == {"open"}
    await routed.complete("T")
    assert await routed.alerts() == []
    await look(routed)
    assert sorted(row["state"] for row in await routed.sql("SELECT state FROM provider_states")) == ["closed", "open"]


@pytest.mark.requirement("PROV-3")
async def test_a_task_that_took_all_it_may_waits_and_asks_until_it_is_settled(bench: Bench) -> None:
    routed = configured(bench, replace(only("claude"), task_limits=Limits(daily=50_000)))
    await routed.create(a_task("T", complexity=1))
    await routed.claim()
    await routed.call("provider_report", task_id="T", tokens_in=50_000)
    await routed.call("release_task", task_id="T")

    assert (await routed.claim())["reason"] == "budget"
    alert = (await routed.call("alerts"))["alerts"][0]
    assert "wvo-mcp budget raise task T --daily 25000" in alert["message"]
    await look(routed)
    assert len(await routed.alerts()) == 1
    await routed.call("cancel", OWNER, task_id="T")
    await look(routed)
    assert await routed.alerts() == []


@pytest.mark.requirement("PROV-3", "HEALTH-2")
async def test_health_warns_when_a_window_is_nearly_used_up(bench: Bench) -> None:
    catalogue = replace(hourly(100_000, daily=1_000_000), agent_limits=Limits(daily=60_000), warn_at=0.5)
    routed = configured(bench, catalogue)
    assert routed.services.providers is not None
    health = routed.services.health
    assert health is not None
    await spend(routed, 49_999, agent="zoe")
    await look(routed)
    await routed.call("health_run", OWNER)
    evidence = ((await routed.call("alerts"))["alerts"] or [{}])[0]["evidence"]
    assert (evidence["providers"], [one["scope"] for one in evidence["windows"]]) == ([], ["agent"])
    await spend(routed, 1, agent="zoe")
    await look(routed)

    await routed.call("health_run", OWNER)

    alert = (await routed.call("alerts"))["alerts"][0]
    assert (alert["kind"], alert["severity"]) == ("provider_capacity", "warning")
    assert alert["message"] == "Nearly used up: claude, agent zoe."
    assert alert["evidence"]["providers"] == [{"provider": "claude", "used": 50_000, "capacity": 100_000}]
    assert alert["evidence"]["threshold"] == 0.5
    routed.clock.advance(days=1)
    await look(routed)
    await routed.call("health_run", OWNER)
    assert await routed.alerts() == []


@pytest.mark.requirement("PROV-5")
async def test_the_status_shows_how_every_provider_stands(bench: Bench) -> None:
    routed = configured(bench, limited("claude", Limits(100_000), only("claude", "ollama")))
    await routed.create(a_task("T", complexity=2, type="generation"))
    await routed.claim()
    await routed.call("provider_report", task_id="T", tokens_in=6_000)
    await routed.call("provider_report", provider="ollama", tier="low", outcome="rate_limit", retry_after=60)

    told = await routed.call("provider_status")

    claude, ollama = told["providers"]
    assert (claude["place"], claude["enabled"], claude["state"]) == ("cloud", True, "closed")
    assert claude["tiers"]["low"] == "claude-low"
    assert (claude["tokens_hour"], claude["reserved"], claude["attempts_day"]) == (6_000, 14_000, 1)
    assert (claude["share"], claude["target"]) == (100.0, 70.0)
    window = claude["windows"][0]
    assert (window["used"], window["reserved"], window["left"]) == (6_000, 14_000, 80_000)
    assert (ollama["state"], ollama["breakers"][0]["tier"]) == ("closed", "low")
    assert ollama["breakers"][0]["until"] == "2026-03-02T09:01:00.000Z"
    assert told["totals"]["cloud"]["tokens_hour"] == 6_000
    assert told["mode"] == "hybrid"


@pytest.mark.requirement("PROV-3")
async def test_the_leader_forgets_usage_after_forty_days(bench: Bench) -> None:
    routed = configured(bench, hourly(30_000))
    (forget,) = [one for one in background.leader_jobs(routed.services.roadmap, Policy()) if one.name == "forget"]
    await spend(routed, 1)
    routed.clock.advance(days=39)
    await forget.run(await seated(routed, ANN))
    assert len(await routed.sql("SELECT * FROM usage")) == 1
    routed.clock.advance(days=2)
    await forget.run(await seated(routed, ANN))
    assert await routed.sql("SELECT * FROM usage") == []


@pytest.mark.requirement("PROV-3")
async def test_the_hour_of_a_task_ends_to_the_minute_as_all_others_do(bench: Bench) -> None:
    routed = configured(bench, replace(only("claude"), task_limits=Limits(hourly=50_000)))
    await routed.create(a_task("T", complexity=1))
    await routed.claim()
    await routed.call("provider_report", task_id="T", tokens_in=40_000)  # 09:00
    routed.clock.advance(minutes=10)
    await routed.call("provider_report", task_id="T", tokens_in=10_000)
    await routed.call("release_task", task_id="T")

    refused = await routed.claim()

    free = START + timedelta(minutes=61)  # then the 40,000 are gone
    assert refused["retry_after"] == (free - routed.clock.now()).total_seconds() + 1
    assert (await routed.call("alerts"))["alerts"][0]["evidence"]["windows"][0]["room_at"] == iso(free)
    routed.clock.advance((free - routed.clock.now()).total_seconds())
    assert (await routed.claim())["task"]["id"] == "T"


@pytest.mark.requirement("PROV-3", "PROV-5")
async def test_what_an_agent_has_reserved_is_not_shown_as_left(bench: Bench) -> None:
    routed = configured(bench, replace(only("claude"), agent_limits=Limits(hourly=100_000)))
    await routed.create(a_task("T", complexity=1))
    await spend(routed, 30_000, agent="ann")
    await spend(routed, 10_000, agent="bob")
    await routed.claim(ANN)

    shown = (await routed.call("budget_show", OWNER))["windows"]

    assert {one["name"]: (one["used"], one["reserved"], one["left"]) for one in shown} == {
        "ann": (30_000, 20_000, 50_000),
        "bob": (10_000, 0, 90_000),
    }


@pytest.mark.requirement("PROV-3")
async def test_claims_keep_to_the_limit_again_when_a_raise_is_over(bench: Bench) -> None:
    routed = configured(bench, limited("claude", Limits(daily=30_000), only("claude")))
    await routed.create(a_task("A", complexity=1), a_task("B", complexity=1))
    await spend(routed, 30_000)
    await raise_budget(routed, scope="provider", name="claude", daily=50_000, duration="2h")
    assert (await routed.claim())["task"]["id"] == "A"
    await routed.complete("A")
    routed.clock.advance(hours=2)

    assert (await routed.claim())["reason"] == "budget"
