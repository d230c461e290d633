"""What a cycle does about what it found, who may do it, and what happens when a part of it fails."""

from collections.abc import Sequence
from typing import Any

import anyio
import pytest

from tests.support.bench import ANN, BOB, OWNER, Bench, a_task
from tests.support.leading import a_leader
from tests.support.sessions import an_agent
from tests.support.watching import abandoned, loop_of, seated
from wvo_mcp.domain.health import Thresholds
from wvo_mcp.execution.clock import SystemClock
from wvo_mcp.orchestration.health.act import act
from wvo_mcp.orchestration.health.decide import decide
from wvo_mcp.orchestration.health.observe import observe
from wvo_mcp.orchestration.health.orient import orient
from wvo_mcp.orchestration.leader import LEASE_SECONDS, TICK_SECONDS, LeaderJob, LeaderTerm, Overtaken
from wvo_mcp.ports import Transaction

pytestmark = pytest.mark.anyio

WATCH = an_agent("watch")


async def health_kinds(bench: Bench, task_id: str) -> list[str]:
    """Of the task's events, without what led there."""
    return (await bench.kinds(task_id))[2:]


async def everything(bench: Bench) -> Sequence[Any]:
    tables = ("tasks", "events", "alerts", "agent_pool", "health_samples", "throughput_hours", "facts")
    return [await bench.sql(f"SELECT * FROM {table} ORDER BY 1") for table in tables]


@pytest.mark.requirement("HEALTH-1", "HEALTH-2")
async def test_a_new_leader_returns_stale_tasks_at_once_and_records_each_fix(
    bench: Bench,
) -> None:
    await abandoned(bench, "T1")
    leads = a_leader(bench.store, lambda: WATCH, bench.clock, loop_of(bench).jobs())

    async with anyio.create_task_group() as tasks:
        assert await leads.tick(tasks)

    assert await bench.status("T1") == ["pending"]
    assert await health_kinds(bench, "T1") == ["health.remedy_begun", "lease.expired", "health.remedied"]
    events = await bench.read(lambda tx: tx.events.of_task("T1", 10))
    assert events[-1].data == {
        "anomaly": "stale_tasks",
        "action": "return_to_queue",
        "subject": "T1",
        "result": "remedied",
        "message": "T1 is pending after 20 min without a sign of life",
    }
    assert await bench.read(lambda tx: tx.events.broken_chain("T1")) is None
    assert (await bench.sql("SELECT ended_at FROM sessions WHERE session_id = 'dead-T1/1'"))[0]["ended_at"] is not None


@pytest.mark.requirement("HEALTH-2")
async def test_a_quiet_connected_agent_keeps_its_task_and_so_does_one_in_grace(
    bench: Bench,
) -> None:
    loop = loop_of(bench, grace_seconds=3_600, stale_seconds=60)
    await bench.create(a_task("QUIET"), a_task("GRACE"))
    await bench.claim(ANN, "QUIET", lease_seconds=10_800)
    await bench.claim(BOB, "GRACE", lease_seconds=86_400)
    await bench.write(lambda tx: tx.sessions.end(BOB.session_id))
    for _ in range(59):
        bench.clock.advance(minutes=1)
        await loop.cycle(await seated(bench, WATCH))
    assert await bench.status("QUIET", "GRACE") == ["in_progress", "in_progress"]

    for minute in range(600):
        bench.clock.advance(minutes=1)
        if minute % 60 == 0:  # at a third of its length, as its server does while the client is heard
            await bench.write(lambda tx: tx.queue.renew(ANN.session_id))
        if minute % 60 in (58, 59):
            await loop.cycle(await seated(bench, WATCH))

    assert await bench.status("QUIET", "GRACE") == ["in_progress", "pending"]


@pytest.mark.requirement("HEALTH-2")
async def test_with_remedies_turned_off_it_only_raises_alerts(bench: Bench) -> None:
    await abandoned(bench, "T1")

    cycle = await loop_of(bench, auto_remediate=False).cycle(await seated(bench, WATCH))

    assert cycle.done == ()
    assert [remedy.subject for remedy in cycle.decision.withheld] == ["T1", "dead-T1"]
    assert await bench.status("T1") == ["in_progress"]
    assert ("stale_tasks", "critical", None) in await bench.alerts()
    assert await health_kinds(bench, "T1") == []


@pytest.mark.sqlite
@pytest.mark.requirement("HEALTH-2")
async def test_a_remedy_that_fails_hides_no_other_and_the_second_time_it_escalates(bench: Bench) -> None:
    await abandoned(bench, "T1", "T2")
    await bench.force(
        "CREATE TRIGGER jammed BEFORE UPDATE OF status ON tasks WHEN OLD.id = 'T1' BEGIN SELECT RAISE(ABORT, 'jam'); END"
    )
    loop = loop_of(bench)

    first = await loop.cycle(await seated(bench, WATCH))

    assert await bench.status("T1", "T2") == ["in_progress", "pending"]
    assert {one.subject: one.result for one in first.done}["T1"] == "failed"
    assert await health_kinds(bench, "T1") == ["health.remedy_begun", "health.remedy_failed"]
    alert = await bench.read(lambda tx: tx.alerts.find("stale_tasks", None))
    assert alert is not None
    assert (alert["remedy_failures"], alert["escalated_at"]) == (1, None)

    await loop.cycle(await seated(bench, WATCH))

    alert = await bench.read(lambda tx: tx.alerts.find("stale_tasks", None))
    assert alert is not None
    assert alert["remedy_failures"] == 2
    assert alert["escalated_at"] is not None
    await bench.force("DROP TRIGGER jammed")
    await loop.cycle(await seated(bench, WATCH))
    await loop.cycle(await seated(bench, WATCH))
    assert await bench.status("T1") == ["pending"]
    assert await bench.read(lambda tx: tx.alerts.find("stale_tasks", None)) is None


@pytest.mark.requirement("HEALTH-3")
async def test_what_was_escalated_stays_critical_until_it_is_over(bench: Bench) -> None:
    async def twice(tx: Transaction) -> None:
        await tx.alerts.raise_alert("zombie_agents", "warning", None, "one is gone")
        await tx.alerts.escalate("zombie_agents", None, "nothing helps")
        await tx.alerts.raise_alert("zombie_agents", "warning", None, "two are gone", {"count": 2})

    await bench.write(twice)

    alert = await bench.read(lambda tx: tx.alerts.find("zombie_agents", None))
    assert alert is not None
    assert (alert["severity"], alert["message"], alert["evidence"]) == ("critical", "two are gone", {"count": 2})
    changes = [row["change"] for row in await bench.sql("SELECT change FROM alert_news ORDER BY id")]
    assert changes == ["raised", "escalated"]


@pytest.mark.requirement("HEALTH-2")
async def test_nothing_is_tried_with_an_agent_within_the_grace_of_its_session(bench: Bench) -> None:
    loop = loop_of(bench, stale_seconds=60, grace_seconds=3_600)
    await bench.create(a_task("T1"))
    await bench.claim(ANN, "T1", lease_seconds=86_400)
    bench.clock.advance(600)
    await bench.write(lambda tx: tx.sessions.end(ANN.session_id))

    cycle = await loop.cycle(await seated(bench, WATCH))

    assert {anomaly.kind for anomaly in cycle.orientation.anomalies} >= {"stale_tasks", "zombie_agents"}
    assert cycle.decision.remedies == ()
    bench.clock.advance(3_600)
    cycle = await loop.cycle(await seated(bench, WATCH))
    assert cycle.done[0].result == "remedied"
    assert await bench.status("T1") == ["pending"]


@pytest.mark.requirement("HEALTH-2")
@pytest.mark.parametrize("since", ["heard", "another's"])
async def test_a_remedy_checks_again_within_the_transaction_that_changes_something(bench: Bench, since: str) -> None:
    await abandoned(bench, "T1")
    limits = Thresholds()
    term = await seated(bench, WATCH)
    meant = orient(await observe(term, term.caller, limits, None, count=True), limits)
    decision = decide(meant, limits)
    assert [remedy.subject for remedy in decision.remedies] == ["T1", "dead-T1"]
    if since == "heard":
        await bench.call("heartbeat", an_agent("dead-T1"), task_id="T1")
    else:
        await bench.claim(BOB, "T1")
        bench.servers.kill(BOB.session_id)
        bench.clock.advance(minutes=20)
        term = await seated(bench, WATCH)

    deeds = await act(term, meant, decision, limits, bench.policy)

    assert [one.result for one in deeds] == ["skipped", "skipped"]
    assert await bench.status("T1") == ["in_progress"]


@pytest.mark.sqlite
@pytest.mark.requirement("HEALTH-1")
async def test_a_reading_that_fails_is_reported_and_hides_no_other(bench: Bench) -> None:
    await abandoned(bench, "T1")
    await bench.force(
        "INSERT INTO provider_states (provider, used, capacity, updated_at) VALUES ('codex', 90, 100, '2026-03-02')"
    )
    await loop_of(bench, auto_remediate=False).cycle(await seated(bench, WATCH))
    await bench.force("ALTER TABLE provider_states RENAME TO away")

    cycle = await loop_of(bench).cycle(await seated(bench, WATCH))

    assert "providers" in cycle.observation.failed
    assert await bench.status("T1") == ["pending"]
    assert {("stale_tasks", "critical", None), ("health_look_failed", "warning", None)} <= set(await bench.alerts())
    assert ("provider_capacity", "warning", None) in await bench.alerts()  # whether it is over cannot be told
    await bench.force("ALTER TABLE away RENAME TO provider_states")
    await bench.force("UPDATE provider_states SET used = 0")
    await loop_of(bench).cycle(await seated(bench, WATCH))
    assert await bench.alerts() == []


@pytest.mark.requirement("HEALTH-2")
async def test_alerts_of_others_are_left_alone(bench: Bench) -> None:
    await bench.create(a_task("T1", max_attempts=1), a_task("T2"))
    await bench.claim(ANN, "T1")
    await bench.call("fail_task", ANN, task_id="T1", error="no")

    async def raised(tx: Transaction) -> None:
        await tx.alerts.raise_alert("roadmap_invalid", "warning", None, "line 3")
        await tx.alerts.raise_alert("database", "critical", None, "a backup met damage")
        await tx.alerts.raise_alert("backup_failed", "warning", None, "disk full")

    await bench.write(raised)
    before = await bench.alerts()

    await loop_of(bench).cycle(await seated(bench, WATCH))

    assert await bench.alerts() == before


@pytest.mark.requirement("HEALTH-2")
async def test_an_idle_agent_without_a_connection_of_its_own_goes_offline_without_an_alarm(bench: Bench) -> None:
    await bench.create(a_task("T1"), a_task("T2"))
    claimed = await bench.claim(ANN, "T1", agent_id="helper")
    await bench.complete("T1", ANN, lease_token=claimed["lease"]["token"])
    await bench.claim(BOB, "T2")
    await bench.call("release_task", BOB, task_id="T2")
    status = "SELECT agent_id, status FROM agent_pool ORDER BY 1"
    bench.clock.advance(600)
    await loop_of(bench).cycle(await seated(bench, WATCH))
    assert {row["agent_id"]: row["status"] for row in await bench.sql(status)}["helper"] == "idle"

    bench.clock.advance(1)
    await loop_of(bench).cycle(await seated(bench, WATCH))

    found = {row["agent_id"]: row["status"] for row in await bench.sql(status)}
    assert (found["helper"], found["bob"]) == ("offline", "idle")
    assert await bench.read(lambda tx: tx.alerts.find("zombie_agents", None)) is None


@pytest.mark.requirement("HEALTH-1")
async def test_only_the_leader_acts_and_the_other_says_who_that_is(bench: Bench) -> None:
    await abandoned(bench, "T1")
    await seated(bench, ANN)
    before = await everything(bench)

    shown = await bench.call("health_run", BOB)

    assert (shown["acted"], shown["leader"], shown["done"]) == (False, "ann/1", [])
    assert [one["kind"] for one in shown["anomalies"]] == ["stale_tasks", "queue_empty", "zombie_agents"]
    assert [one["subject"] for one in shown["decided"]["remedies"]] == ["T1", "dead-T1"]
    assert await everything(bench) == before

    bench.servers.kill("ann/1")
    assert (await bench.call("health_run", BOB))["acted"]
    assert await bench.status("T1") == ["pending"]


@pytest.mark.requirement("HEALTH-1")
async def test_a_leader_that_was_paused_between_two_steps_acts_on_nothing(bench: Bench) -> None:
    await abandoned(bench, "T1")
    loop = loop_of(bench)
    old = await seated(bench, ANN)
    bench.clock.advance(LEASE_SECONDS)
    new = await seated(bench, BOB)
    before = await everything(bench)

    with pytest.raises(Overtaken):
        await loop.cycle(old)

    assert await everything(bench) == before
    await loop.cycle(new)
    assert await bench.status("T1") == ["pending"]


@pytest.mark.requirement("HEALTH-1")
async def test_a_command_of_a_person_runs_a_cycle_and_leaves_the_post_to_the_servers(bench: Bench) -> None:
    await abandoned(bench, "T1")

    ran = await bench.call("health_run", OWNER)

    assert ran["acted"]
    assert {one["subject"]: one["result"] for one in ran["done"]}["T1"] == "remedied"
    assert await bench.status("T1") == ["pending"]
    assert (await bench.sql("SELECT session_id FROM leaders"))[0]["session_id"] is None


@pytest.mark.requirement("HEALTH-4")
async def test_the_check_says_what_is_wrong_and_where(bench: Bench) -> None:
    await bench.create(a_task("T1"))
    assert (await bench.call("health_check"))["checks"]["mcp_server"].startswith("no server is running")
    await loop_of(bench).cycle(await seated(bench, WATCH))
    fine = await bench.call("health_check")
    assert (fine["status"], set(fine["checks"].values())) == ("healthy", {"ok"})
    await bench.force("INSERT INTO provider_states (provider, state, updated_at) VALUES ('codex', 'open', '2026')")
    await loop_of(bench).cycle(await seated(bench, WATCH))

    sick = await bench.call("health_check")

    assert (sick["status"], sick["checks"]["providers"]) == ("unhealthy", "No provider answers: codex.")
    assert [one["kind"] for one in sick["anomalies"]] == ["all_providers_failing"]
    bench.clock.advance(minutes=4)
    await seated(bench, WATCH)
    assert (await bench.call("health_check"))["checks"]["mcp_server"] == "the last health cycle ended 240 s ago"


@pytest.mark.sqlite
async def test_a_job_due_more_often_than_the_lease_is_renewed_runs_in_between(bench: Bench) -> None:
    third = anyio.Event()
    turns: list[int] = []
    ticks: list[int] = []

    async def turn(term: LeaderTerm) -> None:
        turns.append(term.token)
        if len(turns) == 5:
            third.set()

    async def tick(term: LeaderTerm) -> None:
        ticks.append(term.token)

    leads = a_leader(
        bench.store, lambda: WATCH, SystemClock(), [LeaderJob("often", 0.1, turn), LeaderJob("tick", 0, tick)]
    )
    began = anyio.current_time()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(leads.run)
        with anyio.fail_after(120):
            await third.wait()
        tasks.cancel_scope.cancel()

    passed = anyio.current_time() - began  # half a second, where the machine has nothing else to do
    assert len(ticks) <= 2 + passed / TICK_SECONDS, "jobs of every tick are not done more often by it"


@pytest.mark.requirement("HEALTH-4")
@pytest.mark.parametrize("kind", ["backup_failed", "alert_delivery_failed"])
async def test_the_check_says_what_the_leader_cannot_do(bench: Bench, kind: str) -> None:
    await loop_of(bench).cycle(await seated(bench, WATCH))
    await bench.services.store.write(OWNER, lambda tx: tx.alerts.raise_alert(kind, "critical", None, "no room"))

    found = await bench.call("health_check")

    assert (found["status"], found["checks"]["mcp_server"]) == ("degraded", "no room")


@pytest.mark.sqlite
@pytest.mark.requirement("HEALTH-4")
async def test_a_store_that_cannot_be_read_is_unhealthy_and_says_why(bench: Bench) -> None:
    await bench.create(a_task("T1"))
    away = bench.path.with_name("away.db")
    bench.path.rename(away)

    sick = await bench.call("health_check")

    assert sick["status"] == "unhealthy"
    assert "was deleted or moved away" in sick["checks"]["database"]
    away.rename(bench.path)
    assert (await bench.call("health_check"))["checks"]["database"] == "ok"


@pytest.mark.sqlite
@pytest.mark.requirement("HEALTH-1")
async def test_a_write_that_fails_is_an_anomaly_of_the_database(bench: Bench) -> None:
    loop = loop_of(bench)
    await loop.cycle(await seated(bench, WATCH))
    await bench.force(
        "CREATE TRIGGER full BEFORE UPDATE OF completed ON throughput_hours BEGIN SELECT RAISE(ABORT, 'no room'); END"
    )
    await bench.create(a_task("T1"))

    await loop.cycle(await seated(bench, WATCH))

    alert = await bench.read(lambda tx: tx.alerts.find("database", None))
    assert alert is not None
    assert (alert["severity"], "a write failed" in alert["message"], "no room" in alert["message"]) == (
        "critical",
        True,
        True,
    )
    await bench.force("DROP TRIGGER full")
    await loop.cycle(await seated(bench, WATCH))
    assert await bench.alerts() == []
