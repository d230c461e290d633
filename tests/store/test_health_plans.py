"""The statements of a health cycle seek, on a store of any size; only the walk over the graph reads all of it."""

from typing import Any

import pytest

from tests.support.bench import ANN, BOB, OWNER, Bench, a_task
from wvo_mcp.domain.health import Thresholds
from wvo_mcp.orchestration.health.loop import HealthLoop
from wvo_mcp.orchestration.leader import Candidate
from wvo_mcp.ports import Transaction
from wvo_mcp.store.sql import Rows
from wvo_mcp.store.sqlite.connection import SqliteRows

pytestmark = [pytest.mark.anyio, pytest.mark.sqlite, pytest.mark.requirement("SCALE-1", "HEALTH-1")]

GROWING = ("tasks", "t", "d", "w", "events", "sessions", "s", "task_dependencies", "task_waits", "roadmap_entries")


async def test_no_statement_of_a_health_cycle_scans_a_table_that_grows(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    await bench.create(a_task("A"), a_task("B", depends_on=["A"]), a_task("C"), a_task("D"))
    await bench.claim(ANN, "A")
    await bench.done("C", caller=BOB)
    await bench.call("cancel", OWNER, task_id="D", reason="no")
    bench.clock.advance(minutes=10)
    loop = HealthLoop(Thresholds(), bench.policy, bench.clock)
    term = await Candidate(bench.store, lambda: ANN, bench.clock).seek()
    assert term is not None
    asked: dict[str, Any] = {}
    execute = SqliteRows.execute

    def noted(rows: SqliteRows, sql: str, params: Any) -> Any:
        asked[sql] = params
        return execute(rows, sql, params)

    monkeypatch.setattr(SqliteRows, "execute", noted)
    await loop.cycle(term)
    monkeypatch.undo()

    assert len(asked) > 25

    async def plans(rows: Rows) -> set[str]:
        return {
            f"{step['detail']}: {sql}"
            for sql, params in asked.items()
            if sql.lstrip().startswith(("SELECT", "UPDATE", "DELETE", "WITH"))
            for step in rows.all(f"EXPLAIN QUERY PLAN {sql}", params)
            if step["detail"].startswith("SCAN") and step["detail"].split()[1] in GROWING
        }

    scans = await bench.store.writer.read(plans)
    assert scans == set()


async def test_a_storm_of_alerts_is_enrolled_and_delivered_by_seeking(bench: Bench) -> None:
    alerts = [f"T{n}" for n in range(300)]

    async def storm(tx: Transaction) -> None:
        for task_id in alerts:
            await tx.alerts.raise_alert("task_failed", "critical", task_id, "no")
        await tx.news.enrol("webhook", range(1, 200))

    await bench.write(storm)
    asked: dict[str, Any] = {}
    execute = SqliteRows.execute

    def noted(rows: SqliteRows, sql: str, params: Any) -> Any:
        asked[sql] = params
        return execute(rows, sql, params)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SqliteRows, "execute", noted)
        assert len(await bench.read(lambda tx: tx.news.behind(100, "webhook", 200))) == 200
        assert len(await bench.read(lambda tx: tx.news.due("webhook", 50))) == 50

    async def plans(rows: Rows) -> list[str]:
        return [
            step["detail"]
            for sql, params in asked.items()
            if "alert_news" in sql
            for step in rows.all(f"EXPLAIN QUERY PLAN {sql}", params)
        ]

    steps = await bench.store.writer.read(plans)
    assert [step for step in steps if step.startswith("SCAN")] == []
    assert any("alert_news_of" in step for step in steps)
    assert any("alert_deliveries_due" in step for step in steps)
