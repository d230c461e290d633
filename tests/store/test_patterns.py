"""Patterns are found in indexes: a hundred thousand of them cost a look-up and a claim no scan."""

from pathlib import Path
from typing import Any

import anyio
import pytest

from tests.support.bench import ANN, BOB, Bench, a_task
from tests.support.stores import a_store
from wvo_mcp.domain.likeness import LEAST
from wvo_mcp.domain.pattern import Category, Source
from wvo_mcp.domain.signature import signature
from wvo_mcp.orchestration import patterns
from wvo_mcp.ports import Transaction
from wvo_mcp.store.sql import Rows
from wvo_mcp.store.sqlite.connection import SqliteRows

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("CTX-3", "SCALE-1")]

GROWING = ("error_patterns", "pattern_terms", "pattern_term_counts", "pattern_uses", "p", "u", "t")
ERROR = "sqlite3.OperationalError: database is locked"


@pytest.mark.sqlite
async def test_no_statement_about_patterns_scans(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, Any] = {}
    execute, execute_many = SqliteRows.execute, SqliteRows.execute_many

    def noted(rows: SqliteRows, sql: str, params: Any) -> Any:
        asked[sql] = params
        return execute(rows, sql, params)

    def noted_many(rows: SqliteRows, sql: str, params: Any) -> None:
        asked[sql] = params[0]
        execute_many(rows, sql, params)

    monkeypatch.setattr(SqliteRows, "execute", noted)
    monkeypatch.setattr(SqliteRows, "execute_many", noted_many)
    await bench.create(a_task("T1", max_attempts=9), a_task("T2"))
    await bench.call("learn_pattern", ANN, error=ERROR, solution="wait", task_id="T2")
    for caller in (ANN, BOB):
        await bench.claim(caller, "T1")
        await bench.call("fail_task", caller, task_id="T1", error=f"line 9\n{ERROR}")
        bench.clock.advance(hours=2)
    await bench.call("pattern_search", text=ERROR)
    await bench.done("T1")
    await bench.read(lambda tx: tx.patterns.page(0, 10))
    await bench.write(lambda tx: tx.patterns.forget(tx.now, 0, 10))
    monkeypatch.undo()
    ours = {sql: params for sql, params in asked.items() if "pattern" in sql}
    assert len(ours) > 15

    async def plans(rows: Rows) -> set[str]:
        return {
            f"{step['detail']}: {sql}"
            for sql, params in ours.items()
            if sql.lstrip().startswith(("SELECT", "UPDATE", "DELETE", "WITH"))
            for step in rows.all(f"EXPLAIN QUERY PLAN {sql}", params)
            if step["detail"].startswith("SCAN")
            and step["detail"].split()[1] in GROWING
            and "error_patterns_kept" not in step["detail"]  # the first of the batch, in that order
        }

    assert {plan for plan in await bench.store.writer.read(plans) if "FROM (SELECT" not in plan} == set()


@pytest.fixture
def url(store_kind: str, request: pytest.FixtureRequest) -> str | None:
    return request.getfixturevalue("store_url") if store_kind == "postgres" else None


async def test_two_servers_that_learn_the_same_at_once_make_one_pattern(tmp_path: Path, url: str | None) -> None:
    servers = [a_store(tmp_path, url) for _ in range(2)]
    for server in servers:
        await server.open()

    async def learn(number: int) -> None:
        async def tell(tx: Transaction) -> None:
            await patterns.learned(
                tx,
                f'  File "/srv/{number}.py", line {number}\n{ERROR}',
                category=Category.SUCCESS,
                cause=None,
                solution="wait",
                worked=True,
                source=Source.OUTCOME,
            )

        await servers[number % 2].write((ANN, BOB)[number % 2], tell)

    async with anyio.create_task_group() as tasks:
        for number in range(12):
            tasks.start_soon(learn, number)
    found = await servers[0].read(ANN, lambda tx: tx.patterns.page(0, 10))
    counts = await servers[1].read(ANN, lambda tx: tx.patterns.count())
    for server in servers:
        await server.close()

    assert [one.frequency for one in found] == [12] and counts == 1


async def test_both_databases_find_the_same_in_the_same_order(bench: Bench) -> None:
    async def learn(tx: Transaction) -> None:
        for number in range(40):
            word = ("apple", "berry", "cherry", "grape")[number % 4]
            kind = "abcdefgh"[number % 8] + "klmno"[number // 8]
            await patterns.learned(
                tx,
                f"Error: the {word} service refused the {'long ' * (number % 3)}answer of {kind}kind",
                category=Category.SUCCESS,
                cause=None,
                solution=f"s{number}",
                worked=None,
                source=Source.OUTCOME,
            )

    await bench.write(learn)

    async def look(tx: Transaction) -> list[str]:
        found = await tx.patterns.alike(signature("Error: the cherry service refused the answer"), 5, LEAST)
        return [one.pattern.pattern_id for one in found]

    found = await bench.read(look)
    assert found == ["P-31", "P-19", "P-7", "P-35", "P-23"]
