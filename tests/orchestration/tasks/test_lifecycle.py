"""What follows from each move."""

import pytest

from tests.support.bench import ANN, BOB, OWNER, Bench, a_task
from wvo_mcp.errors import Conflict, DependencyCycle, Forbidden, IllegalTransition, InvalidInput, NotFound
from wvo_mcp.operations import ALL

pytestmark = pytest.mark.anyio


@pytest.mark.requirement("CLAIM-4")
async def test_a_failed_attempt_comes_back_after_its_delay_until_none_is_left(bench: Bench) -> None:
    await bench.create(a_task("T1", max_attempts=3))
    for attempt, delay in ((1, 30), (2, 60)):
        await bench.claim(ANN)
        answer = await bench.call("fail_task", ANN, task_id="T1", error=f"no {attempt}")
        assert (answer["attempts"], answer["task"]["status"]) == (attempt, "pending")
        assert (await bench.claim(ANN))["task"] is None
        bench.clock.advance(delay)
    await bench.claim(ANN)
    answer = await bench.call("fail_task", ANN, task_id="T1", error="no 3")

    assert (answer["task"]["status"], answer["attempts"], answer["retry_at"]) == ("failed", 3, None)
    assert await bench.alerts() == [("task_failed", "critical", "T1")]
    await bench.call("retry", OWNER, task_id="T1")
    assert await bench.alerts() == []
    assert (await bench.claim(ANN))["task"]["attempts"] == 0


@pytest.mark.requirement("CLAIM-4")
async def test_failing_without_retry_is_final(bench: Bench) -> None:
    await bench.create(a_task("T1"))
    await bench.claim(ANN)

    answer = await bench.call("fail_task", ANN, task_id="T1", error="impossible", retry=False)

    assert answer["task"]["status"] == "failed"


@pytest.mark.requirement("TASK-3")
async def test_completing_names_what_became_ready_and_reopening_makes_it_wait_again(bench: Bench) -> None:
    await bench.create(
        a_task("A"), a_task("B"), a_task("C", depends_on=["A"]), a_task("D", depends_on=["A", "B"]), a_task("P")
    )
    await bench.create(a_task("Q", parent_id="P", depends_on=["A"]))
    await bench.claim(task_id="A")

    answer = await bench.complete("A")

    assert sorted(answer["unlocked"]) == ["C", "Q"]
    assert (await bench.task("D")).unmet_deps == 1
    await bench.done("C")
    await bench.call("update_task", task_id="A", status="pending", reason="wrong")
    assert [(await bench.task(t)).unmet_deps for t in ("C", "D", "Q")] == [1, 2, 1]
    assert await bench.status("A", "C") == ["pending", "done"]


async def test_reopening_wants_a_reason(bench: Bench) -> None:
    await bench.create(a_task("A"))
    await bench.done("A")

    with pytest.raises(InvalidInput) as refused:
        await bench.call("update_task", task_id="A", status="pending")

    assert refused.value.details["field"] == "reason"


@pytest.mark.requirement("TASK-4")
async def test_a_parent_becomes_ready_with_its_last_child(bench: Bench) -> None:
    await bench.create(a_task("P", priority="critical"), a_task("C1", parent_id="P"), a_task("C2", parent_id="P"))
    await bench.done("C1")
    assert (await bench.task("P")).open_children == 1
    await bench.claim(task_id="C2")

    answer = await bench.complete("C2")

    assert answer["unlocked"] == ["P"]
    assert (await bench.claim())["task"]["id"] == "P"


async def test_a_task_blocked_for_others_returns_when_the_last_of_them_is_done(bench: Bench) -> None:
    await bench.create(a_task("A"), a_task("B"), a_task("W"))
    await bench.claim(task_id="W")
    await bench.call("block_task", task_id="W", reason="needs both", waiting_for=["A", "B"])
    assert (await bench.call("get_task", task_id="W"))["task"]["waiting_for"] == ["A", "B"]
    await bench.done("A")
    assert await bench.status("W") == ["blocked"]
    await bench.claim(task_id="B")

    answer = await bench.complete("B")

    assert answer["unlocked"] == ["W"]
    assert await bench.status("W") == ["pending"]


@pytest.mark.requirement("TASK-3")
async def test_waiting_in_a_circle_is_refused_over_every_kind_of_edge(bench: Bench) -> None:
    await bench.create(
        a_task("A"), a_task("B", depends_on=["A"]), a_task("P"), a_task("C", parent_id="P", depends_on=["B"])
    )

    with pytest.raises(DependencyCycle) as by_dependency:
        await bench.call("update_task", task_id="A", add_depends_on=["B"])
    assert by_dependency.value.details["path"] == ["A", "B", "A"]
    with pytest.raises(DependencyCycle) as by_parent:
        await bench.call("update_task", task_id="A", add_depends_on=["P"])
    assert by_parent.value.details["path"] == ["A", "P", "C", "B", "A"]
    with pytest.raises(DependencyCycle):
        await bench.call("block_task", task_id="A", reason="r", waiting_for=["B"])
    with pytest.raises(DependencyCycle):
        await bench.create(a_task("X", depends_on=["X"]))
    with pytest.raises(NotFound) as missing:
        await bench.create(a_task("X", depends_on=["AA"]))
    assert missing.value.details["near"][0] == "A"
    assert await bench.status("A", "B", "C", "P") == ["pending"] * 4


@pytest.mark.requirement("TASK-7")
async def test_agents_cancel_what_waits_and_only_people_cancel_work_in_progress(bench: Bench) -> None:
    await bench.create(a_task("A"), a_task("B", depends_on=["A"]), a_task("C"))
    await bench.claim(ANN, "A")

    with pytest.raises(Forbidden):
        await bench.call("update_task", BOB, task_id="A", status="cancelled")
    answer = await bench.call("cancel", OWNER, task_id="A", reason="not needed")
    assert answer["stranded"] == ["B"]
    assert (await bench.call("status"))["stranded"] == [{"id": "B", "waiting_for": "A"}]
    await bench.call("update_task", BOB, task_id="C", status="cancelled")
    await bench.call("update_task", BOB, task_id="C", status="pending")
    await bench.call("restore", OWNER, task_id="A")

    assert await bench.status("A", "B", "C") == ["pending"] * 3
    assert (await bench.task("B")).unmet_deps == 1


@pytest.mark.requirement("TASK-2")
async def test_an_illegal_move_says_so_and_changes_nothing(bench: Bench) -> None:
    await bench.create(a_task("A"))
    before = await bench.task("A")

    with pytest.raises(IllegalTransition) as refused:
        await bench.complete("A")

    assert (refused.value.details["from"], refused.value.details["to"]) == ("pending", "done")
    assert await bench.task("A") == before


async def test_an_approval_cannot_be_lifted_by_an_agent(bench: Bench) -> None:
    await bench.create(a_task("A", requires_approval=True))

    with pytest.raises(Forbidden):
        await bench.call("update_task", task_id="A", requires_approval=False)
    await bench.call("deny", OWNER, task_id="A", reason="no")
    assert await bench.status("A") == ["blocked"]


async def test_a_version_that_is_not_the_present_one_is_refused(bench: Bench) -> None:
    await bench.create(a_task("A"))
    await bench.call("update_task", task_id="A", title="new", expected_version=1)

    with pytest.raises(Conflict) as refused:
        await bench.call("update_task", task_id="A", title="newer", expected_version=1)

    assert refused.value.details == {"expected": 1, "version": 2}


@pytest.mark.requirement("CORE-8")
async def test_a_batch_is_created_as_a_whole_or_not_at_all(bench: Bench) -> None:
    await bench.create(a_task("A"))
    with pytest.raises(Conflict) as refused:
        await bench.create(a_task("B"), a_task("A"))
    assert refused.value.details["field"] == "tasks.1.id"
    with pytest.raises(NotFound) as milestone:
        await bench.create(a_task("B"), a_task("C", milestone_id="M9"))
    assert milestone.value.details["field"] == "tasks.1.milestone_id"
    dry = await bench.call("create_tasks", tasks=[a_task("B"), a_task(None)], dry_run=True)
    assert dry["created"][0] == "B"
    assert (await bench.call("list_tasks"))["total"] == 1


@pytest.mark.parametrize("name", ["reason", "note"])
async def test_a_release_keeps_its_reason_under_either_name(bench: Bench, name: str) -> None:
    await bench.create(a_task("T1"))
    await bench.claim(ANN, "T1")

    await bench.call("release_task", ANN, task_id="T1", **{name: "another team has it"})

    [released] = [e for e in await bench.read(lambda tx: tx.events.of_task("T1", 9)) if e.kind == "task.released"]
    assert released.data["reason"] == "another team has it"
    assert "note" not in ALL["release_task"].schema["properties"], "models read one name"
