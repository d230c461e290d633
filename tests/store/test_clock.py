"""The store's time: leases survive a wall clock that is set, and nothing is ever written into the past."""

from datetime import datetime

import pytest

from tests.support.bench import ANN, BOB, Bench, a_task
from tests.support.clock import START
from wvo_mcp.domain.instant import instant, iso
from wvo_mcp.ports import Transaction
from wvo_mcp.store.transaction import JUMP_MS

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("CLAIM-3")]

LEASE = 600
"""Seconds, as the default limits have it."""


async def left(bench: Bench, task_id: str = "T") -> float:
    """Seconds until the lease ends, by the store's own time."""

    async def seconds(tx: Transaction) -> float:
        task = await tx.tasks.get(task_id)
        assert task.lease_expires_at is not None
        return (task.lease_expires_at - tx.now).total_seconds()

    return await bench.write(seconds)


async def test_a_wall_clock_set_forward_costs_nobody_a_lease(bench: Bench) -> None:
    await bench.create(a_task("T"))
    await bench.claim(ANN)

    bench.clock.jump(3 * 86_400)

    assert (await bench.claim(BOB))["reason"] == "no_ready_tasks"
    assert await left(bench) == LEASE
    bench.clock.advance(LEASE - 1)
    assert (await bench.claim(BOB))["reason"] == "no_ready_tasks"
    bench.clock.advance(1)
    assert (await bench.claim(BOB))["task"]["id"] == "T"


async def test_time_that_passed_is_told_from_a_clock_that_was_set(bench: Bench) -> None:
    await bench.create(a_task("T"))
    await bench.claim(ANN)

    bench.clock.advance(100)
    bench.clock.jump(86_400)
    bench.clock.advance(100)

    assert await left(bench) == LEASE - 200


async def test_a_wall_clock_set_back_is_not_followed(bench: Bench) -> None:
    await bench.create(a_task("T"))
    await bench.claim(ANN)
    bench.clock.advance(10)
    bench.clock.jump(-86_400)

    await bench.create(a_task("U"))
    assert (await bench.task("U")).created_at == START.replace(second=10)
    assert await left(bench) == LEASE - 10
    bench.clock.advance(LEASE - 10)
    assert (await bench.claim(BOB, "T"))["lease"]["token"] == 2


async def test_small_differences_between_the_clocks_are_drift_and_move_nothing(bench: Bench) -> None:
    await bench.create(a_task("T"))
    await bench.claim(ANN)

    bench.clock.jump(JUMP_MS / 1_000)

    assert await left(bench) == LEASE - JUMP_MS / 1_000


@pytest.mark.requirement("OBS-2")
async def test_after_a_reboot_with_a_clock_behind_nothing_precedes_the_latest_event(bench: Bench) -> None:
    bench.clock.advance(hours=5)
    await bench.create(a_task("T"))
    latest = bench.clock.now()

    bench.clock.jump(-4 * 3_600)
    bench.clock.reboot()
    await bench.create(a_task("U"))
    bench.clock.advance(7)
    await bench.create(a_task("V"))

    assert (await bench.task("U")).created_at == latest
    assert (await bench.task("V")).created_at == latest.replace(second=7)
    times = [instant(row["at"]) for row in await bench.sql("SELECT at FROM events ORDER BY seq")]
    assert times == sorted(times)


async def test_after_a_reboot_the_time_that_the_machine_was_off_counts(bench: Bench) -> None:
    await bench.create(a_task("T"))
    await bench.claim(ANN)

    bench.clock.reboot(LEASE + 1)

    assert (await bench.claim(BOB))["task"]["id"] == "T"


async def test_a_leader_stays_the_leader_when_the_wall_clock_is_set_forward(bench: Bench) -> None:
    assert await bench.write(lambda tx: tx.state.lead("background", 15), ANN) == 1

    bench.clock.jump(3_600)

    assert await bench.write(lambda tx: tx.state.lead("background", 15), BOB) is None
    bench.clock.advance(15)
    assert await bench.write(lambda tx: tx.state.lead("background", 15), BOB) == 2


async def test_a_read_tells_the_time_without_writing_it_down(bench: Bench) -> None:
    before = await bench.sql("SELECT * FROM store")
    bench.clock.jump(3_600)

    assert iso(await bench.read(now)) == iso(bench.clock.now())

    assert await bench.sql("SELECT * FROM store") == before


async def now(tx: Transaction) -> datetime:
    return tx.now
