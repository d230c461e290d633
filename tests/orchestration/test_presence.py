"""Leases of clients that no process stands for, on a stopped clock."""

import anyio
import pytest

from tests.support.bench import Bench, a_task
from tests.support.sessions import an_agent
from wvo_mcp.domain.instant import iso
from wvo_mcp.errors import StoreUnavailable
from wvo_mcp.orchestration import presence
from wvo_mcp.orchestration.presence import Presence

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("CLAIM-3", "DASH-5")]

ZOE = an_agent("zoe", "http:zoe", durable=True)


def over(bench: Bench, quiet: float = 7_200) -> Presence:
    return Presence(bench.store, bench.policy, bench.clock, quiet)


async def expiry(bench: Bench, task_id: str = "T1") -> str:
    expires_at = (await bench.task(task_id)).lease_expires_at
    assert expires_at is not None
    return iso(expires_at)


async def later(bench: Bench, than: str) -> None:
    with anyio.fail_after(20):
        while await expiry(bench) <= than:
            await bench.store.wait_for_change(1)


async def test_a_call_renews_leases_once_a_third_of_their_length_is_over(bench: Bench) -> None:
    seen = over(bench)
    await bench.create(a_task("T1"))
    await bench.claim(ZOE)
    granted = await expiry(bench)

    await seen.called(ZOE, wrote=True)
    bench.clock.advance(199)
    await seen.called(ZOE, wrote=False)
    assert await expiry(bench) == granted
    bench.clock.advance(2)
    await seen.called(ZOE, wrote=False)

    assert await expiry(bench) == "2026-03-02T09:13:21.000Z"


async def test_a_client_that_does_not_call_keeps_its_lease_to_its_end_and_no_longer(bench: Bench) -> None:
    seen = over(bench)
    await bench.create(a_task("T1"))
    await bench.claim(ZOE)
    await seen.called(ZOE, wrote=True)

    bench.clock.advance(601)
    await bench.claim(an_agent("bob"))

    assert (await bench.task("T1")).assigned_to == "bob"


async def test_reads_do_not_look_for_leases_before_one_can_be_due(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[str] = []
    renew = presence.Keeper.renew

    async def counted(self: presence.Keeper) -> float:
        looks.append("look")
        return await renew(self)

    monkeypatch.setattr(presence.Keeper, "renew", counted)
    seen = over(bench)

    for _ in range(5):
        await seen.called(ZOE, wrote=False)
    assert len(looks) == 1
    bench.clock.advance(200)  # another face may have claimed for it
    await seen.called(ZOE, wrote=False)
    assert len(looks) == 2
    await seen.called(ZOE, wrote=True)
    assert len(looks) == 3


async def test_a_connection_renews_what_its_session_claims_without_a_further_call(bench: Bench) -> None:
    seen = over(bench)
    await bench.create(a_task("T1"))
    async with anyio.create_task_group() as tasks:
        with seen.connected(ZOE, tasks), seen.connected(ZOE, tasks):
            assert seen.is_connected(ZOE)
            await bench.claim(ZOE, lease_seconds=1)
            granted = await expiry(bench)
            await seen.called(ZOE, wrote=True)
            bench.clock.advance(0.8)
            await later(bench, granted)
    assert not seen.is_connected(ZOE)


async def test_a_connection_whose_client_is_silent_beyond_the_limit_keeps_nothing(bench: Bench) -> None:
    seen = over(bench, quiet=300)
    await bench.create(a_task("T1"))
    async with anyio.create_task_group() as tasks:
        with seen.connected(ZOE, tasks):
            await bench.claim(ZOE, lease_seconds=1)
            granted = await expiry(bench)
            bench.clock.advance(301)
            [keeper] = seen._connected["http:zoe"]
            await keeper.renew()
            assert await expiry(bench) == granted

            await seen.called(ZOE, wrote=False)
            await later(bench, granted)


async def test_a_store_that_cannot_be_reached_does_not_fail_a_call_that_was_answered(
    bench: Bench, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(self: presence.Keeper) -> float:
        raise StoreUnavailable("it is away")

    monkeypatch.setattr(presence.Keeper, "renew", away)

    await over(bench).called(ZOE, wrote=True)

    assert "leases of http:zoe not renewed" in caplog.text
