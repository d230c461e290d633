"""What providers took by the hour, and what went where."""

from dataclasses import replace

import pytest

from tests.support.bench import ANN, OWNER, Bench, a_task
from tests.support.providers import FixedProviders, a_provider
from wvo_mcp.domain.providers.catalogue import Catalogue
from wvo_mcp.ports.providers import Spent

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("DASH-1", "PROV-3")]


async def test_tokens_and_cost_are_summed_by_hour_and_provider(bench: Bench) -> None:
    async def spend(provider: str, tokens: int, cost: float) -> None:
        await bench.write(lambda tx: tx.routing.record(Spent("ann", provider, "low", "m", tokens, cost=cost)))

    await spend("old", 1, 9.0)
    bench.clock.advance(hours=50)
    await spend("claude", 100, 0.5)
    await spend("claude", 50, 0.25)
    bench.clock.advance(hours=2)
    await spend("claude", 7, 0.125)
    await spend("codex", 1_000, 0.0)

    found = await bench.call("provider_usage", OWNER)

    assert len(found["times"]) == 48
    assert [one["name"] for one in found["providers"]] == ["claude", "codex"]
    claude, codex = found["providers"]
    assert (claude["tokens"][-3:], claude["costs"][-3:]) == ([150, 0, 7], [0.75, 0.0, 0.125])
    assert (claude["tokens_total"], claude["cost_total"]) == (157, 0.875)
    assert (codex["tokens"][-1], sum(codex["tokens"])) == (1_000, 1_000)
    assert len((await bench.call("provider_usage", OWNER, hours=168))["providers"]) == 3


async def test_the_last_claims_say_where_they_were_routed_and_why(bench: Bench) -> None:
    bench.services = replace(bench.services, providers=FixedProviders(Catalogue((a_provider("claude"),))))
    bench.workers = True
    await bench.create(a_task("A"), a_task("B"))
    await bench.claim(ANN, "A")
    await bench.call("release_task", ANN, task_id="A")
    await bench.claim(ANN, "B")
    await bench.call("release_task", ANN, task_id="B")
    await bench.claim(ANN, "A")

    routes = (await bench.call("provider_usage", OWNER))["routes"]

    assert [(one["task_id"], one["provider"], one["agent_id"]) for one in routes] == [
        ("A", "claude", "ann"),
        ("B", "claude", "ann"),
    ]
    assert all(one["reason"] for one in routes)
    assert ("ended_at" in routes[0], "ended_at" in routes[1]) == (False, True)
