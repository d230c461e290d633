"""Whoever waits for something to happen is woken by the commit of anybody."""

import itertools
import threading

import anyio
import pytest

from tests.support.bench import AnyStore, Bench, a_task
from wvo_mcp.ports.store import SOON
from wvo_mcp.store.postgres.store import PostgresStore
from wvo_mcp.store.sqlite.store import SqliteStore

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("SCALE-1")]

LONG = 30.0


@pytest.fixture
async def other(bench: Bench):
    """A second process's view of the same store."""
    made: AnyStore
    if isinstance(bench.store, SqliteStore):
        made = SqliteStore(bench.store.path, bench.clock, bench.servers, synchronous="OFF")
    else:
        made = PostgresStore(bench.store.writer.url, bench.clock, bench.servers)
    await made.open()
    yield made
    await made.close()


async def settled(store: AnyStore) -> None:
    """Nothing is left to be told of what happened so far."""
    await store.wait_for_change(0)
    with anyio.fail_after(LONG):
        while await store.wait_for_change(0.3):
            pass


async def test_the_first_look_returns_at_once(bench: Bench) -> None:
    assert await bench.store.wait_for_change(LONG)


async def test_a_write_of_another_process_wakes_who_waits(bench: Bench, other: AnyStore) -> None:
    await settled(other)
    heard: list[bool] = []

    async with anyio.create_task_group() as tasks:

        async def wait() -> None:
            heard.append(await other.wait_for_change(LONG))

        tasks.start_soon(wait)
        await anyio.lowlevel.checkpoint()
        with anyio.fail_after(LONG / 2):
            await bench.create(a_task("T1"))

    assert heard == [True]


async def test_what_happened_between_two_waits_is_not_missed(bench: Bench, other: AnyStore) -> None:
    await settled(other)

    await bench.create(a_task("T1"))

    with anyio.fail_after(LONG / 2):
        assert await other.wait_for_change(LONG)


async def test_a_change_that_one_waiter_was_told_of_is_still_news_to_another(bench: Bench, other: AnyStore) -> None:
    heard: list[str] = []
    ready = {"early": anyio.Event(), "late": anyio.Event()}
    told = anyio.Event()

    async def wait(name: str) -> None:
        await settled(other)
        ready[name].set()
        if name == "late":
            await told.wait()
        with anyio.fail_after(LONG / 2):
            assert await other.wait_for_change(LONG)
        heard.append(name)
        told.set()

    async with anyio.create_task_group() as tasks:
        for name, event in ready.items():
            tasks.start_soon(wait, name)
            await event.wait()
        await bench.create(a_task("T1"))

    assert heard == ["early", "late"]


@pytest.mark.sqlite
async def test_a_commit_that_is_seen_before_it_can_be_read_is_told_when_it_can(
    bench: Bench, other: AnyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    await settled(other)
    monkeypatch.setattr(other, "_traces", lambda: [(1, 1), (2, 2)])  # its log is written, and not yet on the disk
    assert not await other.wait_for_change(0.1)

    await bench.create(a_task("T1"))

    with anyio.fail_after(LONG / 2):
        assert await other.wait_for_change(1.0)


async def test_where_nothing_happens_the_time_runs_out(bench: Bench, other: AnyStore) -> None:
    await settled(other)

    assert not await other.wait_for_change(0.1)


async def test_no_thread_is_left_behind(other: AnyStore) -> None:
    before = {*threading.enumerate()}
    await other.wait_for_change(0)
    began = [thread for thread in threading.enumerate() if thread not in before and thread.name == "wvo-presence"]
    assert len(began) == isinstance(other, PostgresStore)

    await other.close()

    assert not [thread for thread in began if thread.is_alive()]


@pytest.mark.sqlite
async def test_what_is_not_there_yet_is_asked_for_after_twice_as_long_each_time(
    bench: Bench, other: AnyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert isinstance(other, SqliteStore)
    await settled(other)
    version, now = other._version, 1_000.0
    asked: list[float] = []

    async def asking() -> object:
        asked.append(now - 1_000.0)
        return await version()

    monkeypatch.setattr(anyio, "current_time", lambda: now)
    monkeypatch.setattr(other, "_version", asking)
    monkeypatch.setattr(other, "_traces", lambda: [(1, 1), (2, 2)])
    while now < 1_020.0:
        await other._changed()
        now += SOON

    assert len(asked) < 12
    assert asked[-1] > 5.0
    assert all(later <= 2 * earlier + 2 * SOON for earlier, later in itertools.pairwise(asked))
