"""What the cycle measures is what plain SQL counts on the same store; and the report has exactly the fields it should."""

import json
import random
import threading
from datetime import timedelta
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest

from tests.support.bench import OWNER, Bench, a_task
from tests.support.sessions import an_agent
from wvo_mcp.domain.instant import iso
from wvo_mcp.execution.reports import HealthReportFile
from wvo_mcp.orchestration.health.report import HOURLY_SECONDS, Reporter
from wvo_mcp.orchestration.leader import LEASE_SECONDS, Candidate, LeaderTerm
from wvo_mcp.ports import Transaction

pytestmark = [pytest.mark.anyio, pytest.mark.both_stores]

WATCH = an_agent("watch")
CONTRACT = [
    "timestamp",
    "pendingCount",
    "readyCount",
    "inProgressCount",
    "doneCount",
    "blockedCount",
    "queueDepth",
    "wipUtilization",
    "throughputLastHour",
    "throughputLast5Min",
    "staleTaskCount",
    "maxStaleAgeMs",
    "dependencySyncRatio",
    "busyAgents",
    "idleAgents",
    "totalAgents",
]


async def counted(bench: Bench) -> dict[str, Any]:
    """The same figures by statements that read every row."""
    now = bench.clock.now()

    async def one(sql: str, *params: Any) -> int:
        return int((await bench.sql(f"SELECT {sql} AS n", *params))[0]["n"])

    def completed(minutes: int) -> tuple[str, str]:
        since = iso(now - timedelta(minutes=minutes))
        return "count(*) AS n FROM events WHERE kind = 'task.completed' AND at > ?", since

    async def rows(minutes: int) -> int:
        sql, since = completed(minutes)
        return int((await bench.sql(f"SELECT {sql}", since))[0]["n"])

    status = "(SELECT count(*) FROM tasks WHERE status = '{}')"
    agents = "(SELECT count(*) FROM agent_pool WHERE status = '{}')"
    held = await one(status.format("in_progress"))
    busy, idle = await one(agents.format("busy")), await one(agents.format("idle"))
    return {
        "timestamp": iso(now),
        "pendingCount": await one(status.format("pending")),
        "readyCount": await one("(SELECT count(*) FROM ready_tasks)"),
        "inProgressCount": held,
        "doneCount": await one(status.format("done")),
        "blockedCount": await one(status.format("blocked")),
        "queueDepth": await one("(SELECT count(*) FROM ready_tasks)"),
        "wipUtilization": round(held / 3, 4),
        "throughputLastHour": await rows(60),
        "throughputLast5Min": await rows(5),
        "staleTaskCount": 0,
        "maxStaleAgeMs": 0,
        "dependencySyncRatio": 1.0,
        "busyAgents": busy,
        "idleAgents": idle,
        "totalAgents": busy + idle,
    }


@pytest.mark.requirement("HEALTH-1", "HEALTH-4")
async def test_every_figure_is_what_plain_sql_counts(bench: Bench) -> None:
    chance = random.Random(4)
    bench.limits(wip_limit=50, agent_wip_limit=50)
    await bench.create(*(a_task(f"T{n}", depends_on=[f"T{n - 1}"] if n % 7 == 6 else []) for n in range(90)))
    await bench.create(a_task("LATER", not_before="2027-01-01T00:00:00Z"), a_task("ASKED", requires_approval=True))
    await bench.call("block_task", OWNER, task_id="T89", reason="not now")
    agents = [an_agent(name) for name in ("a", "b", "c")]
    for _ in range(45):
        bench.clock.advance(chance.choice([0, 0.5, 20, 100, 299.999, 300, 301, 700]))
        agent = chance.choice(agents)
        claimed = await bench.claim(agent)
        if claimed["task"] is not None and chance.random() < 0.8:
            await bench.complete(claimed["task"]["id"], agent)
        if chance.random() < 0.5:
            ran = await bench.call("health_run", WATCH)
            measured = {**ran["observed"]["metrics"], "staleTaskCount": 0, "maxStaleAgeMs": 0}
            assert measured == await counted(bench)
    await bench.call("health_run", WATCH)
    assert await bench.sql("SELECT sum(completed) AS n FROM throughput_hours") == await bench.sql(
        "SELECT count(*) AS n FROM events WHERE kind = 'task.completed'"
    )


async def test_completions_are_counted_by_minute_as_far_back_as_is_asked(bench: Bench) -> None:
    await bench.create(*(a_task(f"T{n}") for n in range(200)))
    for n in range(200):
        await bench.done(f"T{n}")
        bench.clock.advance(seconds=30)

    whole, half = (bench.clock.now() - timedelta(minutes=minutes) for minutes in (100, 50.25))

    assert await bench.read(lambda tx: tx.health.completions(bench.clock.now())) == {}
    assert list((await bench.read(lambda tx: tx.health.completions(half))).values()) == [2] * 50
    assert sum((await bench.read(lambda tx: tx.health.completions(whole))).values()) == 199


async def test_hours_in_which_nobody_led_are_counted_by_the_next_leader(bench: Bench) -> None:
    await bench.create(*(a_task(f"T{n}") for n in range(4)))
    await bench.done("T0")
    await bench.call("health_run", WATCH)
    for n in (1, 2, 3):
        await bench.done(f"T{n}")
        bench.clock.advance(minutes=40)
    await bench.call("health_run", WATCH)

    hours = await bench.sql("SELECT completed FROM throughput_hours ORDER BY hour")
    assert (sum(row["completed"] for row in hours), len(hours) > 1) == (4, True)


async def seated(bench: Bench) -> LeaderTerm:
    term = await Candidate(bench.store, lambda: WATCH, bench.clock).seek()
    assert term is not None
    return term


@pytest.mark.requirement("HEALTH-4")
async def test_the_report_is_written_after_the_first_cycle_hourly_and_at_the_last_stop(
    bench: Bench, tmp_path: Path
) -> None:
    path = tmp_path / "state" / "analytics" / "autopilot_health_report.json"
    reporter = Reporter(HealthReportFile(path), bench.clock, 60)
    await bench.create(a_task("T1"))
    await bench.claim(an_agent("gone"), "T1")
    bench.servers.kill("gone/1")
    bench.clock.advance(minutes=20)
    await reporter.write_due(await seated(bench))
    assert not path.exists()
    await bench.call("health_run", WATCH)

    await reporter.write_due(await seated(bench))

    report = json.loads(path.read_text())
    assert list(report) == ["running", "lastCycle", "metricsHistory", "activeAnomalies", "recentRemediations"]
    assert [set(entry) for entry in report["metricsHistory"]] == [set(CONTRACT)]
    assert (report["running"], report["lastCycle"]) == (True, iso(bench.clock.now()))
    assert [one["kind"] for one in report["activeAnomalies"]] == ["stale_tasks", "queue_empty", "zombie_agents"]
    assert next((one["anomaly"], one["result"]) for one in report["recentRemediations"]) == ("stale_tasks", "remedied")
    assert report["metricsHistory"][0]["staleTaskCount"] == 1
    assert report["metricsHistory"][0]["maxStaleAgeMs"] == 20 * 60_000
    assert {"timestamp", "anomaly", "action", "result", "message"} <= set(report["recentRemediations"][0])
    for _ in range(int(HOURLY_SECONDS // 600)):
        bench.clock.advance(600)
        await bench.call("health_run", WATCH)
        await reporter.write_due(await seated(bench))
    assert len(json.loads(path.read_text())["metricsHistory"]) == 7, "once an hour"

    await reporter.leave(bench.store, an_agent("other"))
    assert json.loads(path.read_text())["running"], "another leads"
    await reporter.leave(bench.store, WATCH)
    assert not json.loads(path.read_text())["running"]
    path.unlink()
    bench.clock.advance(LEASE_SECONDS)
    await reporter.leave(bench.store, an_agent("other"))
    assert path.exists(), "nobody leads"


@pytest.mark.sqlite
async def test_the_last_report_has_a_cycle_that_was_cancelled_while_being_written(bench: Bench, tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    reporter = Reporter(HealthReportFile(path), bench.clock, 60)
    await bench.call("health_run", WATCH)
    (sample,) = await bench.read(lambda tx: tx.health.samples(1))
    last = {**sample, "timestamp": iso(bench.clock.advance(1))}
    begun, go_on = threading.Event(), threading.Event()

    async def slow(tx: Transaction) -> None:
        begun.set()
        assert go_on.wait(60)
        await tx.health.add_sample(last)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(bench.store.write, WATCH, slow)
        await anyio.to_thread.run_sync(begun.wait)
        tasks.cancel_scope.cancel()
    bench.clock.advance(LEASE_SECONDS)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(reporter.leave, bench.store, WATCH)
        await anyio.wait_all_tasks_blocked()
        go_on.set()

    assert json.loads(path.read_text())["lastCycle"] == last["timestamp"]


@pytest.mark.sqlite
async def test_only_a_hundred_samples_are_kept(bench: Bench) -> None:
    await bench.create(a_task("T1"))
    await bench.done("T1")
    for _ in range(103):
        bench.clock.advance(minutes=30)
        await bench.call("health_run", WATCH)

    assert await bench.sql("SELECT count(*) AS n FROM health_samples") == [{"n": 100}]
    assert len(await bench.read(lambda tx: tx.health.samples(200))) == 100
