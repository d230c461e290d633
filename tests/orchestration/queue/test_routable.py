"""Work for which there are means is found behind work for which there are none, and no claim looks at all of it."""

from dataclasses import replace
from typing import Any

import pytest

from tests.support.bench import ANN, BOB, Bench, a_task
from tests.support.providers import FixedProviders, only
from wvo_mcp.domain.providers.breaker import Breaker, BreakerState
from wvo_mcp.domain.providers.state import Presence
from wvo_mcp.orchestration.queue import claims
from wvo_mcp.store.sql import Rows
from wvo_mcp.store.sqlite.connection import SqliteRows

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("PROV-2", "PROV-3")]


@pytest.fixture
async def short(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> Bench:
    """Eight are looked at, two at a time; high tiers are stopped, and the local server is away."""
    for name, number in {"LOOK_AT": 8, "_STEP": 2}.items():
        monkeypatch.setattr(claims, name, number)
    machine = FixedProviders(only("claude", "ollama"), {"ollama": Presence(found=False)})
    bench.services = replace(bench.services, providers=machine)
    bench.limits(wip_limit=50, agent_wip_limit=50)
    until = bench.clock.now().replace(year=2027)
    stopped = Breaker("claude", "high", BreakerState.OPEN, "quota", 1, until)
    await bench.write(lambda tx: tx.routing.put_breaker(stopped))
    return bench


async def seen(bench: Bench, calls: int) -> list[Any]:
    """What claims in turn gave: ids, or the times to wait."""
    found: list[Any] = []
    for _ in range(calls):
        claim = await bench.claim(BOB)
        found.append(claim["retry_after"] if claim["task"] is None else claim["task"]["id"])
    return found


async def test_an_easy_task_behind_hard_ones_is_found_as_far_as_a_claim_looks(short: Bench) -> None:
    await short.create(*(a_task(f"H{n}", complexity=9, business_value=20) for n in range(6)))
    await short.create(*(a_task(f"E{n}", complexity=3, business_value=0, priority="low") for n in range(2)))

    assert await seen(short, 3) == ["E0", "E1", 3_600]
    await short.create(*(a_task(f"M{n}", complexity=9, business_value=20) for n in range(2)))
    await short.create(a_task("F", complexity=3, business_value=0, priority="low"))
    assert await seen(short, 1) == [3_600]


async def test_tasks_whose_data_stays_at_home_do_not_hide_the_others_of_their_kind(short: Bench) -> None:
    await short.create(*(a_task(f"L{n:02}", labels=["data:local", f"x{n}"], priority="high") for n in range(7)))
    await short.create(a_task("E"))

    assert await seen(short, 1) == ["E"]


async def test_gates_hold_there_too(short: Bench) -> None:
    await short.create(*(a_task(f"H{n:02}", complexity=9) for n in range(5)))
    await short.create(a_task("E", complexity=4, business_value=0, priority="low", requires_approval=True))

    assert (await short.claim(ANN))["reason"] == "budget"


@pytest.mark.sqlite
@pytest.mark.requirement("SCALE-1")
async def test_what_is_looked_at_is_sought_from_its_place_on(short: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    await short.create(*(a_task(f"H{n:02}", complexity=9) for n in range(7)))
    asked: dict[str, Any] = {}
    execute = SqliteRows.execute

    def noted(rows: SqliteRows, sql: str, params: Any) -> Any:
        asked[sql] = params
        return execute(rows, sql, params)

    monkeypatch.setattr(SqliteRows, "execute", noted)
    assert await seen(short, 1) == [3_600]
    monkeypatch.undo()

    async def plans(rows: Rows) -> set[str]:
        return {
            step["detail"]
            for sql, params in asked.items()
            if "complexity, labels" in sql
            for step in rows.all(f"EXPLAIN QUERY PLAN {sql}", params)
        }

    index = "SEARCH tasks USING INDEX tasks_ready"
    assert await short.store.writer.read(plans) == {
        f"{index} (score>?)",
        f"{index} (score=? AND seq>?)",
        f"{index} (score>? AND score<?)",
    }
