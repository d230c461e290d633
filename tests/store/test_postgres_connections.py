"""What one transaction leaves on its connection is not met by the next one, and connections are not kept for ever."""

import threading

import anyio
import pytest

from tests.support.bench import ANN
from wvo_mcp.errors import Conflict
from wvo_mcp.ports import Transaction
from wvo_mcp.store.postgres import executor
from wvo_mcp.store.postgres.store import PostgresStore
from wvo_mcp.store.transaction import StoreTransaction

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("SCALE-1")]


async def test_what_failed_in_a_refused_call_is_not_told_to_the_next_one(database_url: str) -> None:
    store = PostgresStore(database_url)
    await store.open()

    async def refused(tx: Transaction) -> None:
        assert isinstance(tx, StoreTransaction)
        tx.rows.put("INSERT INTO store (id) VALUES (?)", (1,))  # it fails, and its answer is not waited for
        raise Conflict("no")

    try:
        with pytest.raises(Conflict):
            await store.write(ANN, refused)
        assert await store.read(ANN, lambda tx: tx.state.get("nothing")) is None
    finally:
        await store.close()


async def test_connections_that_reads_at_once_needed_are_given_back(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = PostgresStore(database_url)
    await store.open()
    both = threading.Barrier(2, timeout=30)

    async def together(tx: Transaction) -> None:
        both.wait()

    try:
        async with anyio.create_task_group() as tasks:
            for _ in range(2):
                tasks.start_soon(store.read, ANN, together)
        kept = len(store.writer.idle)
        monkeypatch.setattr(executor, "_IDLE_SECONDS", -1.0)
        await store.read(ANN, lambda tx: tx.tasks.counts())

        assert (kept, len(store.writer.idle)) == (2, 1)
    finally:
        await store.close()
