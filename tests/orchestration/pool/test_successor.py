"""What an autopilot that was killed leaves behind, as the next one finds it (contract, section 10)."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.support.bench import BOB, OWNER, Bench, a_task
from tests.support.launches import launch, slot
from tests.support.providers import FixedProviders, only
from wvo_mcp.domain.approval import ApprovalKind, subject_of_command
from wvo_mcp.domain.providers.signals.reading import FailureKind, Signal
from wvo_mcp.domain.worker import Outcome, Worker, WorkerState
from wvo_mcp.execution.agents.home import WorkerHomes
from wvo_mcp.orchestration.approvals import deciding
from wvo_mcp.orchestration.pool import parking, successor
from wvo_mcp.ports.trees import TreeUse
from wvo_mcp.project import Project
from wvo_mcp.settings import settings_of

pytestmark = pytest.mark.anyio
CLAUDE = FixedProviders(only("claude"))
DEAD, NEXT = slot(1, "here", "auto-here/1"), slot(1, "here", "auto-here/2")


@dataclass
class Processes:
    """`ports.Trees` that ends nothing."""

    ended: list[tuple[int, str | None]] = field(default_factory=list[tuple[int, str | None]])

    def started(self, pid: int) -> str | None:
        return None

    def look(self, roots: Mapping[str, int]) -> dict[str, TreeUse]:
        return {}

    def over(self, worker_id: str) -> str | None:
        return None

    def share(self, worker_id: str, pid: int) -> str:
        return ""

    def forget(self, worker_id: str) -> None: ...

    async def end(self, pid: int, started: str | None) -> bool:
        self.ended.append((pid, started))
        return True


async def running(bench: Bench, session: str | None, pid: int | None = 4_000) -> Worker:
    worker = (await launch(bench, CLAUDE, caller=DEAD, session=session)).started
    fields = {"state": WorkerState.WORKING, "pid": pid, "pid_started": None if pid is None else "77.5"}
    await bench.write(lambda tx: tx.workers.change(worker.worker_id, fields), DEAD)
    return worker


async def take_over(bench: Bench, trees: Processes) -> list[dict[str, Any]]:
    return await successor.take_over(bench.store, NEXT, bench.policy, trees, "here")


@pytest.mark.requirement("WORK-9")
async def test_a_killed_autopilots_sessions_go_on_with_the_next_one(bench: Bench) -> None:
    await bench.create(a_task("A", complexity=2))
    worker = await running(bench, "s-1")
    bench.servers.kill(DEAD.session_id)
    trees = Processes()

    news = await take_over(bench, trees)

    assert trees.ended == [(4_000, "77.5")]
    assert news == [{"event": "found", "worker_id": worker.worker_id, "task_id": "A", "outcome": "paused"}]
    task = await bench.task("A")
    assert (task.status, task.expiries, task.attempts, task.kept_for) == ("pending", 0, 0, "auto-here")
    again = await launch(bench, CLAUDE, caller=NEXT)
    assert again.started.client_session == "s-1"
    assert again.started.lease_token == worker.lease_token + 1
    assert await take_over(bench, trees) == []  # of its own it ends nothing


@pytest.mark.requirement("WORK-9")
async def test_a_worker_that_had_not_begun_has_crashed_and_its_task_is_back(bench: Bench) -> None:
    await bench.create(a_task("A", complexity=2))
    worker = await running(bench, None, None)
    bench.servers.kill(DEAD.session_id)
    trees = Processes()

    await take_over(bench, trees)

    row = await bench.read(lambda tx: tx.workers.get(worker.worker_id))
    assert (row.state, row.outcome, row.reason) == (WorkerState.ENDED, Outcome.CRASHED, "its autopilot ended")
    assert trees.ended == [] and await bench.status("A") == ["pending"]
    assert (await launch(bench, CLAUDE, caller=NEXT)).started.client_session is None


async def test_a_lease_that_ran_out_meanwhile_keeps_the_session(bench: Bench) -> None:
    await bench.create(a_task("A", complexity=2))
    await running(bench, "s-1")
    bench.servers.kill(DEAD.session_id)
    bench.clock.advance(hours=2)
    bench.limits(wip_limit=0)
    await bench.claim(BOB)  # gives nothing, and takes back what has expired
    bench.limits(wip_limit=3)
    assert await bench.status("A") == ["pending"]

    await take_over(bench, Processes())

    assert (await bench.task("A")).kept_for == "auto-here"
    assert (await launch(bench, CLAUDE, caller=NEXT)).started.client_session == "s-1"


async def test_a_decision_that_was_asked_for_at_the_last_moment_reaches_the_same_session(bench: Bench) -> None:
    await bench.create(a_task("A", complexity=2))
    worker = await running(bench, "s-1")
    task, subject = await bench.task("A"), subject_of_command("A", "git push", ".")
    asked = await bench.write(lambda tx: deciding.ask(tx, bench.policy, task, ApprovalKind.COMMAND, subject), DEAD)
    bench.servers.kill(DEAD.session_id)

    assert (await take_over(bench, Processes()))[0]["outcome"] == "waiting_approval"

    assert await bench.status("A") == ["awaiting_approval"]
    await bench.call("approve", OWNER, id=asked.approval_id)
    again = await launch(bench, CLAUDE, caller=NEXT)
    assert again.resting is not None and again.resting.worker_id == worker.worker_id


async def test_a_session_whose_task_was_ended_without_it_rests_no_longer(bench: Bench) -> None:
    await bench.create(a_task("A", complexity=2), a_task("B", complexity=2))
    signal = Signal(FailureKind.RATE_LIMIT, "limit", retry_after=600)
    for worker in [await running(bench, f"s-{one}") for one in "AB"]:
        await bench.write(lambda tx, w=worker: parking.stopped_by_provider(tx, CLAUDE, w.worker_id, signal), DEAD)
    await bench.call("update_task", OWNER, task_id="A", status="cancelled", reason="not needed")

    await take_over(bench, Processes())

    rows = await bench.read(lambda tx: tx.workers.recent(9))
    assert {row.task_id: row.state for row in rows} == {"A": WorkerState.ENDED, "B": WorkerState.LIMITED}


async def test_a_task_that_others_have_is_left_to_them(bench: Bench) -> None:
    await bench.create(a_task("A", complexity=2))
    worker = await running(bench, "s-1")
    bench.servers.kill(DEAD.session_id)
    bench.clock.advance(hours=2)
    await bench.claim(BOB, task_id="A")

    await take_over(bench, Processes())

    task = await bench.task("A")
    assert (task.status, task.assigned_to) == ("in_progress", "bob")
    assert (await bench.read(lambda tx: tx.workers.get(worker.worker_id))).outcome is Outcome.CRASHED


async def test_a_task_that_its_worker_had_completed_stays_done(bench: Bench) -> None:
    await bench.create(a_task("A", complexity=2))
    worker = await running(bench, "s-1")
    await bench.complete("A", DEAD, lease_token=worker.lease_token)
    bench.servers.kill(DEAD.session_id)

    assert (await take_over(bench, Processes()))[0]["outcome"] == "completed"
    assert await bench.status("A") == ["done"]


async def test_what_waits_for_a_reset_goes_on_waiting(bench: Bench) -> None:
    await bench.create(a_task("A", complexity=2))
    worker = await running(bench, "s-1")
    signal = Signal(FailureKind.RATE_LIMIT, "limit", retry_after=600)
    await bench.write(lambda tx: parking.stopped_by_provider(tx, CLAUDE, worker.worker_id, signal), DEAD)
    bench.servers.kill(DEAD.session_id)
    trees = Processes()

    assert await take_over(bench, trees) == [] and trees.ended == []
    assert (await bench.read(lambda tx: tx.workers.get(worker.worker_id))).state is WorkerState.LIMITED


async def test_nothing_is_taken_from_an_autopilot_whose_session_lives(bench: Bench) -> None:
    await bench.create(a_task("A", complexity=2))
    worker = await running(bench, "s-1")
    trees = Processes()

    assert await take_over(bench, trees) == [] and trees.ended == []
    assert await bench.status("A") == ["in_progress"]
    assert (await bench.read(lambda tx: tx.workers.get(worker.worker_id))).state is WorkerState.WORKING


async def test_workers_of_other_hosts_are_left_alone(bench: Bench) -> None:
    await bench.create(a_task("A", complexity=2))
    other = slot(1, "there")
    await launch(bench, CLAUDE, caller=other, session="s-1")
    bench.servers.kill(other.session_id)
    assert await take_over(bench, Processes()) == []


async def test_homes_of_tasks_that_were_settled_meanwhile_are_removed(bench: Bench, tmp_path: Path) -> None:
    await bench.create(*(a_task(name) for name in ("a.done", "b.open")))
    await bench.done("a.done")
    homes = WorkerHomes(settings_of(Project({"ROOT": str(tmp_path)}, str(tmp_path))), {})
    for name in ("a%2Edone", "b%2Eopen", "unknown"):
        (tmp_path / "state/workers/tasks" / name / "claude").mkdir(parents=True)

    await successor.forget_settled(bench.store, OWNER, homes)

    assert sorted(await homes.kept()) == ["b.open", "unknown"]
