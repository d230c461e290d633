"""What is told about a route without taking it, and the mode that all servers share."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from tests.orchestration.routing.test_routed_claims import configured
from tests.support.bench import ANN, BOB, Bench, a_task
from tests.support.providers import USUAL, a_provider
from wvo_mcp.domain.providers.breaker import Breaker, BreakerState
from wvo_mcp.domain.providers.catalogue import Catalogue, Limits, Place, ProviderKind
from wvo_mcp.domain.providers.state import Presence
from wvo_mcp.errors import InvalidInput
from wvo_mcp.ports.providers import Spent

pytestmark = pytest.mark.anyio


@pytest.mark.requirement("PROV-5", "PROV-2")
async def test_it_lists_every_rejected_candidate_with_its_reason(bench: Bench) -> None:
    catalogue = Catalogue(
        (
            a_provider("off", enabled=False),
            a_provider("small", tiers=()),
            a_provider("blind"),
            a_provider("broken", capabilities=("vision",)),
            a_provider("spent", capabilities=("vision",), limits=Limits(daily=5)),
            a_provider("away", ProviderKind.OLLAMA, Place.LOCAL, capabilities=("vision",)),
            a_provider("locked", capabilities=("vision",)),
            a_provider("good", capabilities=("vision",), cost=9),
        )
    )
    away, locked = Presence(found=False, note="it is not running"), Presence(found=True, logged_in=False)
    routed = configured(bench, catalogue, away=away, locked=locked)
    until = routed.clock.now() + timedelta(minutes=5)

    await routed.write(
        lambda tx: tx.routing.put_breaker(Breaker("broken", "medium", BreakerState.OPEN, "rate_limit", 1, until))
    )
    await routed.write(lambda tx: tx.routing.record(Spent("bob", "spent", "low", "", 5)))

    answer = await routed.call("route_task", complexity=5, capabilities=["vision", "of the agent"])

    assert answer["route"]["provider"] == "good"
    assert {one["provider"]: one["why"] for one in answer["rejected"]} == {
        "off": "disabled", "small": "tier", "blind": "capability", "broken": "breaker", "spent": "budget", "away": "absent",
        "locked": "absent",
    }  # fmt: skip
    reasons = {one["provider"]: one["reason"] for one in answer["rejected"]}
    assert reasons["blind"] == "it lacks vision"
    assert reasons["broken"].startswith("its breaker is open until ")
    assert (reasons["away"], reasons["locked"]) == ("it is not running", "it has no login")
    assert "the day's budget of provider spent is used up (5 tokens)" in answer["route"]["reason"]
    assert answer["estimate"] == 60_000
    assert answer["cost"] > 0


@pytest.mark.requirement("PROV-2")
async def test_data_that_must_stay_at_home_never_leaves(bench: Bench) -> None:
    routed = configured(bench, USUAL, ollama=Presence(found=False))
    await routed.create(a_task("SECRET", labels=["data:local"], priority="critical"), a_task("PLAIN"))

    told = await routed.call("route_task", task_id="SECRET")
    assert (told["route"], told["waits"]) == (None, True)
    assert (await routed.claim())["task"]["id"] == "PLAIN"
    assert (await routed.claim())["reason"] == "budget"
    await configured(bench, USUAL, ollama=Presence(found=True)).claim()
    route = await routed.read(lambda tx: tx.routing.route("SECRET"))
    assert route is not None
    assert route.provider == "ollama"


@pytest.mark.requirement("PROV-2", "PROV-5")
async def test_the_mode_holds_for_all_and_is_remembered(bench: Bench) -> None:
    routed = configured(bench, USUAL)
    assert (await routed.call("routing_mode"))["mode"] == "hybrid"

    changed = await routed.call("routing_mode", mode="local", request_id="once")

    assert changed["mode"] == "local"
    assert changed["since"].startswith("ann at ")
    again = await configured(bench, replace(USUAL)).call("routing_mode", BOB)
    assert again["mode"] == "local"
    told = await routed.call("route_task", BOB, complexity=9, type="generation")
    assert told["route"]["provider"] == "ollama"
    assert {one["why"] for one in told["rejected"]} == {"mode"}
    await routed.call("routing_mode", mode="cloud")
    assert (await routed.call("route_task", type="review"))["route"]["provider"] == "gemini"
    kinds = await routed.sql("SELECT data FROM events WHERE kind = 'routing.mode' ORDER BY seq")
    assert len(kinds) == 2


@pytest.mark.requirement("PROV-2")
async def test_types_go_where_they_belong_and_the_rest_follows_the_shares(bench: Bench) -> None:
    routed = configured(bench, USUAL, ollama=Presence(found=True))
    places: dict[str, str] = {}
    for kind in ("generation", "parsing", "validation", "review"):
        places[kind] = (await routed.call("route_task", type=kind))["route"]["provider"]
    assert places == {"generation": "gemini", "parsing": "gemini", "validation": "ollama", "review": "ollama"}
    await routed.create(*(a_task(f"T{number}", type="other") for number in range(40)))

    for _ in range(40):
        await routed.claim()

    shares = (await routed.call("routing_mode"))["shares"]
    assert (shares["cloud"]["attempts"], shares["local"]["attempts"]) == (28, 12)
    assert shares["cloud"]["share"] == shares["cloud"]["target"] == 70.0


@pytest.mark.requirement("PROV-2")
async def test_the_agents_own_provider_wins_among_equals(bench: Bench) -> None:
    routed = configured(bench, USUAL)
    codex = replace(ANN, provider="codex")

    told = await routed.call("route_task", codex, type="generation")

    assert told["route"]["provider"] == "codex"


async def test_a_question_about_a_task_is_no_description(bench: Bench) -> None:
    routed = configured(bench, USUAL)
    await routed.create(a_task("T"))

    with pytest.raises(InvalidInput, match="not both"):
        await routed.call("route_task", task_id="T", complexity=3)


@pytest.mark.requirement("PROV-2")
async def test_a_share_of_its_own_is_kept_to_before_the_price(bench: Bench) -> None:
    shares = {"claude": 50.0, "codex": 30.0}
    catalogue = replace(USUAL, providers=tuple(replace(one, share=shares.get(one.name)) for one in USUAL.providers))
    routed = configured(bench, catalogue)
    await routed.create(*(a_task(f"T{number}", type="generation") for number in range(40)))

    reasons = [(await routed.claim())["route"]["reason"] for _ in range(40)]

    state = await routed.read(lambda tx: tx.routing.state("ann"))
    done = {name: use.attempts for name, use in state.providers.items()}
    assert done == {"claude": 20, "codex": 12, "gemini": 8}
    assert sum("behind its own share" in reason for reason in reasons) == 32


@pytest.mark.requirement("PROV-2")
async def test_an_unchecked_local_server_gets_nothing_that_another_provider_can_do(bench: Bench) -> None:
    routed = configured(bench, USUAL)

    async def chosen(**ask: Any) -> str:
        return (await routed.call("route_task", **ask))["route"]["provider"]

    assert await chosen(type="review") == "gemini"
    assert await chosen(labels=["data:local"]) == "ollama"
    await routed.call("routing_mode", mode="local")
    assert await chosen(type="generation") == "ollama"
    found = configured(bench, USUAL, ollama=Presence(found=True))
    await found.call("routing_mode", mode="hybrid")
    assert await chosen(type="review") == "ollama"


@pytest.mark.requirement("WORK-4")
@pytest.mark.parametrize(
    ("part", "who"), [("design", "gemini"), ("implementation", "claude"), ("review", "codex"), ("king", "cheap")]
)
async def test_a_part_of_a_plan_goes_to_who_does_that_part(bench: Bench, part: str, who: str) -> None:
    vendors = [
        a_provider(kind.value, kind, cost=5) for kind in (ProviderKind.CLAUDE, ProviderKind.CODEX, ProviderKind.GEMINI)
    ]
    routed = configured(bench, Catalogue((a_provider("cheap", cost=1), *vendors)))
    await routed.create(a_task("T", complexity=5, labels=[f"part:{part}"]))

    claim = await routed.claim()

    assert claim["route"]["provider"] == who, claim["route"]
    assert (f"it does {part} here" in claim["route"]["reason"]) is (part != "king")
