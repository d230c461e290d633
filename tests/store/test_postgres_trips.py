"""How often a claim asks the database and waits: over a network, that is what it takes."""

from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.bench import Bench, a_task
from tests.support.clock import StoppedClock
from tests.support.postgres_proxy import Proxy
from tests.support.providers import USUAL, FixedProviders
from tests.support.services import Services
from tests.support.sessions import Servers, an_agent
from wvo_mcp.domain.lease import Policy
from wvo_mcp.execution.directives import DirectiveFiles
from wvo_mcp.execution.roadmap.source import RoadmapSource
from wvo_mcp.store.postgres.store import PostgresStore

pytestmark = pytest.mark.anyio


@pytest.mark.requirement("SCALE-1")
async def test_a_claim_takes_three_round_trips_and_a_completion_four(tmp_path: Path, store_url: str) -> None:
    with Proxy(store_url) as proxy:
        clock, servers = StoppedClock(), Servers()
        store = PostgresStore(proxy.url, clock, servers)
        await store.open()
        bench = Bench(
            Services(store, Policy(), RoadmapSource(tmp_path / "roadmap.yaml"), DirectiveFiles(tmp_path)),
            store,
            clock,
            servers,
        )
        await bench.create(*(a_task(f"T{number:02}") for number in range(60)))

        found: list[tuple[int, int]] = []
        for number in range(3):  # at first, statements are prepared
            before = proxy.trips
            await bench.claim(an_agent("ann"))
            between = proxy.trips
            await bench.complete(f"T{number:02}", an_agent("ann"))
            found.append((between - before, proxy.trips - between))
        await store.close()

    assert found[-1] == (3, 4), found


@pytest.mark.requirement("PROV-2")
async def test_a_routed_claim_asks_no_more_often_than_one_without_a_route(tmp_path: Path, store_url: str) -> None:

    with Proxy(store_url) as proxy:
        clock, servers = StoppedClock(), Servers()
        store = PostgresStore(proxy.url, clock, servers)
        await store.open()
        services = Services(
            store=store,
            policy=Policy(wip_limit=50, agent_wip_limit=50),
            roadmap=RoadmapSource(tmp_path / "roadmap.yaml"),
            directives=DirectiveFiles(tmp_path),
        )
        bench = Bench(services, store, clock, servers)
        await bench.create(*(a_task(f"T{number:02}") for number in range(30)))

        async def trips(routed: bool) -> int:
            bench.services = replace(services, providers=FixedProviders(USUAL) if routed else None)
            before = proxy.trips
            claim = await bench.claim(an_agent(f"agent-{before}"))  # who holds nothing has nothing to be looked up
            assert claim["task"] is not None
            return proxy.trips - before

        for routed in (True, False):
            await trips(routed)  # statements are prepared

        seen = [(routed, await trips(routed)) for routed in (True, False) * 10]
        found = {routed: min(count for kind, count in seen if kind is routed) for routed in (True, False)}
        await store.close()

    assert 0 < found[True] <= found[False]
