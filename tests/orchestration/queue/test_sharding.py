"""Servers that give work from some epics only (WVO_EPICS), on one store."""

from dataclasses import replace

import pytest

from tests.support.bench import ANN, BOB, Bench, a_task
from wvo_mcp.errors import Forbidden

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("SCALE-2")]


@pytest.fixture
async def shops(bench: Bench) -> Bench:
    """More work of other epics stands before that of the shard than a claim tries one by one."""
    await bench.create(*[a_task(f"BIG-{n}", epic_id="BIG", priority="critical") for n in range(40)])
    await bench.create(
        a_task("SMALL-1", epic_id="SMALL"),
        a_task("SMALL-2", epic_id="SMALL", priority="low"),
        a_task("SMALL-3", epic_id="SMALL", depends_on=["SMALL-1"]),
        a_task("ALONE", priority="critical"),
    )
    bench.services = replace(bench.services, policy=replace(bench.policy, epics=frozenset({"SMALL"}), wip_limit=9))
    return bench


async def test_a_claim_gives_the_best_task_of_the_epics_that_the_server_serves(shops: Bench) -> None:
    assert (await shops.claim(ANN))["task"]["id"] == "SMALL-1"
    assert (await shops.claim(BOB))["task"]["id"] == "SMALL-2"


async def test_when_the_shard_is_empty_nothing_else_is_given(shops: Bench) -> None:
    await shops.claim(ANN)
    await shops.complete("SMALL-1")
    await shops.done("SMALL-2", "SMALL-3")

    assert (await shops.claim(ANN))["reason"] == "no_ready_tasks"


async def test_a_plan_shows_what_the_server_serves(shops: Bench) -> None:
    plan = await shops.call("plan_next", limit=10)

    assert [task["id"] for task in plan["tasks"]] == ["SMALL-1", "SMALL-2"]
    assert [task["id"] for task in plan["not_ready"]] == ["SMALL-3"]
    assert plan["ready"] == 43
    assert (await shops.call("plan_next", epic_id="BIG"))["tasks"] == []


@pytest.mark.parametrize("task_id", ["BIG-1", "ALONE"])
async def test_a_named_task_of_another_shard_is_refused(shops: Bench, task_id: str) -> None:
    with pytest.raises(Forbidden, match="WVO_EPICS"):
        await shops.claim(ANN, task_id)


async def test_a_full_epic_of_the_shard_is_told(shops: Bench) -> None:
    await shops.force("UPDATE epics SET wip_limit = 1 WHERE id = 'SMALL'")
    await shops.claim(ANN)

    assert (await shops.claim(BOB))["reason"] == "epic_wip_limit"


async def test_dependencies_count_whoever_serves_them(shops: Bench) -> None:
    await shops.create(a_task("SMALL-4", epic_id="SMALL", priority="critical", depends_on=["BIG-0"]))
    assert (await shops.claim(ANN))["task"]["id"] == "SMALL-1"

    everything = replace(shops.services, policy=replace(shops.policy, epics=None))
    elsewhere = Bench(everything, shops.store, shops.clock, shops.servers)
    await elsewhere.done("BIG-0", caller=BOB)

    assert (await shops.claim(BOB))["task"]["id"] == "SMALL-4"
