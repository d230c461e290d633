"""What every store needs done, on a stopped clock."""

import anyio
import pytest

from tests.support.bench import ANN, BOB, OWNER, Bench, a_task
from tests.support.leading import a_leader
from tests.support.sessions import an_agent
from tests.support.watching import loop_of, seated
from wvo_mcp.domain.health import AnomalyKind
from wvo_mcp.domain.instant import iso
from wvo_mcp.domain.lease import Caller
from wvo_mcp.orchestration.background import leader_jobs, refresh_unled
from wvo_mcp.orchestration.leader import Leader

pytestmark = pytest.mark.anyio

CARLA = an_agent("carla", "cli:carla", durable=True)


def leader(bench: Bench, caller: Caller) -> Leader:
    return a_leader(bench.store, lambda: caller, bench.clock, leader_jobs(bench.services.roadmap, bench.policy))


async def ticked(leads: Leader) -> bool:
    """One tick, and everything that it began; does it lead?"""
    leading = False
    async with anyio.create_task_group() as tasks:
        leading = await leads.tick(tasks)
    return leading


async def test_the_leader_returns_expired_tasks_without_any_claim(bench: Bench) -> None:
    await bench.create(a_task("T1"))
    await bench.claim(ANN)
    bench.clock.advance(minutes=11)

    assert await ticked(leader(bench, BOB))

    assert await bench.status("T1") == ["pending"]


@pytest.mark.requirement("CLAIM-3", "HEALTH-2")
async def test_agents_that_slept_with_their_machine_wake_up_with_their_tasks(bench: Bench) -> None:
    await bench.create(a_task("T1"))
    await bench.claim(ANN)
    leads = leader(bench, BOB)
    assert await ticked(leads)

    bench.clock.jump(9 * 3_600)  # of the lid; the steady clock slept as well

    assert await ticked(leads)
    health = await loop_of(bench).cycle(await seated(bench, BOB))
    assert [anomaly.kind for anomaly in health.orientation.anomalies if anomaly.kind is AnomalyKind.STALE_TASKS] == []
    assert await bench.status("T1") == ["in_progress"]
    bench.clock.advance(minutes=11)
    assert await ticked(leads)
    assert await bench.status("T1") == ["pending"]


@pytest.mark.requirement("TASK-5")
async def test_a_changed_roadmap_is_read_once_settled_and_its_errors_raise_an_alert(bench: Bench) -> None:
    path = bench.roadmap
    leads = leader(bench, ANN)
    path.write_text("epics:\n  - id: E\n    title: E\n    tasks:\n      - {id: T1, title: one}\n")

    assert await ticked(leads)
    assert (await bench.call("list_tasks"))["total"] == 0
    assert await ticked(leads)
    assert await bench.status("T1") == ["pending"]
    path.write_text("epics:\n  - id: E\n    title: E\n    tasks:\n      - {id: T1, title: one, colour: red}\n")
    assert await ticked(leads)
    assert await ticked(leads)

    alerts = (await bench.call("status"))["alerts"]
    assert [alert["kind"] for alert in alerts] == ["roadmap_invalid"]
    assert "roadmap.yaml:5" in alerts[0]["message"]
    path.write_text("epics:\n  - id: E\n    title: E\n    tasks:\n      - {id: T1, title: two words}\n")
    assert await ticked(leads)
    assert await ticked(leads)
    assert (await bench.call("status"))["alerts"] == []
    assert (await bench.task("T1")).title == "two words"


@pytest.mark.requirement("SCHED-1")
async def test_scores_follow_a_due_date_as_it_nears(bench: Bench) -> None:
    path = bench.roadmap
    path.write_text(
        "epics:\n  - id: E\n    title: E\n    milestones:\n      - {id: M, title: M, due: 2026-04-01}\n"
        "    tasks:\n      - {id: T1, title: one, milestone: M, complexity: 1}\n"
    )
    await bench.call("roadmap_sync")
    before = (await bench.task("T1")).score
    bench.clock.advance(days=20)
    assert await ticked(leader(bench, ANN))

    days_left = 10 + (86_399.999 - 9 * 3600) / 86_400
    path_value = 10  # all the work there is, and three may work at once
    assert before < (await bench.task("T1")).score == round(5 + 10 / (1 + days_left / 7) + path_value, 4)


@pytest.mark.requirement("CORE-11")
async def test_a_killed_server_that_held_nothing_is_not_kept_as_connected(
    bench: Bench,
) -> None:
    await bench.create(a_task("T1"), caller=ANN)
    await bench.create(a_task("T2"), caller=OWNER)
    await bench.claim(BOB)
    bench.servers.kill("ann/1")

    assert await ticked(leader(bench, BOB))

    open_sessions = await bench.sql("SELECT session_id FROM sessions WHERE ended_at IS NULL ORDER BY 1")
    assert [row["session_id"] for row in open_sessions] == ["bob/1", "cli:owner"]


MANY = """
INSERT INTO sessions (session_id, agent_id, durable, started_at, last_call_at, ended_at)
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?)
SELECT ? || i, ? || i, ?, ?, ?, ? FROM n"""
AGENTS = """
INSERT INTO agent_pool (agent_id, status, capabilities, last_seen_at)
SELECT agent_id, 'idle', '[]', last_call_at FROM sessions WHERE agent_id LIKE ?"""


async def many(bench: Bench, count: int, name: str, *, durable: bool, ended_at: str | None = None) -> None:
    """Sessions of as many agents, all of them begun now."""
    now = iso(bench.clock.now())
    await bench.force(MANY, count, f"{name}:", f"{name}-", int(durable), now, now, ended_at)
    await bench.force(AGENTS, f"{name}-%")


@pytest.mark.requirement("CORE-11")
async def test_a_dead_server_is_found_among_any_number_of_sessions_of_commands(bench: Bench) -> None:
    await bench.create(a_task("T1"), caller=ANN)
    bench.clock.advance(seconds=1)
    await many(bench, 3_000, "cli", durable=True)
    await many(bench, 450, "gone", durable=False)
    for number in range(1, 451):
        bench.servers.kill(f"gone:{number}")
    bench.servers.kill("ann/1")

    assert await ticked(leader(bench, BOB))

    (open_now,) = await bench.sql("SELECT count(*) AS n, sum(durable) AS durable FROM sessions WHERE ended_at IS NULL")
    assert (int(open_now["n"]), int(open_now["durable"])) == (3_000, 3_000)


@pytest.mark.requirement("CORE-11")
async def test_only_sessions_and_agents_silent_for_a_week_are_removed(bench: Bench) -> None:
    await many(bench, 450, "ended", durable=False, ended_at=iso(bench.clock.now()))
    await many(bench, 450, "cli", durable=True)
    await bench.create(a_task("HELD"), a_task("MINE"), a_task("DONE"))
    await bench.claim(CARLA, "HELD", lease_seconds=86_400)
    await bench.claim(ANN, "MINE", agent_id="ann.1", lease_seconds=86_400)
    await bench.claim(BOB, "DONE", agent_id="bob.1")
    await bench.complete("DONE", BOB)
    kept = await bench.sql("SELECT count(*) AS n FROM events")
    bench.clock.advance(hours=24 * 7 - 1)
    leads = leader(bench, BOB)
    await bench.write(lambda tx: tx.queue.renew("ann/1"))
    await bench.write(lambda tx: tx.queue.renew("cli:carla"))
    assert await ticked(leads)
    (before,) = await bench.sql("SELECT count(*) AS n FROM sessions")
    bench.clock.advance(hours=2)

    assert await ticked(leads)

    sessions = await bench.sql("SELECT session_id FROM sessions ORDER BY 1")
    agents = await bench.sql("SELECT agent_id FROM agent_pool ORDER BY 1")
    assert int(before["n"]) == 903
    assert [row["session_id"] for row in sessions] == ["ann/1", "bob/1", "cli:carla"]
    assert [row["agent_id"] for row in agents] == ["ann.1", "carla"]
    assert int((await bench.sql("SELECT count(*) AS n FROM events"))[0]["n"]) >= int(kept[0]["n"])
    bench.servers.kill("ann/1")
    again = await bench.call("checkpoint", an_agent("ann", "ann/2"), task_id="MINE", lease_token=1, summary="adopted")
    assert again["lease"]["token"] == 1
    await bench.complete("HELD", CARLA)


async def test_whoever_was_removed_begins_like_somebody_new(bench: Bench) -> None:
    await bench.create(a_task("T1"), a_task("T2"))
    await bench.claim(CARLA, "T1")
    await bench.complete("T1", CARLA)
    bench.clock.advance(days=8)
    assert await ticked(leader(bench, BOB))
    assert await bench.sql("SELECT * FROM agent_pool WHERE agent_id = 'carla'") == []

    assert (await bench.claim(CARLA))["task"]["id"] == "T2"
    assert (await bench.complete("T2", CARLA))["task"]["status"] == "done"


@pytest.mark.requirement("SCHED-1")
async def test_where_no_server_leads_each_writing_command_goes_on_with_marked_scores(bench: Bench) -> None:
    await bench.create(a_task("T1"), a_task("T2"))
    await refresh_unled(bench.store, CARLA)
    assert not await bench.read(lambda tx: tx.graph.stale())
    await bench.force("UPDATE tasks SET unlock_stale = 1, score = 0")

    assert await ticked(leader(bench, ANN))  # somebody leads, and does it in time
    await bench.force("UPDATE tasks SET unlock_stale = 1, score = 0")
    await refresh_unled(bench.store, CARLA)
    assert (await bench.task("T1")).score == 0
    bench.clock.advance(minutes=11)
    await refresh_unled(bench.store, CARLA)

    assert (await bench.task("T1")).score > 0
    assert not await bench.read(lambda tx: tx.graph.stale())
