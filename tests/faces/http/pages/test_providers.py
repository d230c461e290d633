"""The page of providers."""

from dataclasses import replace
from datetime import timedelta

import pytest

from tests.support.bench import OWNER, Bench
from tests.support.providers import FixedProviders, a_provider
from tests.support.web import operations, visited
from wvo_mcp.domain.lease import Role
from wvo_mcp.domain.providers.breaker import Breaker, BreakerState
from wvo_mcp.domain.providers.catalogue import Catalogue, Limits
from wvo_mcp.ports.providers import Spent

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("DASH-1", "DASH-2")]

HOSTILE = "<img src=x onerror=alert(1)>\x1b]0;"


async def provided(bench: Bench) -> None:
    providers = FixedProviders(
        Catalogue((a_provider("claude", limits=Limits(hourly=1_000, daily=None)), a_provider("codex")))
    )
    bench.services = replace(bench.services, providers=providers)
    until = bench.clock.now() + timedelta(minutes=20)
    broken = Breaker("codex", "", BreakerState.OPEN, kind="quota", until=until, reason=HOSTILE)
    await bench.write(lambda tx: tx.routing.put_breaker(broken))
    spent = Spent("ann", "claude", "low", "claude-low", 900, cost=1.25)
    await bench.write(lambda tx: tx.routing.record(spent))


async def test_without_providers_the_page_says_what_makes_some(bench: Bench) -> None:
    async with visited(bench.services) as visitor:
        html = await visitor.page("/providers")

    assert "wvo-mcp init" in html
    assert "wvo-mcp provider-usage" in html


async def test_breakers_budgets_and_cost_are_shown_with_their_countdowns(bench: Bench) -> None:
    await provided(bench)

    async with visited(bench.services) as visitor:
        html = await visitor.page("/providers")
        data = await visitor.data("/providers.json")

    assert data["usage"] == await bench.call("provider_usage", OWNER)
    assert data["budgets"] == await bench.call("budget_show", OWNER)
    assert data["status"] == await bench.call("provider_status", OWNER)
    assert "Resets <time datetime=" in html
    assert "900 of 1,000 tokens" in html
    assert "$1.25" in html
    assert "<img src=x" not in html
    assert "\x1b" not in html
    assert 'data-plot="use-table" data-unit="usd"' in html


@pytest.mark.parametrize(
    ("role", "raises"), [(Role.VIEWER, False), (Role.AGENT, False), (Role.OPERATOR, False), (Role.ADMIN, True)]
)
async def test_only_an_admin_is_offered_to_raise_a_budget(bench: Bench, role: Role, raises: bool) -> None:
    await provided(bench)

    async with visited(bench.services, role) as visitor:
        offered = operations(await visitor.page("/providers"))

    assert ("budget_raise" in offered) is raises
    assert ("routing_mode" in offered) is (role is not Role.VIEWER)


async def test_a_budget_is_raised_and_the_mode_chosen_on_the_page(bench: Bench) -> None:
    await provided(bench)
    wanted = {"scope": "provider", "name": "claude", "hourly": "500", "duration": "2h"}

    async with visited(bench.services, Role.ADMIN) as visitor:
        asked = await visitor.do("budget_raise", **wanted)
        done = await visitor.do("budget_raise", **wanted, confirmed="yes")
        await visitor.do("routing_mode", mode="local")
        html = await visitor.page("/providers")

    assert "Do it" in asked.text
    assert done.status_code == 303
    assert "900 of 1,500 tokens" in html
    assert "500 tokens more" in html
    assert "<option selected>local</option>" in html
