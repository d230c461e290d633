"""Transactions on the thread of a connection: whole or not at all, and every trouble of the database typed."""

import asyncio
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import anyio
import anyio.lowlevel
import pytest

from tests.faults.life import STEPS, Life
from tests.support.agreement import contents
from tests.support.bench import ANN, BOB, Bench, a_task
from wvo_mcp.errors import IncompatibleStore, StoreBusy, StoreUnavailable
from wvo_mcp.operations import ALL
from wvo_mcp.ports import Transaction
from wvo_mcp.store.sql import Rows
from wvo_mcp.store.sqlite import connection
from wvo_mcp.store.sqlite.connection import SqliteRows, sqlite
from wvo_mcp.store.sqlite.store import SqliteStore

pytestmark = [pytest.mark.anyio, pytest.mark.sqlite, pytest.mark.requirement("CORE-7", "CORE-11")]


@contextmanager
def another_writer(bench: Bench) -> Generator[Any]:
    """Some other program keeps the database."""
    raw = sqlite.connect(str(bench.path), isolation_level=None, check_same_thread=False)
    raw.execute("BEGIN IMMEDIATE")
    try:
        yield raw
    finally:
        raw.execute("ROLLBACK")
        raw.close()


async def raw_of(bench: Bench) -> Any:
    async def raw(rows: Rows) -> Any:
        return cast(SqliteRows, rows).raw

    return await bench.store.writer.read(raw)


async def test_a_database_that_stays_busy_is_told_after_the_budget(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    await bench.create(a_task("T"))
    monkeypatch.setattr(connection, "BUSY_BUDGET_SECONDS", 0.1)

    with another_writer(bench):
        with pytest.raises(StoreBusy) as busy:
            await bench.claim()
        assert busy.value.payload()["code"] == "store_busy"
        assert busy.value.retryable
        assert "locked" not in busy.value.message

    assert (await bench.claim())["task"]["id"] == "T"


async def test_calls_behind_each_other_are_patient_together_not_one_after_the_other(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    await bench.create(a_task("T"))
    asked, all_wait, naps = 0, threading.Event(), list[float]()
    hop = connection.Connection._hop

    async def counted(self: connection.Connection, function: Callable[..., Any], *args: Any) -> Any:
        nonlocal asked
        asked += function == self._writing
        if asked == 10:
            all_wait.set()
        return await hop(self, function, *args)

    def nap(seconds: float) -> None:
        """Time passes by naps alone, and only once all calls are there."""
        assert all_wait.wait(60)
        naps.append(seconds)

    monkeypatch.setattr(connection.Connection, "_hop", counted)
    monkeypatch.setattr(connection, "time", SimpleNamespace(monotonic=lambda: sum(naps), sleep=nap))

    async def claim() -> None:
        with pytest.raises(StoreBusy):
            await bench.claim(ANN, "T")

    with another_writer(bench):
        async with anyio.create_task_group() as calls:
            for _ in range(10):
                calls.start_soon(claim)

    budget = connection.BUSY_BUDGET_SECONDS
    assert budget < sum(naps) < 1.1 * budget


async def test_a_writer_waits_until_the_other_has_finished(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    await bench.create(a_task("T"))
    naps: list[float] = []
    with another_writer(bench) as raw:

        def nap(seconds: float) -> None:
            naps.append(seconds)
            if len(naps) == 30:
                raw.execute("COMMIT")
                raw.execute("BEGIN")

        monkeypatch.setattr(connection, "time", SimpleNamespace(monotonic=time.monotonic, sleep=nap))
        assert (await bench.claim())["task"]["id"] == "T"

    assert len(naps) == 30
    assert max(naps) <= 0.008


async def test_readers_go_on_while_somebody_writes(bench: Bench) -> None:
    await bench.create(a_task("T"))
    with another_writer(bench) as raw:
        raw.execute("UPDATE tasks SET title = 'unfinished'")
        assert (await bench.call("get_task", task_id="T"))["task"]["title"] == "Do T"


async def test_what_an_operation_raises_undoes_all_of_it(bench: Bench) -> None:
    await bench.create(a_task("T"))
    before = await contents(bench)

    async def half(tx: Transaction) -> None:
        await tx.sessions.ensure()
        await tx.tasks.change(await tx.tasks.get("T"), "task.updated", {"title": "half"}, {})
        raise LookupError("on the way")

    with pytest.raises(LookupError):
        await bench.write(half)
    assert await contents(bench) == before


async def test_a_dry_run_answers_like_the_real_one_and_leaves_nothing(bench: Bench) -> None:
    before = await contents(bench)

    tried = await bench.call("create_tasks", tasks=[a_task("T", epic_id="E")], dry_run=True)

    assert tried == {"created": ["T"]}
    assert await contents(bench) == before


async def test_an_operation_that_awaits_something_else_is_refused_and_undone(bench: Bench) -> None:
    await bench.create(a_task("T"))
    before = await contents(bench)

    async def outside(tx: Transaction) -> None:
        await tx.sessions.ensure()
        await asyncio.sleep(0)

    with pytest.raises(RuntimeError, match="outside the database"):
        await bench.write(outside, BOB)
    assert await contents(bench) == before
    assert (await bench.claim())["task"]["id"] == "T"


async def test_a_call_that_is_cancelled_in_the_middle_leaves_the_store_usable(bench: Bench) -> None:
    await bench.create(a_task("T"))
    inside, go_on = threading.Event(), threading.Event()

    async def slow(tx: Transaction) -> None:
        await tx.sessions.ensure()
        inside.set()
        go_on.wait(60)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(bench.write, slow, BOB)
        while not inside.is_set():
            await anyio.lowlevel.checkpoint()
        tasks.cancel_scope.cancel()
    go_on.set()

    assert (await bench.claim())["task"]["id"] == "T"


async def test_many_calls_at_once_take_turns(bench: Bench) -> None:
    await bench.create(*(a_task(f"T{n}") for n in range(20)))
    bench.limits(wip_limit=20, agent_wip_limit=20)
    claimed: list[str] = []

    async def claim() -> None:
        claimed.append((await bench.claim())["task"]["id"])

    async with anyio.create_task_group() as tasks:
        for _ in range(20):
            tasks.start_soon(claim)

    assert sorted(claimed) == sorted(f"T{n}" for n in range(20))


async def test_a_full_disk_stores_nothing_of_the_call_and_is_survived(bench: Bench) -> None:
    await bench.create(a_task("T"))
    raw = await raw_of(bench)
    before = await contents(bench)
    pages = (await bench.sql("PRAGMA page_count"))[0]["page_count"]
    await bench.sql(f"PRAGMA max_page_count = {pages + 2}")

    with pytest.raises(StoreUnavailable) as full:
        await bench.create(*(a_task(description="x" * 15_000) for _ in range(100)))

    assert full.value.retryable
    assert "full" in full.value.message
    assert not raw.in_transaction
    assert await contents(bench) == before
    assert (await bench.call("plan_next"))["ready"] == 1
    await bench.sql("PRAGMA max_page_count = 1000000")
    assert (await bench.claim())["task"]["id"] == "T"


async def test_a_database_that_may_only_be_read_is_told(bench: Bench) -> None:
    await bench.create(a_task("T"))
    await switch_off_writing(bench)

    with pytest.raises(StoreUnavailable, match="read"):
        await bench.claim()

    assert (await bench.call("plan_next"))["ready"] == 1


async def switch_off_writing(bench: Bench) -> None:
    async def switch(rows: Rows) -> None:
        rows.run("PRAGMA query_only = 1")

    await bench.store.writer.read(switch)


async def test_damage_met_on_the_way_is_told_with_what_to_do(bench: Bench) -> None:
    await bench.create(*(a_task(f"T{n}", description="x" * 1_000) for n in range(200)))
    await bench.sql("PRAGMA wal_checkpoint(TRUNCATE)")
    root = (await bench.sql("SELECT rootpage FROM sqlite_schema WHERE name = 'tasks'"))[0]["rootpage"]
    size = (await bench.sql("PRAGMA page_size"))[0]["page_size"]
    await bench.store.close()
    again = SqliteStore(bench.path, bench.clock, bench.servers)
    await again.open()
    overwrite(bench, (root - 1) * size, b"\xff" * size)

    with pytest.raises(IncompatibleStore) as damaged:
        await again.read(ANN, lambda tx: tx.tasks.page({}, 0, 100))
    await again.close()

    assert "damaged" in damaged.value.message
    assert "doctor" in damaged.value.hint


def overwrite(bench: Bench, at: int, data: bytes) -> None:
    with bench.path.open("r+b") as file:
        file.seek(at)
        file.write(data)


async def test_what_a_store_is_made_and_worked_on_with_stays_compiled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: set[str] = set()

    def noted(self: SqliteRows, sql: str, params: Any) -> Any:
        seen.add(sql)
        return self.raw.execute(sql, params)

    def noted_many(self: SqliteRows, sql: str, params: Any) -> None:
        seen.add(sql)
        self.raw.executemany(sql, params)

    monkeypatch.setattr(SqliteRows, "execute", noted)
    monkeypatch.setattr(SqliteRows, "execute_many", noted_many)
    async with Life(tmp_path, generation=1) as life:
        for place in range(len(STEPS)):
            await life.live(place)
        known: list[int] = []
        for width in (64, 33, 40, 51):
            tasks = [a_task(f"W{width}-{place}", depends_on=[f"W{width}-0"] if place else []) for place in range(width)]
            await ALL["create_tasks"](life.services, life.callers["ann"], {"tasks": tasks})
            known.append(len(seen))

    assert known == known[:1] * 4, "the text of a statement depends on how many are meant"
    assert 200 < len(seen) < connection.KEPT_STATEMENTS / 2  # the migrations are among them
