"""A sound store is never taken for a damaged one, whatever others do to it meanwhile."""

import threading
from pathlib import Path

import anyio
import pytest

from tests.support.bench import ANN
from tests.support.scale import sized
from tests.support.sessions import Servers
from wvo_mcp.domain.task import Origin
from wvo_mcp.execution.clock import SystemClock
from wvo_mcp.orchestration.tasks.editing import Draft, create
from wvo_mcp.ports import Transaction
from wvo_mcp.store.sqlite.backup import SqliteBackups
from wvo_mcp.store.sqlite.integrity import check_closed
from wvo_mcp.store.sqlite.store import SqliteStore

pytestmark = [pytest.mark.sqlite, pytest.mark.requirement("DR-2")]


def test_a_store_that_others_write_and_back_up_is_found_sound_at_every_moment(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    begun, over = threading.Event(), threading.Event()

    async def write() -> None:
        """One task changes all the time: an event, and the hash of it in the task."""
        store = SqliteStore(path, SystemClock(), Servers(), synchronous="OFF")
        await store.open()
        await store.write(ANN, lambda tx: create(tx, [Draft("T", {"title": "busy"})], Origin.AGENT))

        async def change(tx: Transaction) -> None:
            task = await tx.tasks.get("T")
            await tx.tasks.change(task, "task.updated", {"title": f"version {task.version}"}, {})

        while not over.is_set():
            await store.write(ANN, change)
            begun.set()
        await store.close()

    async def back_up() -> None:
        await SqliteBackups(path, tmp_path / "backups" / "db").create(SystemClock().now())

    others = [threading.Thread(target=lambda: anyio.run(write))]
    others[0].start()
    assert begun.wait(60)
    try:
        for number in range(sized(full=400, short=160)):
            if number % 40 == 20:
                for earlier in others[1:]:
                    earlier.join()  # on a slow disk one would else wait for the others beyond its patience
                others.append(threading.Thread(target=lambda: anyio.run(back_up)))
                others[-1].start()
            check_closed(path)
    finally:
        over.set()
        for other in others:
            other.join()
