"""Messages and reservations are looked up in indexes: thousands that wait for others cost a call nothing."""

from typing import Any

import pytest

from tests.support.bench import ANN, BOB, Bench, a_task
from wvo_mcp.orchestration.pool.hearing import Hearing
from wvo_mcp.store.sql import Rows
from wvo_mcp.store.sqlite.connection import SqliteRows

pytestmark = [pytest.mark.anyio, pytest.mark.sqlite, pytest.mark.requirement("CTX-4", "CLAIM-6", "SCALE-1")]

GROWING = ("messages", "file_reservations", "agent_pool", "sessions", "tasks", "events")
OPEN = 10_000


async def test_no_statement_that_looks_for_them_scans(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    for caller in (ANN, BOB):
        await bench.call("agent_register", caller)
    asked: dict[str, Any] = {}
    execute = SqliteRows.execute

    def noted(rows: SqliteRows, sql: str, params: Any) -> Any:
        asked[sql] = params
        return execute(rows, sql, params)

    monkeypatch.setattr(SqliteRows, "execute", noted)
    await bench.create(a_task("T1", files=["src/**"]), a_task("T2", files=["docs/**"]))
    await bench.call("files_reserve", ANN, patterns=["src/a.py", "lib/**"])
    await bench.call("message_send", ANN, to="bob", kind="question", body="?")
    await bench.call("message_send", ANN, to="T2", body="n")
    await bench.call("plan_next", BOB)
    await bench.claim(BOB, "T2")
    await bench.call("message_send", BOB, answers="n-1", body="!")
    await bench.call("message_inbox", BOB)
    await bench.call("message_inbox", BOB, all=True)
    await bench.call("heartbeat", BOB, task_id="T2", ack=["n-2"])
    hearing = Hearing(None, None)  # pyright: ignore[reportArgumentType]
    hearing.worker = type("Worker", (), {"agent_id": "bob"})()  # pyright: ignore[reportAttributeAccessIssue]
    rows = await bench.read(hearing._unread)
    await bench.write(lambda tx: hearing._note(tx, rows))
    await bench.call("files_release", ANN, all=True)
    await bench.complete("T2", BOB)
    monkeypatch.undo()

    async def plans(rows: Rows) -> set[str]:
        return {
            f"{step['detail']}: {sql}"
            for sql, params in asked.items()
            if sql.lstrip().startswith(("SELECT", "UPDATE", "DELETE", "WITH"))
            for step in rows.all(f"EXPLAIN QUERY PLAN {sql}", params)
            if step["detail"].startswith("SCAN") and step["detail"].split()[1] in GROWING
        }

    assert await bench.store.writer.read(plans) == set()


async def test_what_waits_for_others_is_not_read_by_a_call(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    await bench.create(a_task("T1", files=["src/**"]))
    await bench.force(
        "INSERT INTO messages (message_id, seq, from_agent, to_agent, kind, body, created_at)"
        " WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?)"
        " SELECT 'n-' || i, i, 'eve', 'somebody', 'note', 'x', '2026-01-01T00:00:00.000Z' FROM n",
        OPEN,
    )
    await bench.force(
        "INSERT INTO file_reservations"
        " (reservation_id, seq, agent_id, pattern, beginning, mode, created_at, expires_at)"
        " WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000)"
        " SELECT 'F-' || i, i, 'eve', 'area' || i || '/**', 'area' || i || '/', 'exclusive',"
        " '2026-01-01T00:00:00.000Z', '2100-01-01T00:00:00.000Z' FROM n"
    )
    read: list[int] = []
    every = SqliteRows.all

    def counted(rows: SqliteRows, sql: str, params: Any = ()) -> Any:
        found = every(rows, sql, params)
        if " messages " in sql or "file_reservations" in sql:
            read.append(len(found))
        return found

    monkeypatch.setattr(SqliteRows, "all", counted)
    assert (await bench.claim(BOB))["task"]["id"] == "T1"
    assert read and sum(read) == 0


async def test_what_was_acknowledged_long_ago_is_not_read_by_a_call(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    await bench.create(a_task("T1"))
    await bench.claim(BOB)
    asked: dict[str, Any] = {}
    execute = SqliteRows.execute

    def noted(rows: SqliteRows, sql: str, params: Any) -> Any:
        asked[sql] = params
        return execute(rows, sql, params)

    monkeypatch.setattr(SqliteRows, "execute", noted)
    await bench.call("heartbeat", BOB, task_id="T1")
    await bench.call("message_inbox", BOB)
    await bench.call("agent_register", ANN)
    await bench.call("message_send", ANN, to="bob", body="n")
    monkeypatch.undo()
    looks = {sql: params for sql, params in asked.items() if "acked_at IS NULL" in sql and "to_agent = ?" in sql}
    assert len(looks) == 4

    async def plans(rows: Rows) -> set[str]:
        return {
            step["detail"].split("USING ")[1].split(" (")[0]
            for sql, params in looks.items()
            for step in rows.all(f"EXPLAIN QUERY PLAN {sql}", params)
            if " messages " in step["detail"]
        }

    assert await bench.store.writer.read(plans) == {"INDEX messages_waiting"}


async def test_a_heartbeat_runs_statements_that_are_compiled_already(bench: Bench) -> None:
    await bench.create(a_task("T1"))
    await bench.claim(BOB)
    compiled: list[tuple[Any, ...]] = []

    def note(*what: Any) -> int:
        compiled.append(what)
        return 0

    async def watch(rows: Rows) -> None:
        assert isinstance(rows, SqliteRows)
        rows.raw.set_authorizer(note)

    await bench.store.writer.read(watch)
    for _ in range(2):
        compiled.clear()
        await bench.call("heartbeat", BOB, task_id="T1")
    assert compiled == []
