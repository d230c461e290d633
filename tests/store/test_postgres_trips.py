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


@pytest.mark.requirement("SCALE-1", "PROV-2")
@pytest.mark.parametrize("routed", [True, False])
async def test_a_claim_takes_three_round_trips_and_a_completion_four(
    tmp_path: Path, store_url: str, routed: bool
) -> None:
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
        if routed:
            bench.services = replace(bench.services, providers=FixedProviders(USUAL))
        await bench.create(*(a_task(f"T{number:02}") for number in range(60)))

        found: list[tuple[int, int]] = []
        for number in range(8):  # at first, statements are prepared
            before = proxy.trips
            await bench.claim(an_agent("ann"))
            between = proxy.trips
            await bench.complete(f"T{number:02}", an_agent("ann"))
            found.append((between - before, proxy.trips - between))
        await store.close()

    # A slow proxy may hand one batch on in two parts.
    claims, completions = zip(*found, strict=True)
    assert (min(claims), min(completions)) == (3, 4), found
