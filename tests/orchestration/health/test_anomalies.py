"""Each anomaly at its exact threshold: not seen just before it, raised at it, and over by itself."""

from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest

from tests.support.bench import ANN, BOB, OWNER, Bench, a_task
from tests.support.clock import START
from tests.support.sessions import an_agent
from wvo_mcp.domain.health import AnomalyKind, Condition, Thresholds
from wvo_mcp.domain.instant import iso
from wvo_mcp.domain.lease import Policy
from wvo_mcp.orchestration.health.loop import HealthLoop
from wvo_mcp.orchestration.keeping import end

pytestmark = pytest.mark.anyio

WATCH = an_agent("watch")
Expected = tuple[str, Mapping[str, Any]] | None
Scenario = AsyncGenerator[Expected]
"""Makes things so, then gives what a cycle is to find of its kind: (severity, part of the evidence), or None."""


async def watched(bench: Bench, seconds: float) -> None:
    """So long, with a cycle every five minutes."""
    left = seconds
    while left > 0:
        bench.clock.advance(min(left, 300))
        left = round(left - 300, 3)
        await bench.call("health_run", WATCH)


class Disk:
    """What the probe will find."""

    condition = Condition(bytes=1_000, journal_bytes=0, free_bytes=10**12)

    async def look(self) -> Condition:
        return self.condition


async def stale_tasks(bench: Bench) -> Scenario:
    await bench.create(a_task("T1"))
    await bench.claim(ANN, "T1", lease_seconds=86_400)
    await end(bench.store, ANN, bench.policy)
    bench.clock.advance(299.999)
    yield None
    bench.clock.advance(0.001)
    yield "warning", {"count": 1, "at_threshold": 0, "max_age_seconds": 300.0, "threshold_seconds": 600}
    bench.clock.advance(299.999)
    yield "warning", {"at_threshold": 0}
    bench.clock.advance(0.001)
    yield "critical", {"at_threshold": 1, "tasks": [{"id": "T1", "agent": "ann", "age_seconds": 600.0}]}
    assert await bench.status("T1") == ["pending"]
    assert (await bench.task("T1")).expiries == 1
    yield None


async def stale_tasks_of_a_silent_session(bench: Bench) -> Scenario:
    await bench.create(a_task("T1"))
    await bench.claim(ANN, "T1", lease_seconds=10_000)
    bench.clock.advance(7_200)
    yield None
    bench.clock.advance(0.001)
    yield "critical", {"at_threshold": 1, "max_age_seconds": 7200.001}
    assert await bench.status("T1") == ["pending"]
    yield None


async def stale_tasks_of_a_durable_session(bench: Bench) -> Scenario:
    await bench.create(a_task("T1"))
    await bench.claim(OWNER, "T1", lease_seconds=36_000)  # longer than a session may be silent
    bench.servers.kill(OWNER.session_id)
    bench.clock.advance(35_999.999)
    yield None
    bench.clock.advance(0.001)
    yield "critical", {"at_threshold": 1, "max_age_seconds": 36_000.0}
    yield None


async def dependency_desync(bench: Bench) -> Scenario:
    tasks = "".join(f"      - {{id: R{n}, title: t, depends_on: [R0]}}\n" for n in range(1, 11))
    head = "epics:\n  - id: E\n    title: E\n    tasks:\n      - {id: R0, title: t}\n"
    bench.roadmap.write_text(head + tasks)
    await bench.call("roadmap_sync")
    yield None
    forget = "DELETE FROM task_dependencies WHERE task_id IN (?, ?)"
    await bench.force(forget, "R1", "R2")
    yield None
    await bench.force(forget, "R3", "R3")
    yield "warning", {"written": 10, "present": 7, "ratio": 0.7}
    await bench.force(forget, "R4", "R5")
    yield "warning", {"ratio": 0.5}
    await bench.force(forget, "R6", "R6")
    yield "critical", {"present": 4}
    for n in range(1, 7):
        await bench.force("INSERT INTO task_dependencies (task_id, depends_on_task_id) VALUES (?, 'R0')", f"R{n}")
    yield None


async def throughput_degradation(bench: Bench) -> Scenario:
    bench.limits(wip_limit=50, agent_wip_limit=50)
    await bench.create(*(a_task(f"T{n}") for n in range(40)))
    for hour in range(1, 9):
        await bench.force(
            "INSERT INTO throughput_hours (hour, completed, cycles, working) VALUES (?, 12, 60, 60)",
            f"2026-03-02T0{hour}",
        )
    yield None  # from now on there is known to be work
    done = 0
    for minutes, number in ((30, 1), (1, 2), (1, 1), (8, 5)):
        await watched(bench, 60 * minutes)
        for _ in range(number):
            await bench.done(f"T{done}")
            done += 1
    await watched(bench, 49 * 60 + 59.999)  # 89:59.999
    yield None
    bench.clock.advance(0.001)
    yield "warning", {"last_hour": 8, "usual": 12, "deviation": 0, "compared_with": "recent hours"}
    bench.clock.advance(minutes=1)
    yield "warning", {"last_hour": 6}
    bench.clock.advance(minutes=1)
    yield "critical", {"last_hour": 5}
    for n in range(done, done + 4):
        await bench.done(f"T{n}")
    yield None


async def wip_starvation(bench: Bench) -> Scenario:
    await bench.create(a_task("T1"), a_task("T2", depends_on=["T1"]))
    await bench.claim(BOB)
    yield None
    await bench.claim(ANN)
    yield "warning", {"idle_agents": 1, "pending": 1, "waiting_for_dependencies": 1, "in_progress": 1}
    await bench.call("pause", OWNER)
    yield None
    await bench.call("resume", OWNER)
    yield "warning", {}
    await bench.complete("T1", BOB)
    yield None


async def queue_empty(bench: Bench) -> Scenario:
    yield None  # a store that nobody has planned in is not empty, it is new
    await bench.create(a_task("T1"))
    yield None
    await bench.claim(ANN)
    yield "info", {"pending": 0, "in_progress": 1, "tasks": 1}
    await bench.create(a_task("T2"))
    yield None


async def queue_stalled(bench: Bench) -> Scenario:
    await bench.create(a_task("T1"), a_task("T2"))
    yield None
    await watched(bench, 3_599.999)
    yield None
    bench.clock.advance(0.001)
    yield "critical", {"ready": 2, "ready_since": iso(START)}
    await bench.call("pause", OWNER)
    yield None
    await bench.call("resume", OWNER)
    yield None
    await watched(bench, 3_600)
    yield "critical", {"ready": 2}
    await bench.done("T1")
    yield None


async def queue_stalled_of_a_night_without_servers(bench: Bench) -> Scenario:
    await bench.create(a_task("T1"))
    bench.clock.advance(600.001)
    yield None
    await watched(bench, 3_000)
    yield None
    bench.clock.advance(hours=14)
    yield None
    await watched(bench, 3_600)
    yield "critical", {"ready": 1}
    bench.clock.advance(600)
    yield "critical", {}
    bench.clock.advance(600.001)
    yield None


async def queue_growing(bench: Bench) -> Scenario:
    for n in range(5):
        await bench.create(a_task(f"T{n}"))
        yield None
    await bench.create(a_task("T5"))
    yield "warning", {"cycles": 5, "depths": [1, 2, 3, 4, 5, 6]}
    yield None


async def cycle(bench: Bench) -> Scenario:
    await bench.create(a_task("A"), a_task("B", depends_on=["A"]), a_task("C", depends_on=["B"]))
    yield None
    await bench.force("INSERT INTO task_dependencies (task_id, depends_on_task_id) VALUES ('A', 'B')")
    yield "critical", {"length": 2, "tasks_in_or_behind_cycles": 3}
    await bench.force("DELETE FROM task_dependencies WHERE task_id = 'A'")
    yield None


async def stranded(bench: Bench) -> Scenario:
    await bench.create(a_task("A"), a_task("B", depends_on=["A"]))
    yield None
    await bench.call("cancel", OWNER, task_id="A", reason="no longer wanted")
    yield "warning", {"count": 1, "tasks": [{"id": "B", "waiting_for": "A"}]}
    await bench.call("cancel", OWNER, task_id="B", reason="neither")
    yield None


async def provider_capacity(bench: Bench) -> Scenario:
    await bench.force(
        "INSERT INTO provider_states (provider, used, capacity, updated_at) VALUES ('codex', 79.9, 100, ?)", iso(START)
    )
    yield None
    await bench.force("UPDATE provider_states SET used = 80")
    yield "warning", {"providers": [{"provider": "codex", "used": 80, "capacity": 100}], "threshold": 0.8}
    await bench.force("UPDATE provider_states SET used = 1")
    yield None


async def all_providers_failing(bench: Bench) -> Scenario:
    for name in ("claude", "codex"):
        await bench.force("INSERT INTO provider_states (provider, updated_at) VALUES (?, ?)", name, iso(START))
    await bench.force("UPDATE provider_states SET state = 'open' WHERE provider = 'codex'")
    yield None
    await bench.force("UPDATE provider_states SET state = 'open'")
    yield "critical", {"providers": ["claude", "codex"]}
    await bench.force("UPDATE provider_states SET state = 'half_open' WHERE provider = 'codex'")
    yield None


async def database(bench: Bench) -> Scenario:
    disk = Disk()
    bench.services = replace(bench.services, health=HealthLoop(Thresholds(), Policy(), bench.clock, disk))
    disk.condition = Condition(free_bytes=1_000_000_000)
    yield None
    disk.condition = Condition(free_bytes=999_999_999)
    yield "warning", {"free_bytes": 999_999_999}
    disk.condition = Condition(free_bytes=100_000_000)
    yield "warning", {}
    disk.condition = Condition(free_bytes=99_999_999)
    yield "critical", {}
    disk.condition = Condition(free_bytes=10**12, journal_bytes=512 << 20)
    yield None
    disk.condition = Condition(free_bytes=10**12, journal_bytes=(512 << 20) + 1)
    yield "warning", {"journal_bytes": (512 << 20) + 1}
    disk.condition = Condition(damage="page 7 makes no sense")
    yield "critical", {}
    disk.condition = Condition()
    yield None


async def zombie_agents(bench: Bench) -> Scenario:
    await bench.create(a_task("T1"))
    await bench.claim(ANN)
    yield None
    await bench.force(
        "INSERT INTO agent_pool (agent_id, status, current_task_id, last_seen_at) VALUES ('ghost', 'busy', 'T1', ?)",
        iso(START),
    )
    yield "warning", {"count": 1, "hold_nothing": ["ghost"]}
    assert await bench.sql("SELECT status, current_task_id FROM agent_pool WHERE agent_id = 'ghost'") == [
        {"status": "offline", "current_task_id": None}
    ]
    yield None


async def zombie_agents_whose_server_died(bench: Bench) -> Scenario:
    await bench.create(a_task("T1"))
    await bench.claim(ANN, lease_seconds=600)
    bench.servers.kill(ANN.session_id)
    bench.clock.advance(599.999)
    yield None
    bench.clock.advance(0.001)
    yield "warning", {"count": 1, "silent": ["ann"], "threshold_seconds": 600}
    assert await bench.status("T1") == ["pending"]
    assert await bench.sql("SELECT status FROM agent_pool WHERE agent_id = 'ann'") == [{"status": "offline"}]
    yield None


SCENARIOS: dict[str, Callable[[Bench], Scenario]] = {
    made.__name__: made
    for made in (
        stale_tasks,
        stale_tasks_of_a_silent_session,
        stale_tasks_of_a_durable_session,
        dependency_desync,
        throughput_degradation,
        wip_starvation,
        queue_empty,
        queue_stalled,
        queue_stalled_of_a_night_without_servers,
        queue_growing,
        cycle,
        stranded,
        provider_capacity,
        all_providers_failing,
        database,
        zombie_agents,
        zombie_agents_whose_server_died,
    )
}
_MADE_OF = {name: name.split("_of_")[0].split("_whose_")[0] for name in SCENARIOS}


def test_there_is_a_scenario_for_every_anomaly_of_the_contract() -> None:
    assert set(_MADE_OF.values()) == {kind.value for kind in AnomalyKind}


@pytest.mark.requirement("HEALTH-1", "HEALTH-2")
@pytest.mark.parametrize("name", SCENARIOS)
async def test_an_anomaly_is_raised_at_its_threshold_with_evidence_and_resolves(bench: Bench, name: str) -> None:
    kind = _MADE_OF[name]
    step = 0
    async for expected in SCENARIOS[name](bench):
        step += 1
        ran = await bench.call("health_run", WATCH)
        assert ran["acted"]
        assert ran["observed"]["failed"] == {}, step
        found = {one["kind"]: one for one in ran["anomalies"]}
        alert = await bench.read(lambda tx: tx.alerts.find(kind, None))
        if expected is None:
            assert (kind in found, alert) == (False, None), step
            continue
        assert alert is not None, step
        severity, evidence = expected
        assert (found[kind]["severity"], alert["severity"]) == (severity, severity), step
        assert {key: alert["evidence"].get(key) for key in evidence} == dict(evidence), step
