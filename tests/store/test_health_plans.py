"""The statements of a health cycle seek, on a store of any size; only the walk over the graph reads all of it."""

from typing import Any

import pytest

from tests.support.bench import ANN, BOB, OWNER, Bench, a_task
from wvo_mcp.domain.health import Thresholds
from wvo_mcp.orchestration.health.loop import HealthLoop
from wvo_mcp.orchestration.leading import Candidate
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
    post = await Candidate(bench.store, lambda: ANN, bench.clock).seek()
    assert post is not None
    asked: dict[str, Any] = {}
    execute = SqliteRows.execute

    def noted(rows: SqliteRows, sql: str, params: Any) -> Any:
        asked[sql] = params
        return execute(rows, sql, params)

    monkeypatch.setattr(SqliteRows, "execute", noted)
    await loop.cycle(post)
    monkeypatch.undo()

    assert len(asked) > 30

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
