"""A roadmap that lost its tasks, or came back with another branch, takes no work away by itself."""

import anyio
import pytest

from tests.support.bench import ANN, BOB, OWNER, Bench
from tests.support.leading import a_leader
from wvo_mcp.errors import Conflict, Forbidden
from wvo_mcp.operations import ALL
from wvo_mcp.orchestration import background

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("TASK-5")]

HEAD = "epics:\n  - id: E\n    title: Epic\n    tasks:\n"
EMPTY = "epics: []\n"


def plan(*task_ids: str, **more: str) -> str:
    """A file with these tasks; `more`: what else their lines say."""
    return HEAD + "".join(f"      - {{id: {name}, title: {name}{more.get(name, '')}}}\n" for name in task_ids)


TEN = [f"T{n}" for n in range(1, 11)]


async def sync(bench: Bench, text: str, **arguments: bool) -> dict[str, list[str]]:
    bench.roadmap.write_text(text)
    return await bench.call("roadmap_sync", OWNER, **arguments)


async def message(bench: Bench) -> str:
    rows = await bench.read(lambda tx: tx.alerts.open_alerts(10))
    assert [row["kind"] for row in rows] == ["roadmap_guard"]
    return rows[0]["message"]


@pytest.mark.parametrize("text", ["", EMPTY])
async def test_an_empty_file_cancels_nothing_until_a_person_says_so(bench: Bench, text: str) -> None:
    await sync(bench, plan("T1", "T2"))

    report = await sync(bench, text)

    assert (report["cancelled"], report["waiting"]) == ([], ["T1", "T2"])
    assert await bench.status("T1", "T2") == ["pending", "pending"]
    assert "2 of 2 open tasks" in await message(bench)
    allowed = await bench.call("roadmap_sync", OWNER, allow_cancel=True)
    assert (allowed["cancelled"], allowed["waiting"]) == (["T1", "T2"], [])
    assert await bench.alerts() == []


async def test_more_than_three_tasks_and_a_fifth_of_the_open_ones_wait(bench: Bench) -> None:
    await sync(bench, plan(*TEN))

    report = await sync(bench, plan(*TEN[4:], "N", T5=", priority: high"))

    assert (report["waiting"], report["cancelled"], report["created"]) == (TEN[:4], [], ["N"])
    assert (await bench.task("T5")).priority == "high"
    assert "T1, T2, T3, T4" in await message(bench)


async def test_three_tasks_or_a_fifth_of_the_open_ones_are_cancelled_at_once(bench: Bench) -> None:
    twenty = [f"T{n}" for n in range(1, 21)]
    await sync(bench, plan(*twenty))

    assert (await sync(bench, plan(*twenty[4:])))["cancelled"] == twenty[:4]
    await sync(bench, plan(*twenty[-6:]), allow_cancel=True)
    assert (await sync(bench, plan(*twenty[-3:])))["cancelled"] == twenty[-6:-3]
    assert await bench.alerts() == []


async def test_done_tasks_may_leave_the_file_in_any_number(bench: Bench) -> None:
    await sync(bench, plan("T1", "T2", "T3", "T4", "T5"))
    await bench.done("T1", "T2", "T3", "T4")

    report = await sync(bench, plan("T5"))

    assert (report["waiting"], await bench.alerts()) == ([], [])
    assert await bench.status("T1") == ["done"]


@pytest.mark.parametrize("text", [plan("T2"), plan("T1", "T2", T1=", status: cancelled")])
async def test_work_in_progress_goes_on_until_a_person_says_so(bench: Bench, text: str) -> None:
    await sync(bench, plan("T1", "T2"))
    await bench.claim(ANN, "T1")

    report = await sync(bench, text.replace("title: T2", "title: new"))

    assert (report["waiting"], report["updated"]) == (["T1"], ["T2"])
    assert await bench.status("T1") == ["in_progress"]
    assert "work in progress (T1)" in await message(bench)
    assert (await bench.call("roadmap_sync", OWNER, allow_cancel=True))["cancelled"] == ["T1"]
    assert await bench.status("T1") == ["cancelled"]


async def test_nothing_is_taken_of_a_version_that_was_taken_before_and_would_cancel(bench: Bench) -> None:
    old, new = plan("T1"), plan("T1", "T2", T1=", priority: high")
    await sync(bench, old)
    await sync(bench, new)

    report = await sync(bench, old)

    assert (report["waiting"], report["updated"], report["unchanged"]) == (["T2"], [], True)
    assert ((await bench.task("T1")).priority, await bench.status("T2")) == ("high", ["pending"])
    assert "taken before" in await message(bench)
    assert (await sync(bench, new))["waiting"] == []
    assert await bench.alerts() == []
    await sync(bench, old)
    assert (await bench.call("roadmap_sync", OWNER, allow_cancel=True))["cancelled"] == ["T2"]
    assert (await bench.task("T1")).priority == "medium"


async def test_an_older_version_that_cancels_nothing_is_taken(bench: Bench) -> None:
    await sync(bench, plan("T1"))
    await sync(bench, plan("T1", T1=", priority: high"))

    assert (await sync(bench, plan("T1")))["updated"] == ["T1"]


async def test_what_waited_still_waits_after_another_branch_came_and_went(bench: Bench) -> None:
    old, less = plan("T1"), plan("T2", "T3")
    await sync(bench, old)
    await sync(bench, plan("T1", "T2"))
    await bench.claim(ANN, "T1")
    await sync(bench, less)
    await sync(bench, old)

    report = await sync(bench, less)

    assert (report["waiting"], await bench.status("T1", "T2")) == (["T1"], ["in_progress", "pending"])


async def test_a_task_that_comes_back_into_the_file_waits_no_longer(bench: Bench) -> None:
    await sync(bench, plan("T1", "T2"))
    await bench.claim(ANN, "T1")
    await sync(bench, plan("T2"))

    report = await sync(bench, plan("T1", "T2", T2=", priority: low"))

    assert (report["waiting"], report["restored"], await bench.alerts()) == ([], [], [])
    await bench.complete("T1")


async def test_a_repeated_sync_says_again_what_waits(bench: Bench) -> None:
    await sync(bench, plan("T1"))
    first = await sync(bench, EMPTY)

    again = await bench.call("roadmap_sync", ANN)

    assert (again["unchanged"], again["waiting"], again["guard"]) == (True, ["T1"], first["guard"])


async def test_an_agent_cannot_allow_it(bench: Bench) -> None:
    await sync(bench, plan("T1"))
    await sync(bench, EMPTY)

    with pytest.raises(Forbidden):
        await bench.call("roadmap_sync", ANN, allow_cancel=True)

    assert "allow_cancel" not in ALL["roadmap_sync"].schema["properties"]
    assert await bench.status("T1") == ["pending"]


async def test_an_export_waits_as_well(bench: Bench) -> None:
    await sync(bench, plan("T1"))
    await sync(bench, EMPTY)

    for dry_run in (True, False):
        with pytest.raises(Conflict) as refused:
            await bench.call("roadmap_export", OWNER, dry_run=dry_run)
        assert "T1" in refused.value.message
    assert bench.roadmap.read_text() == EMPTY


async def test_a_server_that_starts_is_held_back_as_well(bench: Bench) -> None:
    await sync(bench, plan("T1", "T2"))
    bench.roadmap.write_text(EMPTY)

    await background.sync_or_alert(bench.store, bench.services.roadmap, BOB)

    assert await bench.status("T1", "T2") == ["pending", "pending"]
    assert "T1, T2" in await message(bench)


async def test_the_alert_ends_when_what_waits_has_ended_by_itself(bench: Bench) -> None:
    await sync(bench, plan("T1"))
    await sync(bench, plan("T1", "T2", T1=", priority: high"))
    leads = a_leader(
        bench.store, lambda: BOB, bench.clock, background.leader_jobs(bench.services.roadmap, bench.policy)
    )
    bench.roadmap.write_text(plan("T1"))

    async def tick() -> None:
        async with anyio.create_task_group() as tasks:
            await leads.tick(tasks)

    await tick()
    await tick()
    assert "T2" in await message(bench)
    await bench.done("T2")
    await tick()

    assert await bench.alerts() == []
    assert ((await bench.task("T1")).priority, await bench.status("T2")) == ("medium", ["done"])


async def test_a_sync_finds_that_what_waits_has_ended_by_itself(bench: Bench) -> None:
    await sync(bench, plan("T1", "T2"))
    await bench.claim(ANN, "T1")
    await sync(bench, plan("T2"))
    await bench.complete("T1")

    report = await bench.call("roadmap_sync", OWNER)

    assert (report["waiting"], await bench.alerts()) == ([], [])
    assert (await bench.call("roadmap_export", OWNER, dry_run=True))["added"] == []


async def test_an_alert_resolved_by_hand_is_raised_again_while_something_waits(bench: Bench) -> None:
    await sync(bench, plan("T1"))
    first = await sync(bench, EMPTY)
    (alert,) = await bench.read(lambda tx: tx.alerts.open_alerts(10))
    await bench.call("alert_resolve", OWNER, alert_id=alert["id"])

    report = await bench.call("roadmap_sync", OWNER)

    assert (report["waiting"], report["guard"]) == (["T1"], first["guard"])
    assert await message(bench) == first["guard"]
