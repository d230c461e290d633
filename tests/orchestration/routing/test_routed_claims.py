"""Claims that are routed: what the claimer is told, what is reserved, what is withheld."""

from dataclasses import replace
from datetime import timedelta

import pytest

from tests.support.bench import ANN, BOB, Bench, a_task, an_agent
from tests.support.providers import USUAL, FixedProviders, a_provider, limited, only
from wvo_mcp.domain.providers.breaker import Breaker, BreakerState
from wvo_mcp.domain.providers.catalogue import Catalogue, Limits
from wvo_mcp.domain.providers.state import Presence
from wvo_mcp.errors import BudgetExhausted
from wvo_mcp.ports.providers import Spent

pytestmark = pytest.mark.anyio

HOUR = 3_600


@pytest.fixture
def routed(bench: Bench) -> Bench:
    return configured(bench, USUAL)


def configured(bench: Bench, catalogue: Catalogue | None, **found: Presence) -> Bench:
    bench.services = replace(
        bench.services, providers=FixedProviders(catalogue, found, None if catalogue else "providers.yaml:3: broken")
    )
    bench.limits(wip_limit=50, agent_wip_limit=50)
    bench.workers = True
    return bench


@pytest.mark.requirement("PROV-2")
async def test_a_claim_tells_provider_tier_model_and_why(routed: Bench) -> None:
    await routed.create(a_task("T", complexity=9, type="generation"))

    claim = await routed.claim()

    reason = "gemini high for a generation task of complexity 9 in hybrid mode, because generation goes to the cloud."
    assert claim["route"] == {"provider": "gemini", "tier": "high", "model": "gemini-high", "reason": reason}
    event = (await routed.read(lambda tx: tx.events.of_task("T", 1)))[0]
    assert event.data["route"] == claim["route"]


@pytest.mark.parametrize(
    ("complexity", "tier"), [(1, "low"), (4, "low"), (5, "medium"), (7, "medium"), (8, "high"), (10, "high")]
)
@pytest.mark.requirement("PROV-2")
async def test_complexity_decides_the_tier(routed: Bench, complexity: int, tier: str) -> None:
    await routed.create(a_task("T", complexity=complexity))

    assert (await routed.claim())["route"]["tier"] == tier


@pytest.mark.requirement("PROV-3")
async def test_an_estimate_is_reserved_until_it_is_reported_or_the_task_leaves(bench: Bench) -> None:
    routed = configured(bench, only("claude"))
    await routed.create(a_task("T", complexity=3))
    token = (await routed.claim())["lease"]["token"]
    assert (await routed.read(lambda tx: tx.routing.state("ann"))).providers["claude"].reserved == 20_000

    spent = Spent("ann", "claude", "low", "m", 5_000, 4_000, 1_000, task_id="T", lease_token=token)
    await routed.write(lambda tx: tx.routing.record(spent))

    use = (await routed.read(lambda tx: tx.routing.state("ann"))).providers["claude"]
    assert (use.reserved, use.hour, use.day, use.attempts) == (15_000, 5_000, 5_000, 1)
    await routed.call("release_task", task_id="T")
    use = (await routed.read(lambda tx: tx.routing.state("ann"))).providers["claude"]
    assert (use.reserved, use.hour) == (0, 5_000)


@pytest.mark.requirement("PROV-3")
async def test_without_a_budget_the_claim_says_so_and_running_work_goes_on(bench: Bench) -> None:
    routed = configured(bench, limited("claude", Limits(hourly=30_000), only("claude")))
    await routed.create(a_task("A", complexity=3), a_task("B", complexity=3))
    first = await routed.claim()

    second = await routed.claim(BOB)

    assert (second["task"], second["reason"], second["route"]) == (None, "budget", None)
    assert second["retry_after"] >= 2
    assert "the hour's budget of provider claude is used up" in second["explanation"]
    with pytest.raises(BudgetExhausted):
        await routed.claim(BOB, "B")
    done = await routed.complete(first["task"]["id"])
    assert done["task"]["status"] == "done"
    assert (await routed.claim(BOB))["task"]["id"] == "B"


@pytest.mark.requirement("PROV-3")
async def test_a_tier_without_a_budget_does_not_hold_up_the_others(bench: Bench) -> None:
    claude = only("claude").providers[0]
    tiers = {
        tier: replace(model, limits=Limits(daily=1)) if tier == "high" else model
        for tier, model in claude.tiers.items()
    }
    routed = configured(bench, Catalogue((replace(claude, tiers=tiers),)))
    spent = Spent("ann", "claude", "high", "m", 10)
    await routed.write(lambda tx: tx.routing.record(spent))
    await routed.create(a_task("HARD", complexity=9, priority="critical"), a_task("EASY", complexity=2, priority="low"))

    assert (await routed.claim())["task"]["id"] == "EASY"
    last = await routed.claim()
    assert (last["reason"], last["retry_after"]) == ("budget", HOUR)


@pytest.mark.requirement("PROV-3")
async def test_a_refusal_looks_up_when_twelve_windows_have_room_again_at_most(bench: Bench) -> None:
    names = [f"p{place:02}" for place in range(15)]
    routed = configured(bench, Catalogue(tuple(a_provider(name, limits=Limits(hourly=30_000)) for name in names)))
    await routed.create(a_task("T", complexity=1))
    for name in names:
        await routed.write(lambda tx, name=name: tx.routing.record(Spent("zoe", name, "low", "m", 30_000)))

    assert (await routed.claim())["reason"] == "budget"

    windows = (await routed.read(lambda tx: tx.alerts.find("budget_exhausted", None)) or {})["evidence"]["windows"]
    assert [one["name"] for one in windows if one["room_at"] is None] == names[12:]
    told = {name: windows[0][name] for name in ("raised", "left", "reported", "resets_at")}
    assert told == {"raised": 0, "left": 0, "reported": True, "resets_at": None}


@pytest.mark.requirement("PROV-4")
async def test_no_task_goes_to_an_open_breaker_and_one_probes_a_half_open_one(bench: Bench) -> None:
    routed = configured(bench, only("claude"))
    await routed.create(a_task("A"), a_task("B"))
    opened = Breaker("claude", "", BreakerState.OPEN, "outage", 1, routed.clock.now() + timedelta(minutes=5))
    await routed.write(lambda tx: tx.routing.put_breaker(opened))

    assert (await routed.claim())["reason"] == "budget"
    routed.clock.advance(minutes=6)
    probe = await routed.claim()
    assert "tries whether the provider has recovered" in probe["route"]["reason"]
    assert (await routed.claim(BOB))["reason"] == "budget"
    await routed.complete(probe["task"]["id"])
    assert (await routed.claim(BOB))["route"]["provider"] == "claude"


@pytest.mark.requirement("PROV-2")
async def test_a_task_that_resumes_stays_where_it_was(routed: Bench) -> None:
    await routed.create(a_task("T", complexity=6))
    await routed.write(
        lambda tx: tx.routing.put_breaker(
            Breaker("gemini", "", BreakerState.OPEN, until=routed.clock.now() + timedelta(minutes=1))
        )
    )
    first = await routed.claim(ANN)
    assert first["route"]["provider"] == "codex"
    await routed.call("release_task", task_id="T")
    routed.clock.advance(minutes=2)
    await routed.write(lambda tx: tx.routing.put_breaker(Breaker("gemini", "")))

    again = await routed.claim(BOB)

    assert again["route"]["provider"] == "codex"
    assert "it worked on this task before" in again["route"]["reason"]


async def test_what_nothing_ever_suits_is_worked_on_without_a_route(bench: Bench) -> None:
    routed = configured(bench, Catalogue(()))
    await routed.create(a_task("T"))

    claim = await routed.claim()

    assert (claim["task"]["id"], claim["route"]) == ("T", None)
    assert "no provider is configured" in claim["explanation"]


async def test_nothing_is_begun_while_the_file_was_never_readable(bench: Bench) -> None:
    routed = configured(bench, None)
    await routed.create(a_task("T"))

    claim = await routed.claim()

    assert (claim["task"], claim["reason"], claim["explanation"]) == (None, "budget", "providers.yaml:3: broken")
    with pytest.raises(BudgetExhausted, match=r"providers.yaml:3: broken") as caught:
        await routed.claim(task_id="T")
    assert "fix state/providers.yaml" in str(caught.value.hint)
    assert (await configured(bench, USUAL).claim())["task"]["id"] == "T"


@pytest.mark.requirement("PROV-3", "CLAIM-3")
async def test_an_agent_whose_own_task_must_wait_has_reached_its_limit_or_gets_other_work(bench: Bench) -> None:
    routed = configured(bench, only("claude"))
    await routed.create(a_task("OWN", complexity=9), a_task("EASY", complexity=1))
    await routed.claim(task_id="OWN")
    routed.servers.kill(ANN.session_id)
    until = routed.clock.now() + timedelta(seconds=40)
    await routed.write(
        lambda tx: tx.routing.put_breaker(Breaker("claude", "high", BreakerState.OPEN, "capacity", 1, until))
    )
    again = an_agent("ann", "ann/2")
    routed.limits(wip_limit=50, agent_wip_limit=1)

    full = await routed.claim(again)

    assert (full["reason"], full["retry_after"]) == ("agent_wip_limit", 41)
    assert [one["id"] for one in full["holding"]] == ["OWN"]
    assert "claude: its breaker is open" in full["explanation"]
    routed.limits(wip_limit=50, agent_wip_limit=2)
    assert (await routed.claim(again))["task"]["id"] == "EASY"
