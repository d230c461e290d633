"""Renewal of a session's leases, and its end, on a stopped clock."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

import anyio
import pytest

from tests.support.bench import ANN, BOB, Bench, a_task
from wvo_mcp.domain.instant import iso
from wvo_mcp.domain.lease import Caller
from wvo_mcp.orchestration.keeping import Keeper, NotifyingStore, end
from wvo_mcp.ports import Transaction

T = TypeVar("T")

pytestmark = pytest.mark.anyio


def keeper(bench: Bench, caller: Caller = ANN, quiet: float = 7_200) -> Keeper:
    return Keeper(bench.store, lambda: caller, bench.clock, quiet)


async def expiry(bench: Bench, task_id: str = "T1") -> str:
    expires_at = (await bench.task(task_id)).lease_expires_at
    assert expires_at is not None
    return iso(expires_at)


@pytest.mark.requirement("CLAIM-3")
async def test_a_lease_is_renewed_at_a_third_of_its_length_and_not_before(bench: Bench) -> None:
    await bench.create(a_task("T1"))
    await bench.claim(ANN)
    keeps = keeper(bench)
    granted = await expiry(bench)

    bench.clock.advance(199)
    assert await keeps.renew() == pytest.approx(1, abs=0.1)
    assert await expiry(bench) == granted
    bench.clock.advance(1)
    assert await keeps.renew() == pytest.approx(200)

    assert await expiry(bench) == "2026-03-02T09:13:20.000Z"


@pytest.mark.requirement("CLAIM-3")
async def test_a_session_that_is_silent_beyond_the_limit_is_not_renewed(bench: Bench) -> None:
    await bench.create(a_task("T1"))
    await bench.claim(ANN)
    keeps = keeper(bench, quiet=300)
    keeps.heard()
    bench.clock.advance(301)
    granted = await expiry(bench)

    await keeps.renew()
    assert await expiry(bench) == granted
    keeps.heard()
    await keeps.renew()

    assert await expiry(bench) > granted


@pytest.mark.requirement("CLAIM-3", "HEALTH-2")
async def test_who_is_heard_again_after_a_long_silence_has_its_leases_renewed_at_once(bench: Bench) -> None:
    await bench.create(a_task("T1"))
    await bench.claim(ANN, lease_seconds=86_400)
    written, looked = anyio.Event(), anyio.Event()

    class Watched(NotifyingStore):
        async def read(self, caller: Caller, work: Callable[[Transaction], Awaitable[T]]) -> T:
            try:
                return await super().read(caller, work)
            finally:
                looked.set()

    keeps = Keeper(Watched(bench.store, written.set), lambda: ANN, bench.clock, 7_200)
    bench.clock.advance(hours=8, seconds=1)
    assert await keeps.renew() > 3_600
    granted = await expiry(bench)
    looked = anyio.Event()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(keeps.run)
        await looked.wait()
        await anyio.wait_all_tasks_blocked()
        keeps.heard()
        with anyio.fail_after(120):
            await written.wait()
        tasks.cancel_scope.cancel()

    assert await expiry(bench) > granted


@pytest.mark.requirement("CLAIM-2")
async def test_a_session_renews_nothing_that_another_has_taken_over(bench: Bench) -> None:
    await bench.create(a_task("T1"))
    await bench.claim(ANN)
    bench.clock.advance(minutes=11)
    await bench.claim(BOB)
    taken = await expiry(bench)
    bench.clock.advance(300)

    assert await keeper(bench).renew() == 3_600

    assert await expiry(bench) == taken


@pytest.mark.requirement("CLAIM-3", "CORE-11")
async def test_a_client_that_goes_away_leaves_its_leases_the_grace(bench: Bench) -> None:
    await bench.create(a_task("T1"))
    await bench.claim(ANN)

    await end(bench.store, ANN, bench.policy)

    assert await expiry(bench) == "2026-03-02T09:01:00.000Z"
    sessions = await bench.sql("SELECT session_id, ended_at FROM sessions")
    assert sessions == [{"session_id": "ann/1", "ended_at": "2026-03-02T09:00:00.000Z"}]


@pytest.mark.requirement("CLAIM-3", "SCALE-1")
async def test_a_living_session_that_was_taken_for_dead_has_its_leases_whole_again(bench: Bench) -> None:
    """As after a restart of the database, which forgets for a moment who is connected."""
    await bench.create(a_task("T1"))
    await bench.claim(ANN)
    granted = await expiry(bench)
    bench.servers.kill(ANN.session_id)
    await bench.claim(BOB)
    assert await expiry(bench) < granted
    bench.servers.revive(ANN.session_id)
    bench.clock.advance(19)
    keeps = Keeper(bench.store, lambda: ANN, bench.clock, 7_200, grace_seconds=60)

    assert await keeps.renew() <= 20

    assert await expiry(bench) == "2026-03-02T09:10:19.000Z"
    bench.clock.advance(61)
    assert (await bench.claim(BOB))["task"] is None
    assert (await bench.complete("T1"))["task"]["status"] == "done"
