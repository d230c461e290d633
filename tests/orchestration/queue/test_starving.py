"""A large task that small ones keep out of an hour's budget gets its turn, and no claim takes more than the window holds."""

from dataclasses import replace
from datetime import timedelta

import pytest

from tests.support.bench import Bench, a_task
from tests.support.providers import FixedProviders, limited, only
from wvo_mcp.domain.providers.catalogue import Catalogue, Limits
from wvo_mcp.orchestration.queue import starving

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("PROV-3")]


async def day(bench: Bench, limits: Limits, minutes: int, catalogue: Catalogue | None = None) -> dict[str, int]:
    """Every ten minutes whoever wants it gets work; a small one takes 20,000 tokens. At which minute each was given."""
    catalogue = catalogue or limited("claude", limits, only("claude"))
    bench.services, bench.workers = replace(bench.services, providers=FixedProviders(catalogue)), True
    bench.limits(wip_limit=50, agent_wip_limit=50)
    small = [a_task(f"S{n:02}", complexity=1, business_value=0) for n in range(minutes // 10 + 2)]
    await bench.create(a_task("LARGE", complexity=9, business_value=20, priority="critical"), *small)
    await bench.claim(task_id="S00")
    await bench.call("provider_report", task_id="S00", tokens_in=20_000)
    await bench.complete("S00")
    given: dict[str, int] = {}
    for minute in range(0, minutes, 10):
        claim = await bench.claim(lease_seconds=86_400)
        if claim["task"] is None:
            assert claim["reason"] == "budget"
        else:
            task_id = claim["task"]["id"]
            given[task_id] = minute
            if task_id != "LARGE":
                await bench.call("provider_report", task_id=task_id, tokens_in=20_000)
                await bench.complete(task_id)
        bench.clock.advance(minutes=10)
    return given


async def test_after_an_hour_room_is_kept_for_the_best_task(bench: Bench) -> None:
    given = await day(bench, Limits(hourly=210_000), 200)

    # It waited an hour; what small ones had used left the window within another one.
    assert given["LARGE"] == 120
    assert sorted(minute for name, minute in given.items() if name != "LARGE") == [0, 10, 20, 30, 40, 50]


async def test_without_patience_it_would_never_get_any(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(starving, "PATIENCE", timedelta(days=1))

    assert "LARGE" not in await day(bench, Limits(hourly=210_000), 200)


async def test_nothing_is_kept_of_a_day_for_it_does_not_come_back(bench: Bench) -> None:
    given = await day(bench, Limits(hourly=1_000_000, daily=210_000), 130)

    assert "LARGE" not in given
    assert len(given) == 9  # all that the day holds


async def test_nothing_is_kept_for_an_agent_that_used_up_its_own(bench: Bench) -> None:
    catalogue = replace(limited("claude", Limits(hourly=250_000), only("claude")), agent_limits=Limits(hourly=210_000))
    given = await day(bench, Limits(hourly=250_000), 130, catalogue)

    assert "LARGE" not in given
    assert len(given) == 13


async def test_a_task_that_had_its_turn_waits_anew(bench: Bench) -> None:
    given = await day(bench, Limits(hourly=210_000), 130)
    assert given["LARGE"] == 120
    await bench.call("provider_report", task_id="LARGE", tokens_in=150_000)
    await bench.call("release_task", task_id="LARGE")

    again = await bench.claim()

    assert again["task"]["id"].startswith("S")
