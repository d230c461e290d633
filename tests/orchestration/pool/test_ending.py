"""What becomes of a task whose worker has ended without ending it."""

from datetime import timedelta

import pytest

from tests.support.bench import BOB, Bench, a_task
from tests.support.launches import launch, slot
from tests.support.providers import FixedProviders, only
from tests.support.sessions import a_person
from wvo_mcp.domain.approval import ApprovalKind, subject_of_command
from wvo_mcp.domain.task import Status
from wvo_mcp.domain.worker import Outcome, WorkerState
from wvo_mcp.orchestration.approvals import deciding
from wvo_mcp.orchestration.pool.ending import OWN_FAULTS, Act, End, settle
from wvo_mcp.orchestration.pool.parking import Resting

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("WORK-5")]

CLAUDE = FixedProviders(only("claude"))


async def ended(bench: Bench, end: End) -> tuple[Status, WorkerState, Outcome | None]:
    worker = (await launch(bench, CLAUDE)).started
    task = await bench.write(lambda tx: settle(tx, worker.worker_id, end))
    row = await bench.read(lambda tx: tx.workers.get(worker.worker_id))
    return task.status, row.state, row.outcome


@pytest.mark.parametrize(
    ("act", "outcome", "status", "attempts"),
    [
        (Act.FAIL, Outcome.KILLED, Status.PENDING, 1),
        (Act.LEAVE, Outcome.FAILED, Status.PENDING, 1),
        (Act.RELEASE, Outcome.STOPPED, Status.PENDING, 0),
        (Act.BLOCK, Outcome.KILLED, Status.BLOCKED, 0),
    ],
)
async def test_what_follows_for_a_task_is_said_by_the_end(
    bench: Bench, act: Act, outcome: Outcome, status: Status, attempts: int
) -> None:
    await bench.create(a_task("A", complexity=2))

    found = await ended(bench, End(outcome, "so it was", act))

    assert found == (status, WorkerState.ENDED, outcome)
    assert (await bench.task("A")).attempts == attempts


async def test_our_own_faults_count_no_attempt_and_back_off_until_a_person_has_to_look(bench: Bench) -> None:
    await bench.create(a_task("A", complexity=2))
    fault = End(Outcome.CRASHED, "no space left", Act.FAULT)
    for faults in range(1, OWN_FAULTS):
        assert (await ended(bench, fault))[0] is Status.PENDING
        task = await bench.task("A")
        assert (task.attempts, task.not_before) == (0, bench.clock.now() + timedelta(seconds=30) * 2 ** (faults - 1))
        bench.clock.advance(hours=1)

    assert (await ended(bench, fault))[0] is Status.BLOCKED

    assert (await bench.task("A")).blocked_reason == "no space left"
    assert await bench.alerts() == [("worker_blocked", "critical", "A")]


async def test_a_worker_whose_lease_has_passed_on_moves_nothing(bench: Bench) -> None:
    await bench.create(a_task("A", complexity=2))
    first = (await launch(bench, CLAUDE)).started
    await bench.write(lambda tx: settle(tx, first.worker_id, End(Outcome.STOPPED, "a pause", Act.RELEASE)))
    second = (await launch(bench, CLAUDE)).started

    task = await bench.write(lambda tx: settle(tx, first.worker_id, End(Outcome.KILLED, "it was late", Act.FAIL)))

    assert (task.status, task.lease_token) == (Status.IN_PROGRESS, second.lease_token)


async def test_an_end_that_is_written_again_changes_nothing(bench: Bench) -> None:
    """A commit whose answer was lost."""
    await bench.create(a_task("A", complexity=2))
    worker = (await launch(bench, CLAUDE)).started
    for _ in range(2):
        await bench.write(lambda tx: settle(tx, worker.worker_id, End(Outcome.KILLED, "it looped", Act.FAIL)))

    row = await bench.read(lambda tx: tx.workers.get(worker.worker_id))
    assert (row.outcome, row.reason) == (Outcome.KILLED, "it looped")
    assert (await bench.kinds("A")).count("worker.ended") == 1
    assert (await bench.task("A")).attempts == 1


async def test_a_decision_that_comes_before_the_worker_has_ended_keeps_its_session(bench: Bench) -> None:
    await bench.create(a_task("A", complexity=2))
    worker = (await launch(bench, CLAUDE, session="s-1")).started
    task = await bench.task("A")
    subject = subject_of_command("A", "git push", ".")
    approval = await bench.write(lambda tx: deciding.ask(tx, bench.policy, task, ApprovalKind.COMMAND, subject), slot())
    await bench.write(lambda tx: deciding.decide(tx, approval, True, None), a_person())

    asked = End(Outcome.STOPPED, f"waits for approval {approval.approval_id}")
    await bench.write(lambda tx: settle(tx, worker.worker_id, asked))

    assert (await launch(bench, CLAUDE)).resting == Resting(worker.worker_id, "s-1", "ws-1", False)


async def test_a_lease_that_ran_out_while_the_store_was_away_keeps_the_session(bench: Bench) -> None:
    await bench.create(a_task("A", complexity=2))
    worker = (await launch(bench, CLAUDE, session="s-1")).started
    bench.clock.advance(hours=2)
    bench.limits(wip_limit=0)
    await bench.claim(BOB)  # gives nothing, and takes back what has expired
    bench.limits(wip_limit=3)

    task = await bench.write(lambda tx: settle(tx, worker.worker_id, End(Outcome.STOPPED, "it was away", Act.PAUSE)))

    assert (task.status, task.kept_for) == (Status.PENDING, "auto-here")
    assert (await launch(bench, CLAUDE)).started.client_session == "s-1"
