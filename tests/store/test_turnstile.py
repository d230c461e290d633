"""The queue of processes in front of the write lock."""

import fcntl
import os
import threading
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import anyio.to_thread
import pytest

from tests.support.bench import Bench, a_task
from wvo_mcp.errors import StoreBusy
from wvo_mcp.store import connection
from wvo_mcp.store.turnstile import Patience, Turnstile

pytestmark = pytest.mark.anyio


@contextmanager
def frozen_process(database: Path) -> Generator[None]:
    """Somebody stands in the queue's first place and does not go on."""
    fd = os.open(database.with_name(database.name + "-queue"), os.O_RDWR)
    fcntl.flock(fd, fcntl.LOCK_EX)
    try:
        yield
    finally:
        os.close(fd)


@pytest.mark.requirement("CORE-7")
async def test_a_write_behind_a_frozen_process_is_told_that_the_store_is_busy_and_never_happens(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    await bench.create(a_task("T"))
    monkeypatch.setattr(connection, "BUSY_BUDGET_SECONDS", 0.1)

    with frozen_process(bench.store.path):
        with pytest.raises(StoreBusy):
            await bench.claim()
        assert await bench.status("T") == ["pending"]

    monkeypatch.undo()
    assert (await bench.claim())["lease"]["token"] == 1


async def test_a_store_can_be_closed_while_a_write_stands_behind_a_frozen_process(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "BUSY_BUDGET_SECONDS", 0.1)
    monkeypatch.setattr(connection, "CLOSING_SECONDS", 0.1)

    with frozen_process(bench.store.path):
        with pytest.raises(StoreBusy):
            await bench.create(a_task("T"))
        await bench.store.close()
        assert bench.store.writer._thread.is_alive()

    await anyio.to_thread.run_sync(bench.store.writer._thread.join)


async def test_without_a_queue_the_store_works_all_the_same(bench: Bench) -> None:
    queue = bench.store.writer._queue
    assert queue is not None
    queue.close()

    await bench.create(a_task("T"))
    assert (await bench.claim())["task"]["id"] == "T"


async def test_those_who_wait_come_in_one_by_one(tmp_path: Path) -> None:
    inside: list[int] = []
    most: list[int] = []

    def work(number: int) -> None:
        place = Turnstile(tmp_path / "state.db")
        for _ in range(50):
            place.enter()
            inside.append(number)
            most.append(len(inside))
            inside.remove(number)
            place.leave()
        place.close()

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(most) == 200
    assert set(most) == {1}


def test_a_folder_that_cannot_be_written_has_no_queue(tmp_path: Path) -> None:
    place = Turnstile(tmp_path / "nowhere" / "state.db")
    place.enter()
    place.leave()
    place.close()


def test_only_the_first_of_two_decides() -> None:
    patience = Patience()
    assert [patience.decide(), patience.decide(), patience.decide()] == [True, False, False]
