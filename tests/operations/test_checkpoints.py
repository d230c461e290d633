"""Tools of the files of a workspace: each checkpoint of a task keeps them, and what differs is shown (WS-2, WS-3)."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.support.bench import ANN
from tests.support.yard import Yard
from wvo_mcp.domain.lease import Caller
from wvo_mcp.domain.policy import SafetyPolicy
from wvo_mcp.errors import InvalidInput, NotFound
from wvo_mcp.operations import ALL
from wvo_mcp.ports.checkpoints import NoCheckpoint

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("WS-2", "WS-3")]


class Work:
    """T1 in the hands of `worker`, whose tools are called."""

    def __init__(self, yard: Yard, worker: Caller, path: Path) -> None:
        self.yard, self.worker, self.path = yard, worker, path

    async def call(self, tool: str, caller: Caller | None = None, **arguments: Any) -> Mapping[str, Any]:
        return await ALL[tool](self.yard.services, caller or self.worker, {"task_id": "T1", **arguments})

    async def listed(self) -> list[Mapping[str, Any]]:
        return list((await self.call("workspace_checkpoints", ANN))["checkpoints"])


@pytest.fixture
async def work(yard: Yard) -> Work:
    worker, place = await yard.opened("T1")
    return Work(yard, worker, place.path)


@pytest.mark.both_stores
async def test_a_checkpoint_of_the_task_keeps_its_files(work: Work) -> None:
    work.yard.write(work.path, {"new.py": "1\n"})
    await work.call("checkpoint", summary="begun")
    work.yard.write(work.path, {"new.py": "2\n", "code.py": "a = 2\n"})
    await work.call("checkpoint", summary="more")
    (second, first) = await work.listed()
    assert (first["number"], first["task_checkpoint"], first["files_changed"]) == (1, 1, 1)
    assert (second["number"], second["task_checkpoint"], second["files_changed"]) == (2, 2, 2)
    assert second["trigger"] == "call"
    assert work.yard.show("refs/wvo/checkpoint/T1/1", "new.py") == "1"
    step = await work.call("workspace_diff", ANN, checkpoint=2)
    assert (sorted(step["files"]), "-1\n+2" in step["diff"]) == (["code.py", "new.py"], True)


async def test_a_checkpoint_without_a_change_keeps_the_first_link(work: Work) -> None:
    work.yard.write(work.path, {"new.py": "1\n"})
    await work.call("checkpoint", summary="begun")
    await work.call("checkpoint", summary="again")
    assert [one["task_checkpoint"] for one in await work.listed()] == [1]


async def test_the_difference_of_now_and_of_all(work: Work) -> None:
    work.yard.write(work.path, {"new.py": "1\n"})
    await work.call("checkpoint", summary="begun")
    work.yard.write(work.path, {"more.py": "x\n" * 20_000})
    now = await work.call("workspace_diff")
    assert (now["files"], now["cut"]) == (["more.py"], True)
    assert sorted((await work.call("workspace_diff", whole=True))["files"]) == ["more.py", "new.py"]


async def test_what_is_not_there_is_named(work: Work) -> None:
    with pytest.raises(NotFound, match="9"):
        await work.call("workspace_diff", checkpoint=9)
    await work.yard.claimed("T2")
    with pytest.raises(NotFound):
        await work.call("workspace_diff", task_id="T2")
    assert (await work.call("workspace_checkpoints", task_id="T2"))["checkpoints"] == []
    with pytest.raises(NotFound):
        await work.call("workspace_checkpoints", task_id="nothing")


async def test_files_that_cannot_be_kept_keep_no_checkpoint_of_the_task_from_being_made(
    work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def full(*_: Any) -> Any:
        raise NoCheckpoint("The disk is full.")

    monkeypatch.setattr(work.yard.files, "take", full)
    saved = await work.call("checkpoint", summary="begun")
    assert saved["checkpoint"]["seq"] == 1
    assert await work.listed() == []


async def test_any_two_checkpoints_are_compared_in_either_direction(work: Work) -> None:
    for number in (1, 2, 3):
        work.yard.write(work.path, {f"new{number}.py": f"{number}\n"})
        await work.call("checkpoint", summary=f"step {number}")

    on = await work.call("workspace_diff", ANN, checkpoint=3, since=1)
    back = await work.call("workspace_diff", ANN, checkpoint=1, since=3)
    begun = await work.call("workspace_diff", ANN, checkpoint=2, since=0)
    now = await work.call("workspace_diff", ANN, since=1)
    same = await work.call("workspace_diff", ANN, checkpoint=2, since=2)

    assert (on["files"], "+2" in on["diff"], "+3" in on["diff"]) == (["new2.py", "new3.py"], True, True)
    assert (back["files"], "-2" in back["diff"]) == (on["files"], True)
    assert begun["files"] == (await work.call("workspace_diff", ANN, checkpoint=2, whole=True))["files"]
    assert now["files"] == on["files"]
    assert (same["files"], same["diff"]) == ([], "")


async def test_a_comparison_with_what_is_not_there_is_refused(work: Work) -> None:
    work.yard.write(work.path, {"new.py": "1\n"})
    await work.call("checkpoint", summary="step")

    for wrong in ({"checkpoint": 1, "since": 7}, {"since": 7}, {"checkpoint": 7, "since": 1}):
        with pytest.raises(NotFound, match="7"):
            await work.call("workspace_diff", ANN, **wrong)
    with pytest.raises(InvalidInput, match="either whole or since"):
        await work.call("workspace_diff", ANN, checkpoint=1, since=1, whole=True)


async def test_checkpoints_of_a_removed_worktree_are_still_compared(work: Work) -> None:
    work.yard.write(work.path, {"new.py": "1\n"})
    await work.call("checkpoint", summary="step")
    work.yard.write(work.path, {"new.py": "2\n"})
    await work.yard.complete(work.worker)
    await work.yard.landed("T1")
    await work.yard.places.close("T1")
    assert await work.yard.states("T1") == ["removed"]

    step = await work.call("workspace_diff", ANN, checkpoint=2)

    assert (step["files"], "-1\n+2" in step["diff"]) == (["new.py"], True)
    with pytest.raises(NotFound, match="workspace of"):
        await work.call("workspace_diff", ANN)


async def test_checkpoints_are_listed_page_by_page(work: Work) -> None:
    for number in range(5):
        work.yard.write(work.path, {"new.py": f"{number}\n"})
        await work.call("checkpoint", summary=f"step {number}")

    first = await work.call("workspace_checkpoints", ANN, limit=3)
    rest = await work.call("workspace_checkpoints", ANN, limit=3, before=first["next_before"])

    assert [one["number"] for one in first["checkpoints"]] == [5, 4, 3]
    assert [one["number"] for one in rest["checkpoints"]] == [2, 1]
    assert "next_before" not in rest


async def test_one_checkpoint_is_shown_with_what_violates_the_policy(work: Work) -> None:
    work.yard.judge.now = replace(SafetyPolicy(), forbidden=("secret/**",))
    work.yard.write(work.path, {"secret/a.py": "1\n"})
    await work.call("checkpoint", summary="step")

    (one,) = (await work.call("workspace_checkpoints", ANN, checkpoint=1))["checkpoints"]
    (listed,) = (await work.call("workspace_checkpoints", ANN))["checkpoints"]

    assert [(found["severity"], found["path"]) for found in one["findings"]] == [("critical", "secret/a.py")]
    assert (listed["violations"], "findings" in listed) == (1, False)
    with pytest.raises(NotFound):
        await work.call("workspace_checkpoints", ANN, checkpoint=2)
