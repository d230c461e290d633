"""What a task builds on: the submitted commits of what it waited for."""

from typing import Any

import pytest

from tests.support.bench import Bench, a_task

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("WORK-8")]


async def submit(bench: Bench, task_id: str, number: int = 1, **fields: Any) -> str:
    commit = f"{task_id}-{number}"
    place = {"repository": "r", "host": "h", "path": "/p", "target": "main", "base_sha": "0"}
    entry = {"task_id": task_id, "number": number, "commit_sha": commit, **place, **fields}
    await bench.write(lambda tx: tx.submissions.add(entry))
    return commit


async def built_on(bench: Bench, task_id: str) -> list[str]:
    return [row["commit_sha"] for row in await bench.read(lambda tx: tx.submissions.built_on(task_id))]


async def test_a_task_builds_on_the_newest_commits_of_its_dependencies(bench: Bench) -> None:
    await bench.create(a_task("A"), a_task("B"), a_task("C"), a_task("T", depends_on=["A", "B", "C"]))
    await submit(bench, "B")
    newest = await submit(bench, "B", 2)
    first = await submit(bench, "A")
    await submit(bench, "C", state="withdrawn")

    assert await built_on(bench, "T") == [first, newest]


async def test_what_submitted_nothing_hands_on_what_it_was_built_on(bench: Bench) -> None:
    """A review between two tasks changes nothing, and must not hide the first from the last."""
    await bench.create(a_task("A"), a_task("R", depends_on=["A"]), a_task("T", depends_on=["R"]))
    code = await submit(bench, "A")

    assert await built_on(bench, "T") == [code]


async def test_a_commit_stands_for_all_that_it_was_built_on(bench: Bench) -> None:
    await bench.create(a_task("A"), a_task("B", depends_on=["A"]), a_task("T", depends_on=["B"]))
    await submit(bench, "A")
    later = await submit(bench, "B")

    assert await built_on(bench, "T") == [later]


async def test_a_parent_builds_on_its_children(bench: Bench) -> None:
    await bench.create(a_task("P"), a_task("C1", parent_id="P"), a_task("C2", parent_id="P"))
    commits = [await submit(bench, "C1"), await submit(bench, "C2")]

    assert await built_on(bench, "P") == commits
    assert await built_on(bench, "C1") == []
