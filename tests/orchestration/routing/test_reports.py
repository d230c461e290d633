"""What attempts report: counted once, settled, fed to the breakers, routed anew."""

from dataclasses import replace
from typing import Any

import pytest

from tests.support.bench import ANN, BOB, Bench, a_task
from tests.support.providers import USUAL, FixedProviders, a_provider, limited, only
from wvo_mcp.domain.providers.catalogue import Catalogue, Limits
from wvo_mcp.errors import InvalidInput, NotFound, RequestIdReused
from wvo_mcp.operations import ALL

pytestmark = pytest.mark.anyio

KEY = "sk-ant-" + "api03-" + "a1B2" * 20 + "-AAAAAA"


@pytest.fixture
def routed(bench: Bench) -> Bench:
    return configured(bench, USUAL)


def configured(bench: Bench, catalogue: Catalogue | None) -> Bench:
    bench.services = replace(bench.services, providers=FixedProviders(catalogue))
    bench.workers = True
    bench.limits(wip_limit=50, agent_wip_limit=50)
    return bench


async def use(bench: Bench, provider: str) -> tuple[int, int]:
    """(tokens of the hour, reserved)."""
    found = (await bench.read(lambda tx: tx.routing.state("ann"))).providers.get(provider)
    return (0, 0) if found is None else (found.hour, found.reserved)


async def events(bench: Bench, kind: str) -> list[dict[str, Any]]:
    found = await bench.read(lambda tx: tx.events.after(0, 500, None, kind))
    return [event.data for event in found]


@pytest.mark.requirement("PROV-3", "PROV-5")
async def test_a_report_counts_settles_and_says_what_is_left(bench: Bench) -> None:
    routed = configured(bench, limited("claude", Limits(100_000, 200_000), only("claude")))
    await routed.create(a_task("T", complexity=3))
    await routed.claim()

    told = await routed.call("provider_report", task_id="T", tokens_in=1_000, tokens_out=500, tokens_cached=10_000)

    cost = (1_000 * 3 + 500 * 12 + 10_000 * 0.3) / 1e6
    counted = {"tokens": 2_500, "tokens_in": 1_000, "tokens_out": 500, "tokens_cached": 10_000}
    assert told["counted"] == {**counted, "cost": pytest.approx(cost), "settled": True}
    assert (told["provider"], told["tier"], told["model"]) == ("claude", "low", "claude-low")
    budget = told["budget"]
    assert (budget["period"], budget["used"], budget["reserved"], budget["left"]) == ("hour", 2_500, 17_500, 80_000)
    assert budget["resets_at"] == "2026-03-02T10:01:00.000Z"
    assert (told["classification"], told["route"]) == (None, None)
    assert (await events(routed, "provider.reported"))[0]["tokens"] == 2_500
    used = await routed.read(lambda tx: tx.routing.state("ann"))
    assert used.providers["claude"].cost == pytest.approx(cost)


@pytest.mark.requirement("PROV-3")
async def test_the_same_report_counts_once(routed: Bench) -> None:
    await routed.create(a_task("T"))
    await routed.claim()
    report: dict[str, Any] = {"task_id": "T", "tokens_in": 700, "request_id": "r1"}

    first = await routed.call("provider_report", **report)
    again = await routed.call("provider_report", **report)

    assert first == again
    assert (await use(routed, "gemini"))[0] == 700
    with pytest.raises(RequestIdReused):
        await ALL["provider_report"](routed.services, ANN, {**report, "tokens_in": 701})


@pytest.mark.requirement("PROV-4")
async def test_after_a_failure_the_holder_is_told_who_should_go_on(routed: Bench) -> None:
    await routed.create(a_task("T", complexity=9, type="generation"))
    claim = await routed.claim()
    assert claim["route"]["provider"] == "gemini"

    told = await routed.call(
        "provider_report", task_id="T", tokens_in=50, outcome="rate_limit", retry_after=90, error=f"slow down {KEY}"
    )

    assert told["classification"]["kind"] == "rate_limit"
    assert KEY not in str(told)
    assert (told["breaker"]["tier"], told["breaker"]["state"]) == ("high", "open")
    assert told["breaker"]["until"] == "2026-03-02T09:01:30.000Z"
    assert (told["route"]["provider"], told["route"]["tier"]) == ("codex", "high")
    assert await use(routed, "gemini") == (50, 0)
    assert await use(routed, "codex") == (0, 200_000)
    rerouted = (await events(routed, "task.rerouted"))[0]
    assert (rerouted["from"], rerouted["because"]) == ({"provider": "gemini", "tier": "high"}, "rate_limit")
    opened = (await events(routed, "provider.opened"))[0]
    assert (opened["provider"], opened["tier"], opened["kind"]) == ("gemini", "high", "rate_limit")
    assert KEY not in str(await routed.sql("SELECT data FROM events")) + str(await routed.sql("SELECT * FROM breakers"))
    task = await routed.task("T")
    assert (task.status.value, task.attempts) == ("in_progress", 0)


@pytest.mark.requirement("PROV-4")
async def test_what_a_model_will_not_do_goes_to_another_and_stops_nobody(routed: Bench) -> None:
    await routed.create(a_task("T", type="generation"))
    await routed.claim()

    refused = await routed.call("provider_report", task_id="T", outcome="context")
    flags = await routed.call("provider_report", task_id="T", outcome="permission")

    assert refused["route"]["provider"] == "codex"
    assert flags["route"]["provider"] == "codex"
    assert await routed.sql("SELECT * FROM breakers") == []


@pytest.mark.requirement("PROV-4")
async def test_a_failed_probe_waits_twice_as_long_and_one_that_succeeds_is_noticed(bench: Bench) -> None:
    routed = configured(bench, only("claude"))
    await routed.create(a_task("A"), a_task("B"))
    await routed.claim(task_id="A")
    first = await routed.call("provider_report", task_id="A", outcome="auth")
    assert first["route"] is None
    assert 900 <= first["retry_after"] <= 1_126
    assert [kind for kind, _, _ in await routed.alerts()] == ["all_providers_failing"]
    assert (await routed.claim(BOB))["reason"] == "budget"
    routed.clock.advance(seconds=first["retry_after"])

    probe = await routed.claim(BOB)
    tried = probe["task"]["id"]
    second = await routed.call("provider_report", BOB, task_id=tried, outcome="auth")
    assert 1_800 <= second["retry_after"] <= 2_251
    routed.clock.advance(seconds=second["retry_after"])
    retried = await routed.call("provider_report", BOB, task_id=tried, outcome="ok")

    assert retried["breaker"] is None
    assert await routed.alerts() == []
    assert [one["provider"] for one in await events(routed, "provider.recovered")] == ["claude"]
    assert len(await events(routed, "provider.opened")) == 2
    rows = await routed.sql("SELECT state, failures FROM breakers")
    assert rows == [{"state": "closed", "failures": 0}]


@pytest.mark.requirement("PROV-4")
async def test_a_tier_that_works_again_ends_no_alert_while_its_provider_is_stopped(bench: Bench) -> None:
    routed = configured(bench, only("claude"))
    report: dict[str, Any] = {"provider": "claude", "tier": "low"}
    await routed.call("provider_report", **report, outcome="capacity", retry_after=1)
    await routed.call("provider_report", **report, outcome="auth")
    routed.clock.advance(seconds=30)

    await routed.call("provider_report", **report, http_status=200)
    assert {row["tier"]: row["state"] for row in await routed.sql("SELECT tier, state FROM breakers")} == {
        "": "open",
        "low": "closed",
    }
    assert [kind for kind, _, _ in await routed.alerts()] == ["all_providers_failing"]
    routed.clock.advance(minutes=20)
    await routed.call("provider_report", **report, outcome="ok")
    assert await routed.alerts() == []


@pytest.mark.requirement("PROV-4")
async def test_the_third_outage_in_a_row_stops_the_provider(routed: Bench) -> None:
    states = [
        (await routed.call("provider_report", provider="claude", outcome="outage"))["breaker"]["state"] for _ in "123"
    ]

    assert states == ["closed", "closed", "open"]


@pytest.mark.requirement("PROV-3")
async def test_a_report_of_a_non_holder_counts_and_moves_no_reservation(routed: Bench) -> None:
    await routed.create(a_task("T", complexity=3))
    await routed.claim()

    foreign = await routed.call("provider_report", BOB, task_id="T", tokens_out=300, outcome="capacity")
    assert (foreign["counted"]["settled"], foreign["route"]) == (False, None)
    assert await use(routed, "gemini") == (300, 20_000)
    await routed.call("release_task", task_id="T")
    late = await routed.call("provider_report", task_id="T", lease_token=1, tokens_out=200)

    assert late["counted"]["settled"] is False
    assert await use(routed, "gemini") == (500, 0)
    assert await routed.sql("SELECT sum(attempts) AS n FROM provider_reserved") == [{"n": 0}]


@pytest.mark.requirement("PROV-4", "PROV-3")
async def test_what_a_program_printed_tells_tokens_and_failure(routed: Bench) -> None:
    output = (
        '{"type":"result","subtype":"success","is_error":true,"api_error_status":529,"result":"API Error: 529 '
        '{\\"type\\":\\"error\\",\\"error\\":{\\"type\\":\\"overloaded_error\\",\\"message\\":\\"Overloaded\\"}}",'
        '"total_cost_usd":0.25,"usage":{"input_tokens":100,"output_tokens":20,"cache_read_input_tokens":50}}'
    )

    told = await routed.call("provider_report", provider="claude", tier="high", output=output, exit_code=1)

    assert told["counted"]["tokens"] == 125
    assert told["counted"]["cost"] == 0.25
    assert told["classification"]["kind"] == "capacity"
    assert (told["breaker"]["tier"], told["breaker"]["state"]) == ("high", "open")


@pytest.mark.requirement("PROV-5")
@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"tokens_in": -1}, "tokens_in"),
        ({"tokens_out": 10**12 + 1}, "tokens_out"),
        ({"cost": float("nan")}, "cost"),
        ({"cost": -0.1}, "cost"),
        ({"http_status": 99}, "http_status"),
        ({"retry_after": -5}, "retry_after"),
        ({"outcome": "sunny"}, "outcome"),
        ({"tier": "huge"}, "tier"),
        ({"output": "x" * 70_000}, "output"),
        ({"provider": None}, "provider"),
        ({"resets_at": "tomorrow"}, "resets_at"),
    ],
)
@pytest.mark.sqlite
async def test_a_wrong_report_names_its_field(routed: Bench, given: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        await ALL["provider_report"](routed.services, ANN, {"provider": "claude", **given})

    assert caught.value.details["field"].split(".")[0] == field
    assert await routed.sql("SELECT * FROM usage") == []


@pytest.mark.requirement("PROV-5")
@pytest.mark.sqlite
async def test_a_provider_is_found_by_name_or_kind_and_near_names_are_told(routed: Bench) -> None:
    assert (await routed.call("provider_report", provider="local"))["provider"] == "ollama"
    with pytest.raises(InvalidInput, match="may be any of claude, codex, gemini"):
        await routed.call("provider_report", provider="cloud")
    with pytest.raises(NotFound) as caught:
        await routed.call("provider_report", provider="clade")
    assert caught.value.details["near"][0] == "claude"
    many = configured(routed, Catalogue(tuple(a_provider(f"claude{place}") for place in range(8))))
    with pytest.raises(NotFound) as caught:
        await many.call("provider_report", provider="claude")
    assert len(caught.value.details["near"]) == 5
    configured(routed, USUAL)
    own = replace(ANN, provider="codex")
    assert (await routed.call("provider_report", own, tokens_in=1))["provider"] == "codex"


@pytest.mark.requirement("PROV-4")
@pytest.mark.parametrize(
    "error",
    [
        "the test of our 429 handler fails",
        "You've hit your usage limit. Upgrade to Pro, or try again at 10:30 AM.",
        "API Error: 401 authentication_error: invalid x-api-key",
        "Selected model is at capacity. Please try a different model.",
    ],
)
async def test_what_an_agent_writes_to_fail_task_stops_no_provider(routed: Bench, error: str) -> None:
    await routed.create(a_task("T"))
    await routed.claim()

    failed = await routed.call("fail_task", task_id="T", error=error)

    assert failed["attempts"] == 1
    assert "task.failed_attempt" in await routed.kinds("T")
    assert await routed.sql("SELECT * FROM breakers") == []
    assert await routed.alerts() == []
