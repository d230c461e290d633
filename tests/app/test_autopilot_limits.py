"""Limits, money and memory, as the whole autopilot meets them: real store, repository and processes, agents that follow a
script."""

import gc
import tracemalloc
from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any

import psutil
import pytest

from tests.support.shops import DONE, OTHER, OWNER, PROVIDERS, WRITES, Shop
from wvo_mcp.domain.worker import Outcome, WorkerState
from wvo_mcp.execution.agents.scripted import Steps
from wvo_mcp.execution.workspaces import places
from wvo_mcp.orchestration.pool import pool, watching

pytestmark = pytest.mark.anyio


@pytest.mark.requirement("PROV-3")
@pytest.mark.requirement("WORK-7")
async def test_a_limit_parks_the_task_and_the_same_session_ends_it_once(shop: Callable[..., Shop]) -> None:
    used = {"use": {"in": 100, "out": 10, "cost": 0.01}}
    made = shop(A=[{"say": "begun"}, used, {"limit": 1}, {"limit": 1}, WRITES, DONE])

    summary, rows, found = await made.done()

    assert [one["task_id"] for one in summary["done"]] == ["A"], (summary, made.news)
    assert (found["A"].attempts, found["A"].expiries) == (0, 0)
    assert [(one.state, one.outcome) for one in rows] == [
        (WorkerState.ENDED, Outcome.LIMITED),
        (WorkerState.ENDED, Outcome.COMPLETED),
    ]
    assert rows[0].client_session == rows[1].client_session is not None
    assert rows[1].lease_token == rows[0].lease_token + 1
    assert made.events("launched", "parked", "resumed") == ["launched", "parked", "resumed"]


@pytest.mark.full
@pytest.mark.requirement("PROV-3")
async def test_a_limit_that_is_none_moves_nothing(shop: Callable[..., Shop]) -> None:
    made = shop(A=[{"limit": 7_200}, WRITES, DONE])
    summary, rows, _ = await made.done()
    assert [one["task_id"] for one in summary["done"]] == ["A"], (summary, made.news)
    assert [one.outcome for one in rows] == [Outcome.COMPLETED]
    assert made.events("parked") == []


@pytest.mark.requirement("PROV-3")
@pytest.mark.requirement("WORK-7")
async def test_another_provider_takes_over_in_the_same_worktree(shop: Callable[..., Shop]) -> None:
    half = {"call": "checkpoint", "with": {"summary": "half is made"}}
    limits = [{"limit": 7_200}, {"limit": 7_200}]
    made = shop(A=[WRITES, half, *limits])
    made.others["A"] = [{"write": "rest.txt", "text": "rest\n"}, DONE]
    made.configure(PROVIDERS.replace("on_limit: wait", "on_limit: switch") + OTHER)

    summary, rows, found = await made.done()

    assert [one["task_id"] for one in summary["done"]] == ["A"], (summary, made.news)
    assert [(one.provider, one.outcome) for one in rows] == [
        ("scripted", Outcome.LIMITED),
        ("other", Outcome.COMPLETED),
    ]
    assert rows[0].workspace == rows[1].workspace and found["A"].attempts == 0
    assert {"made.txt", "rest.txt"} <= made.submitted("A")


@pytest.mark.full
@pytest.mark.parametrize("kind", ["capacity", "outage", "context", "auth"])
@pytest.mark.requirement("PROV-4")
async def test_failures_of_a_provider_cost_no_attempt(shop: Callable[..., Shop], kind: str) -> None:
    made = shop(A=[WRITES, {"fail": kind}, DONE])
    made.others["A"] = [DONE]
    made.configure(PROVIDERS + OTHER)

    summary, rows, found = await made.done()

    assert [one["task_id"] for one in summary["done"]] == ["A"], (summary, made.news)
    assert found["A"].attempts == 0 and len(rows) == 2
    assert (rows[-1].provider == "other") is (kind == "auth")
    assert (rows[-1].client_session == rows[0].client_session) is (kind in ("capacity", "outage"))


@pytest.mark.requirement("WORK-6")
async def test_no_more_is_spent_than_the_run_may_and_the_reasons_say_so(shop: Callable[..., Shop]) -> None:
    steps: Steps = [
        {"use": {"in": 10, "out": 10, "cost": 0.3}},
        {"use": {"in": 20, "out": 20, "cost": 0.45}},
        {"wait": 50},
    ]
    made = shop({"WVO_WORKER_MAX_COST_USD": "0.4"}, **{name: steps for name in "ABCD"})

    summary, rows, found = await made.done(max_cost=1.0)

    assert [one.outcome for one in rows] == [Outcome.KILLED, Outcome.KILLED], (summary, made.news)
    assert all("it cost $0.45, more than a worker may ($0.40)" in str(one.reason) for one in rows)
    assert summary["cost_usd"] == pytest.approx(0.9)
    assert "scripted: a worker of its tier low reserves $0.40, and $0.10 of the $1.00 for the run is left" in str(
        summary["ended"]
    )
    begun = {one.task_id for one in rows}
    assert all(found[name].lease_token == 0 for name in set("ABCD") - begun)
    assert len(begun) == 2


@pytest.mark.requirement("WORK-6")
async def test_the_attempts_of_a_task_share_what_a_worker_may_cost(shop: Callable[..., Shop]) -> None:
    leaves = {"call": "release_task", "with": {"reason": "not yet"}}
    made = shop({"WVO_WORKER_MAX_COST_USD": "0.4"}, A=[{"use": {"in": 10, "out": 10, "cost": 0.395}}, leaves])

    _, rows, found = await made.done()

    assert len(rows) == 1, made.news
    assert found["A"].status == "blocked"
    assert found["A"].blocked_reason == "its launches have cost $0.40 in this run, and a worker may cost $0.40"


@pytest.mark.requirement("WORK-3")
async def test_a_full_disk_launches_nothing_until_there_is_room(
    shop: Callable[..., Shop], monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = iter([1 << 60, 1 << 60])
    least = places.LEAST_FREE
    monkeypatch.setattr(pool, "_LOOK_SECONDS", 0.01)
    full = places.Worktrees.full

    def looked(self: places.Worktrees) -> str | None:
        monkeypatch.setattr(places, "LEAST_FREE", next(looks, least))
        return full(self)

    monkeypatch.setattr(places.Worktrees, "full", looked)
    made = shop(A=[WRITES, DONE])
    async with made.run() as run:
        summary = await run.work()
        row = await run.parts.store.read(OWNER, lambda tx: tx.alerts.page({"kind": pool.DISK_FULL}, None, 9))

    assert [one["task_id"] for one in summary["done"]] == ["A"], (summary, made.news)
    assert [(one["task_id"], one["severity"], one["resolved_at"] is None) for one in row] == [(None, "critical", False)]


@pytest.mark.full
@pytest.mark.requirement("WORK-6")
async def test_a_run_that_did_all_its_work_does_not_end_for_money(shop: Callable[..., Shop]) -> None:
    made = shop({"WVO_WORKER_MAX_COST_USD": "0.4"}, A=[{"use": {"in": 10, "out": 10, "cost": 0.3}}, WRITES, DONE])
    summary, _, _ = await made.done(max_cost=0.5)
    assert [one["task_id"] for one in summary["done"]] == ["A"], (summary, made.news)
    assert "$" not in str(summary["ended"])


_EATER = """
import os, pathlib, signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = os.fork()
pathlib.Path(f"pid-{os.getpid()}").touch()
if child == 0:
    os.setsid()
    held = b"x" * (200 << 20)
time.sleep(50)
"""


@pytest.mark.full
@pytest.mark.requirement("WORK-7")
async def test_a_worker_that_eats_memory_is_ended_with_all_its_children(
    shop: Callable[..., Shop], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "_INTERRUPTED_SECONDS", 0.2)
    monkeypatch.setattr(pool, "_WALK_SECONDS", 0.2)
    made = shop({"WVO_WORKER_MEMORY_MB": "180"}, A=[{"write": "eat.py", "text": _EATER}, {"run": "python3 eat.py"}])

    _, rows, found = await made.done(once=True)

    assert [one.outcome for one in rows] == [Outcome.KILLED], made.news
    assert "more than a worker may (180 MB, WVO_WORKER_MEMORY_MB)" in str(rows[0].reason)
    assert found["A"].attempts == 1
    pids = [int(one.name.removeprefix("pid-")) for one in made.files(rows[0]) if one.name.startswith("pid-")]
    assert len(pids) == 2 and not [pid for pid in pids if psutil.pid_exists(pid)]


@pytest.mark.full
@pytest.mark.sqlite
@pytest.mark.requirement("WORK-9")
async def test_what_a_run_remembers_of_a_launch_is_its_outcome_alone(shop: Callable[..., Shop]) -> None:
    """Three hundred launches: what is held after the first fifty grows by a line or two for each. Jobs of the leader load
    their code when they come due, once: what is kept of each launch grows every time."""
    made = shop(**{f"T{number}": [] for number in range(300)})
    held: list[int] = []
    ended = 0

    class News(list[Mapping[str, Any]]):
        def append(self, one: Mapping[str, Any]) -> None:
            nonlocal ended
            ended += one["event"] == "ended"
            if one["event"] == "ended" and ended % 50 == 0:
                gc.collect()
                held.append(tracemalloc.get_traced_memory()[0])

    made.news = News()
    tracemalloc.start()
    try:
        await made.done(max_tasks=300)
    finally:
        tracemalloc.stop()

    grown = sorted(after - before for before, after in pairwise(held))
    assert len(grown) == 5
    assert grown[2] / 50 < 2_000, held
