"""What the pages of tasks, workers and reviews read is looked up in indexes, on a store of any size."""

from pathlib import Path
from typing import Any

import pytest

from tests.support.bench import ANN, OWNER, Bench, a_task
from tests.support.web import visited
from wvo_mcp.domain.lease import Role
from wvo_mcp.domain.worker import Outcome, WorkerState
from wvo_mcp.execution.agents.logs import WorkerLogFiles
from wvo_mcp.execution.reviews import ReviewFolder
from wvo_mcp.ports.reviews import ReviewFiles
from wvo_mcp.ports.workers import Violation, WorkerLogs
from wvo_mcp.store.sql import Rows
from wvo_mcp.store.sqlite.connection import SqliteRows

pytestmark = [pytest.mark.anyio, pytest.mark.sqlite, pytest.mark.requirement("SCALE-1", "DASH-1")]

GROWING = ("tasks", "events", "workers", "reviews", "violations", "messages", "merge_entries", "workspaces", "usage")
ADDRESSES = (
    "/tasks/T1",
    "/tasks/T1?before=9",
    "/tasks/T2",
    "/tasks/T3",
    "/tasks/T1/files",
    "/workers",
    "/workers?task_id=T1",
    "/workers?cursor=9",
    "/workers/w-1",
    "/recoveries",
    "/recoveries?task_id=T1",
    "/recoveries?cursor=9&refused=9",
    "/reviews",
    "/reviews?cursor=9",
    "/reviews?task_id=T1",
    "/reviews/R-1",
)


async def test_no_statement_of_a_page_scans_a_table_that_grows(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    await bench.create(a_task("T1", files=["src/**"]), a_task("T2", depends_on=["T1"]), a_task("T3", files=["src/a"]))
    await bench.claim(ANN, "T1")
    row = {"lease_token": 1, "run_id": "r1", "provider": "c", "tier": "high", "model": "s", "host": "h"}
    worker = await bench.write(lambda tx: tx.workers.add({**row, "task_id": "T1", "agent_id": "a"}))
    over = {"state": WorkerState.ENDED, "outcome": Outcome.CRASHED, "ended_at": bench.clock.now()}
    await bench.write(lambda tx: tx.workers.change(worker.worker_id, over))
    await bench.write(lambda tx: tx.violations.add(Violation("command", "deny", "rm", "rm", "T1", "w-1")))
    await bench.call("review", OWNER, task_id="T1")
    await bench.call("message", OWNER, to="T1", body="n")
    await bench.write(lambda tx: tx.events.append("task.returned", "T1", {}))
    parts: dict[type | str, object] = {WorkerLogs: WorkerLogFiles(tmp_path), ReviewFiles: ReviewFolder(tmp_path)}
    asked: dict[str, Any] = {}
    execute = SqliteRows.execute

    def noted(rows: SqliteRows, sql: str, params: Any) -> Any:
        asked[sql] = params
        return execute(rows, sql, params)

    async with visited(bench.services.having(parts), Role.VIEWER) as visitor:
        monkeypatch.setattr(SqliteRows, "execute", noted)
        for address in ADDRESSES:
            await visitor.page(address)
    monkeypatch.undo()

    assert len(asked) > 40

    async def plans(rows: Rows) -> set[str]:
        return {
            f"{step['detail']}: {sql}"
            for sql, params in asked.items()
            if sql.lstrip().startswith(("SELECT", "WITH"))
            for step in rows.all(f"EXPLAIN QUERY PLAN {sql}", params)
            if _reads_all(step["detail"], sql)
        }

    assert await bench.store.writer.read(plans) == set()


def _reads_all(step: str, sql: str) -> bool:
    """A walk along an index, or along the numbers of rows, that ends with the page is none, nor one over those workers alone
    that have not ended; one that sorts is."""
    words = step.split()
    if step.startswith("USE TEMP B-TREE FOR ORDER BY"):
        return any(f"FROM {table}" in sql and "WHERE" not in sql for table in GROWING)
    ends = ("LIMIT" in sql and "ORDER BY" in sql) or step.endswith("USING INDEX workers_open")
    return step.startswith("SCAN") and words[1] in (*GROWING, "r") and not ends


async def test_what_was_spent_in_a_day_reads_no_worker_of_before(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    await bench.create(a_task("T1"))
    await bench.force(
        "INSERT INTO workers (worker_id, seq, task_id, lease_token, agent_id, run_id, provider, tier, model, host, state,"
        " since, started_at, ended_at, cost_usd)"
        " WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000)"
        " SELECT 'w-' || i, i, 'T1', 1, 'a', 'r', 'c', 'high', 's', 'h', 'ended', '2020-01-01T00:00:00.000Z',"
        " '2020-01-01T00:00:00.000Z', '2020-01-01T00:00:00.000Z', 1 FROM n"
    )
    params: list[Any] = []
    value = SqliteRows.value

    def noted(rows: SqliteRows, sql: str, given: Any = ()) -> Any:
        if "sum(" in sql and "workers" in sql:
            params.append(given)
        return value(rows, sql, given)

    monkeypatch.setattr(SqliteRows, "value", noted)
    assert (await bench.call("workers", OWNER))["spent_usd"] == 0.0
    assert params[-1][0] == 20_000 - 64
