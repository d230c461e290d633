"""Files that an agent keeps for itself: refused on overlap, over with their time or their lease (CLAIM-6)."""

from typing import Any

import pytest

from tests.support.bench import ANN, BOB, OWNER, Bench, a_task
from wvo_mcp.domain.lease import Caller
from wvo_mcp.errors import Forbidden, ReservationConflict, WvoError

pytestmark = [pytest.mark.anyio, pytest.mark.both_stores, pytest.mark.requirement("CLAIM-6")]


async def reserve(bench: Bench, caller: Caller, *patterns: str, **more: Any) -> list[str]:
    made = await bench.call("files_reserve", caller, patterns=list(patterns), **more)
    return [one["reservation_id"] for one in made["reservations"]]


async def refused(bench: Bench, caller: Caller, *patterns: str, **more: Any) -> ReservationConflict:
    with pytest.raises(ReservationConflict) as error:
        await reserve(bench, caller, *patterns, **more)
    return error.value


async def test_exclusive_ones_overlap_with_all_of_others_and_shared_ones_with_those(bench: Bench) -> None:
    (mine,) = await reserve(bench, ANN, "src/api/**")
    error = await refused(bench, BOB, "docs/**", "src/api/*.py", mode="shared")
    assert (error.details["with"], error.details["by"], error.details["files"]) == (mine, "ann", ["src/api/*.py"])
    assert len(await reserve(bench, ANN, "src/**")) == 1, "its own are not in its way"
    await reserve(bench, ANN, "docs/**", mode="shared")
    await reserve(bench, BOB, "docs/a.md", mode="shared")
    await refused(bench, ANN, "docs/a*")
    await refused(bench, BOB, "**/*.md")


async def test_it_is_all_or_none(bench: Bench) -> None:
    await reserve(bench, ANN, "b")
    await refused(bench, BOB, "a", "b")
    await reserve(bench, ANN, "a")


async def test_its_time_ends_it_and_so_does_who_made_it(bench: Bench) -> None:
    await reserve(bench, ANN, "a", seconds=60)
    (second,) = await reserve(bench, ANN, "b")
    bench.clock.advance(61)
    await reserve(bench, BOB, "a")
    with pytest.raises(WvoError, match="ann"):
        await bench.call("files_release", BOB, reservation_ids=[second])
    assert (await bench.call("files_release", ANN, reservation_ids=[second]))["released"] == [second]
    assert (await bench.call("files_release", ANN, all=True))["released"] == []
    (third,) = await reserve(bench, BOB, "b")
    assert (await bench.call("files_release", OWNER, reservation_ids=[third]))["released"] == [third]


@pytest.mark.parametrize("way", ["complete_task", "fail_task", "release_task", "block_task", "expiry"])
async def test_those_of_a_task_end_with_its_lease(bench: Bench, way: str) -> None:
    await bench.create(a_task("T1"))
    claim = await bench.claim(ANN, "T1")
    await reserve(bench, ANN, "src/**", task_id="T1", lease_token=claim["lease"]["token"])
    await refused(bench, BOB, "src/a")
    words = {"complete_task": {"summary": "x"}, "fail_task": {"error": "x"}, "block_task": {"reason": "x"}}
    if way == "expiry":
        bench.clock.advance(hours=3)
        bench.servers.kill(ANN.session_id)
    else:
        await bench.call(way, ANN, task_id="T1", **words.get(way, {}))
    await reserve(bench, BOB, "src/a")


async def test_only_who_holds_the_task_reserves_with_it(bench: Bench) -> None:
    await bench.create(a_task("T1"))
    await bench.claim(ANN, "T1")
    with pytest.raises(WvoError) as error:
        await reserve(bench, BOB, "x", task_id="T1", lease_token=1)
    assert error.value.code == "stale_lease"


async def test_a_claim_is_kept_off_what_another_has_reserved(bench: Bench) -> None:
    await bench.create(a_task("T1", files=["src/**"], priority="critical"), a_task("T2", files=["docs/**"]))
    (mine,) = await reserve(bench, ANN, "src/api/**")
    with pytest.raises(ReservationConflict) as error:
        await bench.claim(BOB, "T1")
    assert (error.value.details["with"], error.value.details["by"]) == (mine, "ann")
    plan = await bench.call("plan_next", BOB)
    assert [one["id"] for one in plan["tasks"]] == ["T2"]
    assert plan["not_ready"] == [{"id": "T1", "reason": "files", "waiting_for": [mine]}]
    assert (await bench.claim(BOB))["task"]["id"] == "T2"
    assert (await bench.claim(ANN))["task"]["id"] == "T1", "its own is not in its way"


async def test_shared_ones_keep_no_claim_off(bench: Bench) -> None:
    await bench.create(a_task("T1", files=["src/**"]))
    await reserve(bench, ANN, "src/**", mode="shared")
    assert (await bench.claim(BOB))["task"]["id"] == "T1"


async def test_what_another_works_on_cannot_be_taken_away_from_it(bench: Bench) -> None:
    await bench.create(a_task("T1", files=["src/**"]))
    await bench.claim(BOB, "T1")
    assert (await refused(bench, ANN, "src/a.py")).details["with"] == "T1"
    await reserve(bench, BOB, "src/a.py")


async def test_many_refused_lanes_are_judged_alike(bench: Bench) -> None:
    await bench.create(*(a_task(f"T{n}", files=[f"src/{n}/**"]) for n in range(9)), a_task("last", priority="low"))
    await reserve(bench, ANN, *(f"src/{n}/x" for n in range(9)))
    assert (await bench.claim(BOB))["task"]["id"] == "last"


async def test_an_agent_has_a_thousand_at_most(bench: Bench) -> None:
    for some in range(20):
        await reserve(bench, ANN, *(f"d{some}/{n}" for n in range(50)))
    with pytest.raises(WvoError) as error:
        await reserve(bench, ANN, "one/more")
    assert error.value.code == "conflict"


async def test_a_repeat_reserves_nothing_twice(bench: Bench) -> None:
    once = await reserve(bench, ANN, "x", request_id="r-1")
    assert await reserve(bench, ANN, "x", request_id="r-1") == once


async def test_who_a_subagent_works_behind_gives_its_files_back(bench: Bench) -> None:
    await bench.create(a_task("T1"))
    await bench.claim(ANN, "T1", agent_id="ann.1")
    (made,) = (await bench.call("files_reserve", ANN, patterns=["lib/**"], task_id="T1"))["reservations"]
    with pytest.raises(Forbidden, match=r"ann\.1's"):
        await bench.call("files_release", BOB, reservation_ids=[made["reservation_id"]])
    assert (await bench.call("files_release", ANN, reservation_ids=[made["reservation_id"]]))["released"] == ["F-1"]
