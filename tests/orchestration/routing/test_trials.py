"""Breakers as reports move them: by the word of the attempt that tries, by times that were told, by people."""

from dataclasses import replace
from datetime import timedelta
from typing import Any, get_args

import pytest

from tests.support.bench import BOB, OWNER, Bench, a_task
from tests.support.providers import USUAL, FixedProviders, only
from wvo_mcp.domain.providers.catalogue import Catalogue
from wvo_mcp.domain.providers.signals.reading import FailureKind
from wvo_mcp.errors import BudgetExhausted, InvalidInput
from wvo_mcp.operations.providers import Outcome

pytestmark = pytest.mark.anyio


@pytest.fixture
def routed(bench: Bench) -> Bench:
    return configured(bench, USUAL)


def configured(bench: Bench, catalogue: Catalogue) -> Bench:
    bench.services = replace(bench.services, providers=FixedProviders(catalogue))
    bench.workers = True
    bench.limits(wip_limit=50, agent_wip_limit=50)
    return bench


async def events(bench: Bench, kind: str) -> list[dict[str, Any]]:
    found = await bench.read(lambda tx: tx.events.after(0, 500, None, kind))
    return [event.data for event in found]


@pytest.mark.parametrize(
    ("told", "until"),
    [
        ("2026-03-02T12:30:00Z", "2026-03-02T12:30:00.000Z"),
        ("2026-03-02T13:30:00+01:00", "2026-03-02T12:30:00.000Z"),
        ("9999-12-31T23:59:59Z", "2026-03-10T09:00:00.000Z"),  # believed for eight days
    ],
)
@pytest.mark.requirement("PROV-4")
async def test_a_limit_that_tells_when_it_resets_is_kept_to(bench: Bench, told: str, until: str) -> None:
    routed = configured(bench, only("claude"))
    await routed.create(a_task("T"), a_task("U"))
    await routed.claim(task_id="T")

    answer = await routed.call("provider_report", task_id="T", outcome="rate_limit", resets_at=told)

    assert answer["breaker"]["until"] == until
    with pytest.raises(BudgetExhausted) as refused:
        await routed.claim(task_id="U")
    assert refused.value.details["until"] == until


@pytest.mark.requirement("PROV-4")
async def test_a_time_that_is_long_gone_shuts_nobody_out_for_long(bench: Bench) -> None:
    routed = configured(bench, only("claude"))
    report: dict[str, Any] = {"provider": "claude", "tier": "low", "outcome": "capacity"}
    for gone in ("0001-01-01T00:00:00Z", "2026-03-02T08:59:59Z"):
        opened = (await routed.call("provider_report", **report, resets_at=gone))["breaker"]["until"]
        assert "2026-03-02T09:00:01.000Z" <= opened <= "2026-03-02T09:00:05.000Z"


@pytest.mark.requirement("PROV-4")
async def test_a_trial_that_gets_tokens_has_found_its_provider_well_long_before_it_is_done(bench: Bench) -> None:
    routed = configured(bench, only("claude"))
    await routed.create(*(a_task(name, complexity=3) for name in "ABC"))
    await routed.claim(task_id="A")
    failed = await routed.call("provider_report", task_id="A", outcome="rate_limit", retry_after=60)
    assert failed["route"] is None
    routed.clock.advance(seconds=61)
    assert "tries whether" in (await routed.claim(BOB, task_id="B"))["route"]["reason"]
    with pytest.raises(BudgetExhausted):
        await routed.claim(task_id="C")

    # What the attempt from before the failure got may be older than it; nothing came back from this one yet.
    await routed.call("provider_report", task_id="A", tokens_out=500)
    await routed.call("provider_report", BOB, task_id="B", tokens_in=9_000)
    assert await routed.sql("SELECT state, probe_task FROM breakers") == [{"state": "half_open", "probe_task": "B"}]
    told = await routed.call("provider_report", BOB, task_id="B", tokens_out=1)

    assert told["classification"] is None
    assert await routed.sql("SELECT state, probe_task FROM breakers") == [{"state": "closed", "probe_task": None}]
    assert await routed.alerts() == []
    assert (await routed.claim(task_id="C"))["route"]["provider"] == "claude"


@pytest.mark.parametrize(
    "told",
    [
        {"provider": "codex", "tokens_out": 7},
        {"provider": "codex", "outcome": "ok"},
        {"provider": "codex", "outcome": "refusal"},
        {"tier": "low", "tokens_out": 7},
        {"lease_token": 1, "tokens_out": 7},
        {"lease_token": 1, "outcome": "ok"},
        {"lease_token": 1, "outcome": "capacity"},
    ],
    ids=str,
)
@pytest.mark.requirement("PROV-4")
async def test_a_trial_is_decided_by_nothing_but_its_own_provider_and_attempt(
    bench: Bench, told: dict[str, Any]
) -> None:
    routed = configured(bench, only("claude", "codex"))
    await routed.create(a_task("T", complexity=5))
    await routed.claim()
    await routed.call("release_task", task_id="T")
    for name in ("claude", "codex"):
        await routed.call("provider_report", provider=name, tier="medium", outcome="capacity", retry_after=60)
    routed.clock.advance(seconds=61)
    assert "codex" in (await routed.claim())["route"]["reason"]
    await routed.force(
        "UPDATE breakers SET state = 'half_open', probe_task = 'T', probe_until = '2026-03-03T00:00:00.000Z'"
        " WHERE provider = 'claude'"
    )
    await routed.force("UPDATE task_routes SET provider = 'claude'")
    before = await routed.sql("SELECT state, probe_task, failures FROM breakers WHERE provider = 'claude'")

    await routed.call("provider_report", BOB, task_id="T", **told)

    assert await routed.sql("SELECT state, probe_task, failures FROM breakers WHERE provider = 'claude'") == before


@pytest.mark.requirement("PROV-4")
async def test_a_person_who_has_paid_need_not_wait_for_the_time_that_the_provider_told(bench: Bench) -> None:
    routed = configured(bench, only("claude"))
    await routed.create(a_task("T"))
    week: dict[str, Any] = {"provider": "claude", "retry_after": 600_000}
    await routed.call("provider_report", **week, outcome="quota")
    await routed.call("provider_report", **week, tier="high", outcome="capacity")
    assert (await routed.claim())["reason"] == "budget"
    assert [kind for kind, _, _ in await routed.alerts()] == ["all_providers_failing"]
    await routed.call("provider_report", provider="claude", outcome="ok")  # an agent's may be an old one
    await routed.call("provider_report", OWNER, provider="claude", outcome="ok", tokens_out=5)  # as is a run's
    assert (await routed.claim())["reason"] == "budget"

    await routed.call("provider_report", OWNER, provider="claude", outcome="ok")

    assert {row["state"] for row in await routed.sql("SELECT state FROM breakers")} == {"closed"}
    assert await routed.alerts() == []
    assert (await routed.claim())["route"]["provider"] == "claude"


@pytest.mark.parametrize("said", [{"model": "claude-low"}, {"retry_after": 5}, {"error": "paid now"}])
@pytest.mark.requirement("PROV-4")
async def test_a_person_may_say_more_than_that_a_provider_is_well(bench: Bench, said: dict[str, Any]) -> None:
    routed = configured(bench, only("claude"))
    await routed.call("provider_report", provider="claude", outcome="quota", retry_after=600_000)

    await routed.call("provider_report", OWNER, provider="claude", outcome="ok", **said)

    assert {row["state"] for row in await routed.sql("SELECT state FROM breakers")} == {"closed"}


@pytest.mark.sqlite
@pytest.mark.requirement("PROV-5")
async def test_an_outcome_that_is_none_is_told_all_that_are(routed: Bench) -> None:
    assert get_args(Outcome) == ("ok", *FailureKind)
    with pytest.raises(InvalidInput) as wrong:
        await routed.call("provider_report", provider="claude", outcome="fine")

    assert wrong.value.details["field"] == "outcome"
    assert "'rate_limit'" in wrong.value.details["problem"]


@pytest.mark.requirement("PROV-4")
async def test_work_that_another_provider_did_says_nothing_of_the_one_it_was_routed_to(bench: Bench) -> None:
    routed = configured(bench, only("claude", "codex"))
    await routed.create(*(a_task(name, complexity=5) for name in "ABC"))
    await routed.call("provider_report", provider="codex", tier="medium", outcome="capacity", retry_after=60)
    await routed.call("provider_report", provider="claude", tier="medium", outcome="outage")
    routed.clock.advance(seconds=61)
    tried = await routed.claim(task_id="A")
    assert (tried["route"]["provider"], "tries whether" in tried["route"]["reason"]) == ("codex", True)

    # The agent took claude for it.
    await routed.call("provider_report", task_id="A", provider="claude", tier="medium", tokens_in=5)
    await routed.complete("A")

    one = (await routed.sql("SELECT state, probe_task FROM breakers WHERE provider = 'codex'"))[0]
    assert one == {"state": "open", "probe_task": None}
    assert "tries whether" in (await routed.claim(task_id="B"))["route"]["reason"]
    await routed.call("provider_report", task_id="B", provider="codex", tokens_in=5)
    await routed.complete("B")
    assert (await routed.sql("SELECT state FROM breakers WHERE provider = 'codex'"))[0] == {"state": "closed"}


@pytest.mark.requirement("PROV-4")
async def test_a_limit_of_the_account_stops_all_its_tiers_and_that_of_a_model_its_own(bench: Bench) -> None:
    routed = configured(bench, only("claude"))
    resets = int((routed.clock.now() + timedelta(hours=2)).timestamp())
    for kind, tier in (("seven_day_opus", "high"), ("five_hour", "")):
        info = f'{{"status":"rejected","resetsAt":{resets},"rateLimitType":"{kind}"}}'
        printed = f'{{"type":"rate_limit_event","rate_limit_info":{info}}}'
        told = await routed.call("provider_report", provider="claude", tier="high", exit_code=1, output=printed)

        assert told["classification"]["kind"] == "rate_limit"
        assert (told["breaker"]["tier"] or "", told["breaker"]["until"]) == (tier, "2026-03-02T11:00:00.000Z")
    assert (await routed.call("route_task", complexity=1))["route"] is None


@pytest.mark.requirement("PROV-4", "SAFE-3")
async def test_what_is_kept_of_a_report_is_one_printable_line(routed: Bench) -> None:
    odd = "\x1b[2J\x1b]0;title\x07 slow\r\ndown\x00"[:-1]

    told = await routed.call(
        "provider_report", provider="claude", tier="low", outcome="capacity", error=odd, model="\x1b[31mred\none"
    )

    assert (told["classification"]["message"], told["model"]) == ("slow down", "red one")
    kept = (await routed.sql("SELECT reason FROM breakers"))[0]["reason"]
    assert kept == "slow down"


@pytest.mark.requirement("PROV-4")
async def test_whoever_waits_for_a_trial_is_told_to_ask_again_within_a_minute(bench: Bench) -> None:
    routed = configured(bench, only("claude"))
    await routed.create(a_task("A"), a_task("B"))
    await routed.call("provider_report", provider="claude", tier="medium", outcome="capacity", retry_after=60)
    routed.clock.advance(seconds=61)
    assert (await routed.claim())["task"]["id"] == "A"

    assert (await routed.claim(BOB))["retry_after"] == 61  # though the trial is leased for 15 minutes
    with pytest.raises(BudgetExhausted) as refused:
        await routed.claim(BOB, task_id="B")
    assert refused.value.details["until"] == "2026-03-02T09:02:01.000Z"
    route = await routed.call("route_task", BOB, task_id="B")
    assert route["until"] == "2026-03-02T09:16:01.000Z"  # what is known of the end of the trial
    await routed.call("provider_report", task_id="A", tokens_out=5)
    assert (await routed.claim(BOB))["task"]["id"] == "B"


@pytest.mark.requirement("PROV-4")
async def test_a_probe_without_a_report_blocks_others_for_fifteen_minutes(bench: Bench) -> None:
    routed = configured(bench, only("claude"))
    await routed.create(a_task("A"), a_task("B"))
    await routed.call("provider_report", provider="claude", tier="medium", outcome="capacity", retry_after=60)
    routed.clock.advance(seconds=61)
    assert (await routed.claim(lease_seconds=86_400))["task"]["id"] == "A"
    routed.clock.advance(seconds=15 * 60 - 0.001)
    assert (await routed.claim(BOB))["reason"] == "budget"
    routed.clock.advance(0.001)

    assert "tries whether" in (await routed.claim(BOB))["route"]["reason"]
