"""The thread of a connection: in order, to the end, and gone when it is told to stop."""

import asyncio
import threading

import pytest

from wvo_mcp.store.sqlite.connection import WorkerThread

pytestmark = [pytest.mark.anyio, pytest.mark.sqlite]


async def test_functions_run_in_order_on_one_thread_and_errors_reach_who_asked() -> None:
    thread, seen = WorkerThread("t"), list[object]()
    thread.start()

    def wrong() -> None:
        raise LookupError("not here")

    first = asyncio.ensure_future(thread.run(seen.append, 1))
    with pytest.raises(LookupError, match="not here"):
        await thread.run(wrong)
    await first
    named = await thread.run(threading.current_thread)
    thread.stop(lambda: seen.append(2))

    assert (seen, named.name, named.is_alive()) == ([1, 2], "t", False)


async def test_what_nobody_waits_for_any_more_is_run_to_its_end() -> None:
    thread, go, seen = WorkerThread("t"), threading.Event(), list[int]()
    thread.start()

    def work() -> None:
        go.wait()
        seen.append(1)

    waiting = asyncio.ensure_future(thread.run(work))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    go.set()

    await thread.run(seen.append, 2)
    thread.stop()
    assert seen == [1, 2]


def test_a_loop_that_has_ended_does_not_break_the_thread() -> None:
    thread, go, begun, seen = WorkerThread("t"), threading.Event(), threading.Event(), list[int]()
    thread.start()

    def work() -> None:
        begun.set()
        go.wait()
        seen.append(1)

    async def asking() -> None:
        asking_for_it = asyncio.ensure_future(thread.run(work))
        await asyncio.to_thread(begun.wait)
        asking_for_it.cancel()

    asyncio.run(asking())
    go.set()
    thread.stop()
    assert seen == [1]
