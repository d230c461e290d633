"""What follows from a move, and what a refused one leaves alone."""

import pytest

from tests.support.agreement import contents
from tests.support.bench import ANN, BOB, OWNER, Bench, a_task
from tests.support.clock import START
from tests.support.sessions import an_agent
from wvo_mcp.domain.instant import iso
from wvo_mcp.domain.task import MOVES, Status
from wvo_mcp.errors import IllegalTransition
from wvo_mcp.orchestration.tasks import lifecycle
from wvo_mcp.ports import Transaction

pytestmark = pytest.mark.anyio


async def put(bench: Bench, status: Status) -> None:
    """Task T is made and brought into the status by legal moves."""
    await bench.create(a_task("T"))
    ways = {
        Status.PENDING: (),
        Status.BLOCKED: (Status.BLOCKED,),
        Status.CANCELLED: (Status.CANCELLED,),
        Status.IN_PROGRESS: (Status.IN_PROGRESS,),
    }
    for step in ways.get(status, (Status.IN_PROGRESS, status)):
        await move(bench, step)


async def move(bench: Bench, to: Status) -> None:
    async def work(tx: Transaction) -> None:
        await lifecycle.move(tx, await tx.tasks.get("T"), to, f"task.{to}")

    if to is Status.IN_PROGRESS:
        await bench.claim(ANN, "T")
    else:
        await bench.write(work)


@pytest.mark.requirement("TASK-2")
@pytest.mark.parametrize("origin", Status)
async def test_a_move_that_the_table_lacks_is_refused_and_nothing_changes(bench: Bench, origin: Status) -> None:
    await put(bench, origin)
    before = await contents(bench)

    for target in set(Status) - MOVES[origin] - {Status.IN_PROGRESS}:
        with pytest.raises(IllegalTransition) as refused:
            await move(bench, target)
        assert (refused.value.details["from"], refused.value.details["to"]) == (origin, target)

    assert await contents(bench) == before


@pytest.mark.requirement("TASK-2", "APPR-1")
async def test_denying_what_is_blocked_already_does_not_make_it_forget_what_it_waits_for(bench: Bench) -> None:
    await bench.create(a_task("T", requires_approval=True), a_task("U"))
    await bench.call("block_task", task_id="T", reason="U first", waiting_for=["U"])

    with pytest.raises(IllegalTransition):
        await bench.call("deny", OWNER, task_id="T", reason="no")

    assert (await bench.call("get_task", task_id="T"))["task"]["waiting_for"] == ["U"]


@pytest.mark.requirement("TASK-4")
async def test_a_parent_that_also_depends_on_its_child_is_unlocked_once(bench: Bench) -> None:
    await bench.create(a_task("P", depends_on=["C"]), a_task("C", parent_id="P"))
    await bench.claim(ANN, "C")

    answer = await bench.complete("C")

    assert (answer["unlocked"], answer["unlocked_count"]) == (["P"], 1)


@pytest.mark.requirement("SCHED-3")
async def test_completing_unlocks_what_was_not_due_when_it_was_planned_and_is_due_now(bench: Bench) -> None:
    soon, later = iso(START.replace(minute=1)), iso(START.replace(hour=20))
    await bench.create(
        a_task("T"), a_task("U", depends_on=["T"], not_before=soon), a_task("V", depends_on=["T"], not_before=later)
    )
    await bench.claim(ANN, "T")
    bench.clock.advance(minutes=2)

    assert (await bench.complete("T"))["unlocked"] == ["U"]


@pytest.mark.requirement("TASK-1")
async def test_an_agent_with_an_ended_session_is_online_once_it_calls_from_another(bench: Bench) -> None:
    await bench.create(a_task("T"))
    claimed = await bench.claim(ANN)
    bench.servers.kill(ANN.session_id)
    await bench.claim(BOB)
    assert await pool(bench, "ann") == ("offline", "T")

    again = an_agent("ann", "ann/2")
    await bench.call("heartbeat", again, task_id="T", lease_token=claimed["lease"]["token"])

    assert await pool(bench, "ann") == ("busy", "T")


async def pool(bench: Bench, agent: str) -> tuple[str, str | None]:
    row = (await bench.sql("SELECT status, current_task_id FROM agent_pool WHERE agent_id = ?", agent))[0]
    return row["status"], row["current_task_id"]
