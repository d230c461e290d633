"""The statements of pages seek, on a store of any size."""

from typing import Any

import pytest

from tests.support.bench import ANN, OWNER, Bench, a_task
from wvo_mcp.domain.merging import OPEN, EntryState
from wvo_mcp.store.sql import Rows
from wvo_mcp.store.sqlite.connection import SqliteRows

pytestmark = [pytest.mark.anyio, pytest.mark.sqlite, pytest.mark.requirement("SCALE-1", "DASH-1")]

GROWING = ("tasks", "events", "usage", "task_routes", "merge_entries", "r")


async def _steps(bench: Bench, asked: dict[str, Any]) -> set[str]:
    async def plans(rows: Rows) -> set[str]:
        return {
            f"{step['detail']}: {sql}"
            for sql, params in asked.items()
            for step in rows.all(f"EXPLAIN QUERY PLAN {sql}", params)
        }

    return await bench.store.writer.read(plans)


def _noted(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The statements from now on, and what was given to each."""
    asked: dict[str, Any] = {}
    execute = SqliteRows.execute

    def noted(rows: SqliteRows, sql: str, params: Any) -> Any:
        asked[sql] = params
        return execute(rows, sql, params)

    monkeypatch.setattr(SqliteRows, "execute", noted)
    return asked


async def test_no_page_scans_a_table_that_grows(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    await bench.create(a_task("A"), a_task("B", depends_on=["A"]))
    await bench.done("A")
    asked = _noted(monkeypatch)
    await bench.call("merge_queue", OWNER, cursor="all")
    await bench.call("merge_queue", OWNER, cursor="9")
    for name in ("merge_queue", "provider_usage", "budget_show", "burn_down", "milestones"):
        await bench.call(name, OWNER)
    for given in ({}, {"task_id": "A"}, {"kind": "task.claimed"}, {"before": 3}):
        await bench.call("events", OWNER, last=True, **given)
    await bench.read(lambda tx: tx.submissions.changed_last(tuple(EntryState), 10))
    await bench.read(lambda tx: tx.submissions.in_states(OPEN, 10))
    monkeypatch.undo()

    steps = await _steps(bench, asked)
    scans = {step for step in steps if step.startswith("SCAN") and step.split()[1].rstrip(":") in GROWING}
    # The newest entries, of which there is a limit.
    allowed = {step for step in scans if "LIMIT 1000" in step and "INDEX" in step.partition(":")[0]}
    backward = {step for step in scans if "merge_entries_open" in step.partition(":")[0]}
    assert scans - allowed - backward == set()
    assert any("usage_age" in step for step in steps)
    assert any("events_kind" in step for step in steps)


async def test_claims_are_read_back_to_their_routes(bench: Bench) -> None:
    await bench.create(a_task("A"))
    await bench.claim(ANN, "A")

    assert await bench.read(lambda tx: tx.routing.routed_last(10)) == []  # nothing is routed without providers


async def test_the_overview_reads_no_pending_task_that_waits_for_no_approval(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    await bench.create(a_task("A", requires_approval=True), a_task("B"))
    asked = _noted(monkeypatch)
    seen = await bench.call("attention", OWNER)
    monkeypatch.undo()

    assert [one["id"] for one in seen["needs"]] == ["A"]
    of_all = {
        sql for sql, params in asked.items() if "FROM tasks" in sql and "'pending'" in sql and "unapproved" in params
    }
    assert {"tasks_unapproved" in step for step in await _steps(bench, {sql: asked[sql] for sql in of_all})} == {True}
