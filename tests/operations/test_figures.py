"""The figures that `metrics` gives are those of plain SQL on the same store."""

from datetime import timedelta

import pytest

from tests.support.bench import ANN, BOB, Bench, a_task
from tests.support.databases import looked_at
from wvo_mcp.domain.providers.breaker import Breaker, BreakerState
from wvo_mcp.ports.providers import Spent

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("OBS-1")]


async def test_the_figures_are_those_of_the_tables(bench: Bench) -> None:
    await bench.create(a_task("A"), a_task("B", depends_on=["A"]), a_task("C"), a_task("LATER", requires_approval=True))
    await bench.done("A", caller=ANN)
    await bench.claim(BOB, "C")

    shown = await bench.call("metrics", ANN)

    with looked_at(bench.source) as database:
        by_status = {row["status"]: row["n"] for row in database.rows(
            "SELECT status, count(*) AS n FROM tasks WHERE 1 = 1 GROUP BY status"
        )}  # fmt: skip
        completed = database.value("SELECT count(*) FROM events WHERE kind = 'task.completed'")
    assert {status: n for status, n in shown["tasks"].items() if n} == by_status
    assert shown["ready"] == 1
    assert shown["wip_utilisation"] == round(1 / shown["wip_limit"], 4)
    assert shown["agents"]["busy"] == 1
    assert shown["created_last_hour"] == 4
    assert sum(shown["completed_per_5_min"]) <= shown["completed_last_hour"] == completed == 1


@pytest.mark.requirement("PROV-3")
async def test_the_tokens_are_those_that_were_reported(bench: Bench) -> None:
    until = bench.clock.now() + timedelta(hours=1)
    await bench.write(lambda tx: tx.routing.record(Spent("ann", "claude", "low", "m", 700, cost=0.5)))
    await bench.write(lambda tx: tx.routing.put_breaker(Breaker("codex", "", BreakerState.OPEN, until=until)))
    bench.clock.advance(minutes=61)
    await bench.write(lambda tx: tx.routing.record(Spent("ann", "claude", "low", "m", 30, cost=0.25)))

    shown = await bench.call("metrics", ANN)

    (model,) = shown["models"]
    assert (model["provider"], model["tier"], model["tokens_hour"], model["tokens_day"]) == ("claude", "low", 30, 730)
    assert model["cost_day"] == 0.75
    assert shown["breakers"] == [{"provider": "codex", "tier": None, "state": "open"}]
