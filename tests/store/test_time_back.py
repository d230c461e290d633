"""The way back after a boot with a clock in 2099: nothing that was fixed there stays there, and the trail is whole."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.support.bench import ANN, BOB, OWNER, Bench, a_task
from tests.support.providers import FixedProviders, limited, only
from tests.support.watching import seated
from wvo_mcp.domain.finding import Finding, Outcome
from wvo_mcp.domain.instant import iso
from wvo_mcp.domain.providers.catalogue import Limits
from wvo_mcp.errors import Conflict, Forbidden
from wvo_mcp.orchestration.background import watch_time
from wvo_mcp.ports.providers import Spent
from wvo_mcp.store.doctor_checks import chains, store_time
from wvo_mcp.store.sql import Rows

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("OBS-2")]

WRONG = datetime(2099, 6, 1, tzinfo=UTC)


@pytest.fixture
async def wronged(bench: Bench) -> Bench:
    """Work went on for an hour after a boot in 2099; then the machine was started anew with the right clock."""
    limits = Limits(hourly=3_000_000, daily=9_000_000)
    bench.services = replace(bench.services, providers=FixedProviders(limited("claude", limits, only("claude"))))
    bench.limits(wip_limit=9, agent_wip_limit=9)
    await bench.create(
        *(a_task(name) for name in ("FAILED", "HELD", "NEXT")), a_task("LATER", not_before="2027-01-01T00:00:00Z")
    )
    right = bench.clock.now()
    bench.clock.reboot((WRONG - right).total_seconds())
    await bench.claim(BOB, "FAILED")
    await bench.call("fail_task", BOB, task_id="FAILED", error="broken")
    await bench.write(lambda tx: tx.routing.record(Spent("ann", "claude", "low", "m", 700, 700, cost=0.5)))
    await bench.write(lambda tx: tx.queue.open_gates())
    bench.clock.advance(hours=1)
    await bench.claim(ANN, "HELD", lease_seconds=600)
    bench.clock.reboot()
    bench.clock.jump((right + timedelta(hours=1, seconds=60) - bench.clock.now()).total_seconds())
    return bench


async def doctored(bench: Bench, look: Callable[[Rows], Finding]) -> Finding:
    async def looking(rows: Rows) -> Finding:
        return look(rows)

    return await bench.store.writer.read(looking)


async def everything(bench: Bench) -> str:
    tables = ("store", "tasks", "events", "sessions", "agent_pool", "usage_days", "leaders", "task_routes")
    return str([await bench.sql(f"SELECT * FROM {table} ORDER BY 1") for table in tables])


async def used_today(bench: Bench) -> dict[str, int]:
    shown: dict[str, Any] = await bench.call("budget_show", OWNER)
    return {window["period"]: window["used"] for window in shown["windows"]}


async def test_the_time_comes_back_with_leases_waits_and_budgets_and_the_trail_tells_of_it(wronged: Bench) -> None:
    bench, now = wronged, wronged.clock.now()
    assert (await bench.read(_time)).year == 2099
    assert (await bench.task("LATER")).gates == 0
    found = await doctored(bench, lambda rows: store_time(rows, now))
    assert found.outcome is Outcome.WARN
    assert "set-time-back" in (found.remedy or "")
    before = await everything(bench)

    shown = await bench.call("set_time_back", OWNER)
    assert await everything(bench) == before
    done = await bench.call("set_time_back", OWNER, apply=True)

    assert (shown["applied"], done["applied"]) == (False, True)
    assert shown["moves"] == done["moves"]
    assert done["moves"]["tasks.lease_expires_at"] == 1
    assert await bench.read(_time) == now
    held, failed, later = [await bench.task(task_id) for task_id in ("HELD", "FAILED", "LATER")]
    assert held.lease_expires_at is not None
    assert timedelta(seconds=500) < held.lease_expires_at - now <= timedelta(seconds=600)
    assert failed.not_before is not None
    assert failed.not_before < now  # 30 s after a failure an hour ago
    assert iso(later.not_before or now) == "2027-01-01T00:00:00.000Z"
    assert later.gates == 1
    assert (await used_today(bench))["day"] == 700
    future = "SELECT count(*) AS n FROM sessions WHERE last_call_at > ?"
    assert int((await bench.sql(future, iso(now)))[0]["n"]) == 0
    # The trail is as it was, chained on, and its last word is true.
    followed = await doctored(bench, lambda rows: chains(rows, 60))
    assert followed.outcome is Outcome.OK
    (last,) = await bench.sql("SELECT kind, at, agent_id FROM events ORDER BY seq DESC LIMIT 1")
    assert last == {"kind": "store.time_set_back", "at": iso(now), "agent_id": OWNER.agent_id}
    assert (await doctored(bench, lambda rows: store_time(rows, now))).outcome is Outcome.OK


async def test_work_goes_on_in_the_right_time_after_it(wronged: Bench) -> None:
    bench = wronged
    await bench.call("set_time_back", OWNER, apply=True)
    again = await bench.call("set_time_back", OWNER, apply=True)
    assert (again["applied"], again["moves"]) == (False, {})

    await bench.complete("HELD", ANN)
    assert (await bench.task("HELD")).finished_at == bench.clock.now()
    claimed = {(await bench.claim(BOB))["task"]["id"] for _ in range(2)}
    assert claimed == {"FAILED", "NEXT"}
    bench.clock.advance(minutes=11)
    assert (await bench.claim(ANN))["task"]["id"] in claimed  # their leases have run out


async def test_what_a_wrong_clock_saw_completed_is_not_counted_when_its_time_comes(bench: Bench) -> None:
    await bench.create(a_task("AHEAD"), a_task("NOW"))
    right = bench.clock.now()
    bench.clock.reboot(timedelta(hours=3).total_seconds())
    await bench.claim(ANN, "AHEAD")
    await bench.complete("AHEAD", ANN)
    bench.clock.reboot()
    bench.clock.jump((right + timedelta(minutes=6) - bench.clock.now()).total_seconds())
    await bench.call("set_time_back", OWNER, apply=True)

    bench.clock.advance(hours=3)
    await bench.claim(ANN, "NOW")
    await bench.complete("NOW", ANN)
    await bench.write(lambda tx: tx.health.count_hours())

    hour_ago = bench.clock.now() - timedelta(hours=1)
    assert sum((await bench.read(lambda tx: tx.health.completions(hour_ago))).values()) == 1
    assert sum(hour.completed for hour in await bench.read(lambda tx: tx.health.hours(right))) == 1


async def test_only_people_may_and_only_by_a_clock_that_can_be_right(wronged: Bench) -> None:
    bench = wronged
    with pytest.raises(Forbidden):
        await bench.call("set_time_back", ANN, apply=True)
    bench.clock.jump(-86_400 * 365)

    with pytest.raises(Conflict, match="before the first event"):
        await bench.call("set_time_back", OWNER, apply=True)


async def test_an_alert_tells_that_the_store_is_ahead_until_it_is_not(wronged: Bench) -> None:
    bench = wronged
    watch = watch_time(bench.clock)
    for _ in range(2):
        await watch.run(await seated(bench, BOB))
    assert ("clock_ahead", "critical", None) in await bench.alerts()

    await bench.call("set_time_back", OWNER, apply=True)
    await watch.run(await seated(bench, BOB))

    assert await bench.alerts() == []


async def _time(tx: Any) -> datetime:
    return tx.now
