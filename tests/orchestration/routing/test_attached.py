"""Agents that people attached: they do what they claim, unless they may not; attempts are those of who did them."""

from dataclasses import replace
from datetime import timedelta

import pytest

from tests.orchestration.routing.test_routed_claims import configured
from tests.support.bench import ANN, BOB, Bench, a_task
from tests.support.providers import USUAL, a_provider, limited, only
from wvo_mcp.domain.providers.breaker import Breaker, BreakerState
from wvo_mcp.domain.providers.catalogue import FREE, Catalogue, Limits, Place, ProviderKind, Tier
from wvo_mcp.domain.providers.state import Presence
from wvo_mcp.errors import InvalidInput

pytestmark = pytest.mark.anyio

CLAUDE = replace(ANN, provider="claude")
GONE = Presence(found=False, note="it is not installed")
HERE = Presence(found=True)


def attached(bench: Bench, catalogue: Catalogue = USUAL, **found: Presence) -> Bench:
    configured(bench, catalogue, **found).workers = False
    return bench


async def attempts(bench: Bench) -> dict[str, int]:
    state = await bench.read(lambda tx: tx.routing.state(""))
    return {name: use.attempts for name, use in state.providers.items() if use.attempts}


@pytest.mark.requirement("PROV-2")
@pytest.mark.parametrize("provider", ["claude", "gemini", None])
async def test_an_agent_that_may_do_the_task_itself_is_given_no_route(bench: Bench, provider: str | None) -> None:
    desk = attached(bench)
    await desk.create(a_task("T", complexity=3, type="validation"))

    claim = await desk.claim(replace(ANN, provider=provider))

    assert (claim["task"]["id"], claim["route"], claim.get("explanation")) == ("T", None, None)
    event = (await desk.read(lambda tx: tx.events.of_task("T", 1)))[0]
    assert "route" not in event.data
    assert await attempts(desk) == ({provider: 1} if provider else {})


@pytest.mark.requirement("PROV-2", "PROV-3")
async def test_another_provider_must_do_what_the_agents_own_may_not(bench: Bench) -> None:
    desk = attached(bench, limited("claude", Limits(daily=0)), ollama=HERE, codex=GONE)
    await desk.create(a_task("SECRET", labels=["data:local"], priority="critical"), a_task("PLAIN", type="generation"))

    secret, plain = await desk.claim(CLAUDE), await desk.claim(CLAUDE)

    assert secret["route"]["provider"] == "ollama"
    assert "not claude: the task's data must stay on this machine" in secret["route"]["reason"]
    assert secret["explanation"] == "You may not do this with your own model: hand it to ollama, or release_task."
    assert plain["route"]["provider"] == "gemini"  # the cheapest in the cloud that is here
    assert "not claude: the day's budget of provider claude is used up" in plain["route"]["reason"]


@pytest.mark.requirement("PROV-2")
async def test_an_agent_of_a_program_that_is_off_or_not_found_works_all_the_same(bench: Bench) -> None:
    claude = a_provider("claude", ProviderKind.CLAUDE, enabled=False)
    desk = attached(bench, Catalogue((claude, a_provider("codex", ProviderKind.CODEX))), claude=GONE, codex=GONE)
    await desk.create(a_task("A"), a_task("B"))

    assert (await desk.claim(CLAUDE))["route"] is None
    assert (await desk.claim(BOB))["task"] is not None
    assert await attempts(desk) == {"claude": 1}


@pytest.mark.requirement("PROV-2")
async def test_what_is_absent_is_never_routed_to(bench: Bench) -> None:
    desk = attached(bench, only("claude", "codex"), codex=GONE)
    await desk.create(a_task("T"))
    until = desk.clock.now() + timedelta(minutes=5)
    await desk.write(lambda tx: tx.routing.put_breaker(Breaker("claude", "", BreakerState.OPEN, "outage", 1, until)))

    told = await desk.call("route_task", task_id="T")
    claim = await desk.claim(CLAUDE)

    assert (told["route"], told["waits"]) == (None, True)
    assert {one["provider"]: one["why"] for one in told["rejected"]} == {"claude": "breaker", "codex": "absent"}
    assert (claim["task"], claim["reason"]) == (None, "budget")


@pytest.mark.requirement("PROV-2")
async def test_nobody_is_said_to_have_worked_on_what_he_was_only_advised_for(bench: Bench) -> None:
    desk = attached(bench, only("claude", "codex"))
    await desk.create(a_task("T"))
    await desk.claim(BOB)  # nobody knows what it runs on
    await desk.call("release_task", BOB, task_id="T")
    assert await attempts(desk) == {}

    told = await desk.call("route_task", task_id="T")

    assert "worked on this task before" not in told["explanation"]


@pytest.mark.requirement("PROV-3")
async def test_nothing_is_reserved_or_counted_for_a_provider_while_nobody_knows_who_works(bench: Bench) -> None:
    desk = attached(bench, replace(only("claude", "codex"), count_unreported=True))
    await desk.create(a_task("T"), a_task("U"))
    tasks = [(await desk.claim(BOB))["task"]["id"] for _ in "12"]

    async def used() -> dict[str, tuple[int, int, int]]:
        state = await desk.read(lambda tx: tx.routing.state(BOB.agent_id))
        uses = {name: (use.reserved, use.attempts, use.day) for name, use in state.providers.items()}
        return {name: use for name, use in uses.items() if any(use)}

    assert await used() == {}
    await desk.call("release_task", BOB, task_id=tasks[0])
    assert await used() == {}
    with pytest.raises(InvalidInput, match="not known which program ran; one of claude, codex"):
        await desk.call("provider_report", BOB, task_id=tasks[1], tokens_out=7)
    await desk.call("provider_report", BOB, task_id=tasks[1], provider="codex", tokens_out=7)
    assert await used() == {"codex": (0, 1, 7)}


@pytest.mark.requirement("PROV-3")
async def test_an_attempt_is_of_the_provider_that_reported_it(bench: Bench) -> None:
    desk = attached(bench)
    await desk.create(a_task("T"))
    await desk.claim(BOB)

    for _ in "12":
        await desk.call("provider_report", BOB, task_id="T", provider="gemini", tokens_out=7)
    assert await attempts(desk) == {"gemini": 1}
    await desk.call("provider_report", BOB, task_id="T", provider="codex", outcome="capacity")
    assert await attempts(desk) == {"gemini": 1, "codex": 1}
    await desk.call("release_task", BOB, task_id="T")

    told = await desk.call("route_task", replace(BOB, worker=True), task_id="T")

    assert "codex" in told["explanation"]


@pytest.mark.requirement("PROV-2")
async def test_without_prices_the_exact_tier_comes_before_a_higher_one(bench: Bench) -> None:
    def priceless(name: str, *tiers: Tier) -> Catalogue:
        one = a_provider(name, tiers=tiers)
        return Catalogue((replace(one, tiers={t: replace(model, cost=FREE) for t, model in one.tiers.items()}),))

    large, small = priceless("alpha", Tier.HIGH), priceless("beta", Tier.LOW)
    desk = attached(bench, Catalogue((*large.providers, *small.providers)))

    told = await desk.call("route_task", complexity=3)
    hard = await desk.call("route_task", complexity=9)

    assert (told["route"]["provider"], told["route"]["tier"]) == ("beta", "low")
    assert (hard["route"]["provider"], hard["route"]["tier"]) == ("alpha", "high")


@pytest.mark.requirement("PROV-2")
async def test_an_agent_without_the_tier_works_when_nobody_better_is_here(bench: Bench) -> None:
    small = a_provider("claude", ProviderKind.CLAUDE, tiers=(Tier.LOW,))
    away = a_provider("ollama", ProviderKind.OLLAMA, Place.LOCAL)
    desk = attached(bench, Catalogue((small, away)), ollama=GONE)
    await desk.create(a_task("HARD", complexity=9))

    claim = await desk.claim(CLAUDE)

    assert (claim["task"]["id"], claim["route"]) == ("HARD", None)


@pytest.mark.requirement("PROV-2")
async def test_work_is_given_out_where_every_provider_is_turned_off(bench: Bench) -> None:
    desk = attached(bench, Catalogue((a_provider("claude", ProviderKind.CLAUDE, enabled=False),)))
    await desk.create(a_task("A"), a_task("B"))

    for caller in (CLAUDE, BOB):
        claim = await desk.claim(caller)
        assert claim["task"] is not None
        assert (claim["route"], claim.get("explanation")) == (None, None)
