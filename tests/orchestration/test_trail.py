"""What changes a task is in its trail, whoever changed it."""

import pytest

from tests.support.bench import ANN, OWNER, Bench, a_task
from tests.support.invariants import verify

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("OBS-2")]

ROADMAP = "epics:\n  - id: E\n    title: Epic\n    tasks:\n      - {id: T1, title: one}\n"


async def linked(bench: Bench, task_id: str) -> list[tuple[list[str], list[str]]]:
    """(added, removed) of every change of the task's dependencies."""
    events = await bench.read(lambda tx: tx.events.of_task(task_id, 100))
    return [(event.data["added"], event.data["removed"]) for event in events if event.kind == "task.linked"]


async def test_dependencies_that_agents_change_are_in_the_trail(bench: Bench) -> None:
    await bench.create(a_task("A"), a_task("B"), a_task("C", depends_on=["A"]))

    await bench.call("update_task", ANN, task_id="C", add_depends_on=["B"], remove_depends_on=["A"])

    assert await linked(bench, "C") == [(["B"], ["A"])]


async def test_dependencies_that_the_roadmap_changes_are_in_the_trail(bench: Bench) -> None:
    roadmap = bench.roadmap
    for depends_on in ("T1", "T3", ""):
        roadmap.write_text(
            f"{ROADMAP}      - {{id: T2, title: two, depends_on: [{depends_on}]}}\n      - {{id: T3, title: three}}\n"
        )
        await bench.call("roadmap_sync", OWNER)

    assert await linked(bench, "T2") == [([], ["T1"]), (["T3"], []), ([], ["T3"])]
    await bench.done("T2", "T1", "T3")
    # Played through, the trail shows no task that began before its dependencies were done.
    verify(bench.source)
