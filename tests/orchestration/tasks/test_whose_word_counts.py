"""What agents cannot do to each other's work or to people's decisions."""

import dataclasses

import pytest

from tests.support.bench import ANN, BOB, OWNER, Bench, a_task
from tests.support.sessions import an_agent
from wvo_mcp.domain.files import overlap
from wvo_mcp.errors import Conflict, Forbidden, IllegalTransition, InvalidInput, NotFound, RequestIdReused, StaleLease

pytestmark = pytest.mark.anyio


@pytest.mark.requirement("SCHED-2", "SCHED-3")
async def test_what_a_claim_was_judged_by_cannot_change_under_it(bench: Bench) -> None:
    await bench.create(a_task("T1"), a_task("Y"))
    await bench.claim(ANN, "T1")

    for change in ({"epic_id": "E"}, {"files": ["src/**"]}, {"capabilities": ["gpu"]}, {"max_attempts": 1}):
        with pytest.raises(Conflict):
            await bench.call("update_task", BOB, **{"task_id": "T1", **change})
    with pytest.raises(Conflict, match="not done"):
        await bench.call("update_task", ANN, task_id="T1", add_depends_on=["Y"])
    await bench.call("update_task", ANN, task_id="T1", title="still allowed", complexity=2)


@pytest.mark.requirement("TASK-7", "OBS-2")
async def test_what_is_overwritten_stays_whole_in_the_trail(bench: Bench) -> None:
    long = "word " * 1_000
    await bench.create(a_task("T1", description=long))

    await bench.call("update_task", BOB, task_id="T1", description=None)

    events = await bench.read(lambda tx: tx.events.of_task("T1", 10))
    assert events[-1].data["before"]["description"] == long


async def test_an_approval_ends_when_what_was_approved_changes_or_is_done_again(bench: Bench) -> None:
    await bench.create(a_task("A", requires_approval=True))
    await bench.call("approve", OWNER, task_id="A")
    await bench.call("update_task", BOB, task_id="A", title="something else entirely")
    assert (await bench.claim())["task"] is None
    await bench.call("approve", OWNER, task_id="A")
    await bench.done("A")
    await bench.call("update_task", BOB, task_id="A", status="pending", reason="again")

    assert (await bench.claim())["task"] is None


async def test_what_awaits_a_person_is_not_cancelled_by_an_agent(bench: Bench) -> None:
    await bench.create(a_task("A"))
    await bench.force("UPDATE tasks SET status = 'awaiting_approval'")

    with pytest.raises(Forbidden):
        await bench.call("update_task", BOB, task_id="A", status="cancelled")


@pytest.mark.requirement("CORE-8")
async def test_a_call_without_a_token_is_no_repeat_once_the_task_has_moved_on(bench: Bench) -> None:
    await bench.create(a_task("T1"))
    await bench.claim(task_id="T1")
    await bench.call("block_task", task_id="T1", reason="r")
    await bench.call("unblock", OWNER, task_id="T1")
    await bench.call("block_task", task_id="T1", reason="r")
    assert await bench.status("T1") == ["blocked"]
    await bench.call("unblock", OWNER, task_id="T1")
    await bench.done("T1")
    await bench.call("reopen", OWNER, task_id="T1", reason="wrong")

    with pytest.raises((IllegalTransition, StaleLease)):
        await bench.complete("T1")
    assert await bench.status("T1") == ["pending"]


@pytest.mark.requirement("CORE-8")
async def test_a_null_makes_another_input(bench: Bench) -> None:
    await bench.create(a_task("P"), a_task("C", parent_id="P"))
    await bench.call("update_task", task_id="C", title="t", request_id="q")

    with pytest.raises(RequestIdReused):
        await bench.call("update_task", task_id="C", title="t", parent_id=None, request_id="q")


@pytest.mark.requirement("CLAIM-2")
async def test_a_session_that_wrote_before_its_client_had_a_name_is_known_by_it_later(bench: Bench) -> None:
    nameless = dataclasses.replace(an_agent("agent-1-2", "s1"), client=None)
    await bench.create(a_task("T1"), caller=nameless)
    named = an_agent("codex-1-2", "s1")
    lease = (await bench.claim(named, "T1", agent_id="sub1"))["lease"]
    bench.servers.kill("s1")

    answer = await bench.complete("T1", an_agent("codex-1-2", "s2"), lease_token=lease["token"])

    assert answer["task"]["status"] == "done"


@pytest.mark.requirement("TASK-5")
async def test_a_task_that_returns_to_the_roadmap_says_what_the_file_says_now(bench: Bench) -> None:
    path = bench.roadmap
    head = "epics:\n  - id: E\n    title: E\n    tasks:\n      - {id: T1, title: one}\n"
    for rest in ("      - {id: T2, title: two, priority: high, labels: [x], depends_on: [T1]}\n", ""):
        path.write_text(head + rest)
        await bench.call("roadmap_sync", OWNER)
    assert await bench.status("T2") == ["cancelled"]

    path.write_text(head + "      - {id: T2, title: three}\n")
    await bench.call("roadmap_sync", OWNER)

    task = await bench.task("T2")
    assert (task.status, task.title, task.priority, task.labels, task.unmet_deps) == (
        "pending",
        "three",
        "medium",
        (),
        0,
    )


@pytest.mark.requirement("TASK-5")
async def test_a_person_who_cancels_what_a_sync_had_cancelled_is_not_overruled(bench: Bench) -> None:
    path = bench.roadmap
    head = "epics:\n  - id: E\n    title: E\n    tasks:\n      - {id: T1, title: one}\n"
    both = head + "      - {id: T2, title: two}\n"
    for text in (both, head):
        path.write_text(text)
        await bench.call("roadmap_sync", OWNER)
    await bench.call("restore", OWNER, task_id="T2")
    await bench.call("cancel", OWNER, task_id="T2", reason="no")

    path.write_text(both)
    await bench.call("roadmap_sync", OWNER)

    assert await bench.status("T2") == ["cancelled"]


@pytest.mark.requirement("CTX-1")
async def test_a_note_of_the_task_itself_is_not_displaced_by_another_of_that_name(bench: Bench) -> None:
    await bench.create(a_task("T1", title="alpha beta"), a_task("T2"))
    await bench.call("context_write", topic="N", content="own note", task_id="T1")
    await bench.call("context_write", topic="N", content="alpha beta of the other", task_id="T2")

    assert [entry["content"] for entry in (await bench.claim(task_id="T1"))["context"]] == ["own note"]


async def test_who_waits_for_a_cancelled_task_is_reported(bench: Bench) -> None:
    await bench.create(a_task("W1"), a_task("W2"))
    await bench.call("block_task", task_id="W1", reason="r", waiting_for=["W2"])
    await bench.call("cancel", OWNER, task_id="W2")

    assert (await bench.call("status"))["stranded"] == [{"id": "W1", "waiting_for": "W2"}]


@pytest.mark.requirement("CORE-7")
@pytest.mark.parametrize("when", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"])
async def test_a_time_beyond_the_calendar_names_its_field(bench: Bench, when: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        await bench.create(a_task("T1", not_before=when))

    assert refused.value.details["field"] == "tasks.0.not_before"


async def test_an_unknown_dependency_to_remove_is_named(bench: Bench) -> None:
    await bench.create(a_task("T1"))

    with pytest.raises(NotFound):
        await bench.call("update_task", task_id="T1", remove_depends_on=["T11"])


@pytest.mark.requirement("SCHED-3")
@pytest.mark.parametrize("glob", [".", "src/./a.py", "src//a.py", "src/@(a|b).py", "/repository/src/a.py"])
async def test_every_spelling_of_a_path_overlaps_with_it(glob: str) -> None:
    assert overlap(glob, "src/a.py")


async def _blocked(bench: Bench, author: str) -> None:
    """T1 is blocked by that author."""
    await bench.create(a_task("T1", requires_approval=author == "approval"), a_task("T2"))
    if author == "approval":
        await bench.call("deny", OWNER, task_id="T1", reason="not now")
    elif author == "policy":
        for _ in range(10):
            await bench.claim(ANN, "T1")
            bench.clock.advance(minutes=11)
            await bench.claim(BOB, "T2")
            await bench.call("release_task", BOB, task_id="T2")
    else:
        await bench.call("block_task", OWNER if author == "person" else ANN, task_id="T1", reason="wait")


@pytest.mark.requirement("SAFE-4")
@pytest.mark.parametrize("author", ["person", "approval", "policy"])
async def test_only_people_lift_a_block_that_no_holder_set(bench: Bench, author: str) -> None:
    await _blocked(bench, author)

    for way in ("pending", "cancelled"):
        with pytest.raises(Forbidden):
            await bench.call("update_task", BOB, task_id="T1", status=way, reason="go on")
    assert (await bench.call("get_task", BOB, task_id="T1"))["task"]["block_author"] == author

    await bench.call("unblock", OWNER, task_id="T1")
    assert (await bench.call("get_task", BOB, task_id="T1"))["task"].get("block_author") is None


async def test_an_agent_lifts_what_another_agent_blocked(bench: Bench) -> None:
    await _blocked(bench, "holder")

    await bench.call("update_task", BOB, task_id="T1", status="pending")

    assert await bench.status("T1") == ["pending"]


JUDGED = {"acceptance": ["none"], "files": ["src/**"], "requires_approval": True, "max_attempts": 9}


@pytest.mark.requirement("SAFE-4")
@pytest.mark.parametrize("field", JUDGED)
async def test_agents_change_what_work_is_judged_by_only_where_an_agent_made_it(bench: Bench, field: str) -> None:
    await bench.call("create_tasks", OWNER, tasks=[a_task("P")])
    await bench.create(a_task("A"))
    change = {field: JUDGED[field]}

    with pytest.raises(Forbidden, match=field):
        await bench.call("update_task", ANN, task_id="P", **change)
    await bench.call("update_task", OWNER, task_id="P", **change)
    await bench.claim(ANN, "A")
    with pytest.raises(Conflict, match=field):
        await bench.call("update_task", ANN, task_id="A", **change)
    await bench.call("release_task", ANN, task_id="A")
    await bench.call("update_task", BOB, task_id="A", **change)
