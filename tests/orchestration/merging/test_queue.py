"""The merge queue: one entry after the other, built on the target, verified, landed; or back with its reason (MERGE-2)."""

import json
from dataclasses import replace
from typing import Any

import anyio
import pytest

from tests.orchestration.merging.conftest import RUNNER, Lane
from tests.support.bench import OWNER, a_task
from tests.support.sessions import an_agent
from wvo_mcp.domain.rules import MergePolicy
from wvo_mcp.orchestration.leader import Overtaken
from wvo_mcp.orchestration.merging.queue import MergeQueue

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("MERGE-2")]


@pytest.mark.parametrize("policy", list(MergePolicy))
async def test_a_task_is_in_review_until_its_work_is_in_the_target(lane: Lane, policy: MergePolicy) -> None:
    lane.rule(policy=policy, verify=("grep -q 2 code.py",))
    submission = await lane.submit("T1", {"code.py": "a = 2\n"})
    await lane.bench.create(a_task("T2", depends_on=["T1"]))
    assert (submission["state"], await lane.bench.status("T1")) == ("queued", ["in_review"])
    assert (await lane.bench.call("plan_next"))["tasks"] == []

    await lane.land()

    entry = await lane.entry(submission["entry_id"])
    assert (entry["state"], entry["verified"]) == ("merged", "verified")
    assert entry["landed_sha"] == lane.yard.git("rev-parse", "main")
    assert lane.main("code.py") == "a = 2"
    assert (lane.yard.root / "code.py").read_text() == "a = 2\n", "the person's checkout went along"
    assert await lane.bench.status("T1") == ["done"]
    assert [one["id"] for one in (await lane.bench.call("plan_next"))["tasks"]] == ["T2"]
    assert (await lane.bench.kinds("T1"))[-2:] == ["task.submitted", "task.completed"]


async def test_others_are_built_on_what_landed_before_them(lane: Lane) -> None:
    for number in range(4):
        await lane.submit(f"T{number}", {f"new{number}.py": f"{number}\n"})
    await lane.land()
    assert await lane.states() == {f"T{number}": "merged" for number in range(4)}
    assert lane.yard.names("main") >= {f"new{number}.py" for number in range(4)}
    assert int(lane.yard.git("rev-list", "--count", "main")) == 5
    assert lane.yard.git("status", "--porcelain") == ""


async def test_the_next_one_is_the_most_urgent_then_the_oldest(lane: Lane) -> None:
    await lane.submit("low", {"low.py": "1\n"}, priority="low")
    await lane.submit("old", {"old.py": "1\n"})
    await lane.submit("new", {"new.py": "1\n"})
    await lane.submit("urgent", {"urgent.py": "1\n"}, priority="critical")
    await lane.land()
    landed = [one["task_id"] for one in lane.told if one["event"] == "landed"]
    assert landed == ["urgent", "old", "new", "low"]


@pytest.mark.requirement("MERGE-4")
async def test_a_conflict_goes_back_to_its_agent_and_the_third_time_to_a_person(lane: Lane) -> None:
    first = await lane.submit("T1", {"code.py": "a = 2\n"})
    for number in range(3):
        theirs = f"a = {number + 10}\n"
        (lane.yard.root / "code.py").write_text(theirs)
        lane.yard.save("a person's own")
        await lane.land()
        task = await lane.bench.task("T1")
        assert lane.main("code.py") == theirs.strip(), "the target is as it was"
        if number < 2:
            assert (task.status, task.kept_for) == ("pending", "auto-host")
            claimed = await lane.bench.claim(an_agent("auto-host.9"), "T1")
            assert "conflicts with main in code.py" in claimed["resume"]["summary"]
            await lane.bench.call("release_task", an_agent("auto-host.9"), task_id="T1")
            await lane.again("T1", {"code.py": f"a = {number + 3}\n"})
    task = await lane.bench.task("T1")
    entry = await lane.entry(first["entry_id"])
    assert (entry["state"], json.loads(entry["findings"])["paths"]) == ("conflict", ["code.py"])
    assert (task.status, task.block_author) == ("blocked", "merge")
    assert ("task_blocked", "critical", "T1") in await lane.bench.alerts()
    await lane.bench.call("update_task", OWNER, task_id="T1", status="pending")
    assert await lane.bench.status("T1") == ["pending"]
    await lane.again("T1", {"code.py": "a = 99\n"})
    (lane.yard.root / "code.py").write_text("a = 77\n")
    lane.yard.save("a person's own")
    await lane.land()
    assert await lane.bench.status("T1") == ["pending"], "once a person was asked it is counted anew"


@pytest.mark.requirement("REV-4")
async def test_a_red_verification_goes_back_with_what_it_said(lane: Lane) -> None:
    lane.rule(verify=("true", "echo 'E  assert 1 == 2'; test ! -f bad.py"))
    entry_id = (await lane.submit("T1", {"bad.py": "1\n"}))["entry_id"]
    await lane.submit("T2", {"good.py": "1\n"})
    await lane.land()
    entry = await lane.entry(entry_id)
    assert entry["state"] == "red"
    assert json.loads(entry["findings"])["exit_code"] == 1
    assert await lane.bench.status("T1", "T2") == ["pending", "done"]
    resume = (await lane.bench.claim(an_agent("auto-host.9"), "T1"))["resume"]["summary"]
    assert "E  assert 1 == 2" in resume
    assert "bad.py" not in lane.yard.names("main")


@pytest.mark.requirement("MERGE-8")
async def test_what_a_tree_has_passed_is_not_verified_again(lane: Lane) -> None:
    lane.rule(verify=("true",))
    (lane.yard.root / "note.txt").write_text("dirty\n")
    await lane.submit("T1", {"note.txt": "1\n"})
    await lane.land()
    assert (await lane.states(), len(lane.checks.runs)) == ({"T1": "parked"}, 1)
    (lane.yard.root / "note.txt").unlink()
    lane.bench.clock.advance(minutes=2)
    await lane.land()
    assert (await lane.states(), len(lane.checks.runs)) == ({"T1": "merged"}, 1)


async def test_without_commands_it_lands_and_says_unverified(lane: Lane) -> None:
    entry_id = (await lane.submit("T1", {"code.py": "a = 2\n"}))["entry_id"]
    await lane.land()
    assert (await lane.entry(entry_id))["verified"] == "unverified"
    assert lane.checks.runs == []


@pytest.mark.requirement("MERGE-7")
async def test_a_person_who_commits_meanwhile_loses_nothing(lane: Lane) -> None:
    lane.rule(verify=("test -f new.py",))
    commits: list[str] = []

    async def commit() -> None:
        if len(commits) < 3:
            (lane.yard.root / f"own{len(commits)}.py").write_text("1\n")
            commits.append(lane.yard.save("a person's own"))

    lane.checks.before = commit
    await lane.submit("T1", {"new.py": "1\n"})
    await lane.land()
    assert await lane.states() == {"T1": "merged"}
    assert len(lane.checks.runs) == 4, "each time the combined tree is verified"
    for one in commits:
        lane.yard.git("merge-base", "--is-ancestor", one, "main")
    assert lane.yard.names("main") >= {"own0.py", "own1.py", "own2.py", "new.py"}


async def test_a_target_that_never_stands_still_is_left_for_a_while(lane: Lane) -> None:
    lane.rule(verify=("true",))

    async def commit() -> None:
        (lane.yard.root / f"own{len(lane.checks.runs)}.py").write_text("1\n")
        lane.yard.save("a person's own")

    lane.checks.before = commit
    await lane.submit("T1", {"new.py": "1\n"})
    await lane.land()
    assert (await lane.states(), await lane.bench.status("T1")) == ({"T1": "parked"}, ["in_review"])
    assert len(lane.checks.runs) == 10
    lane.checks.before = None
    lane.bench.clock.advance(minutes=2)
    await lane.land()
    assert await lane.bench.status("T1") == ["done"]


async def test_what_people_cancel_while_it_is_verified_does_not_land(lane: Lane) -> None:
    lane.rule(verify=("true",))

    async def cancel() -> None:
        await lane.bench.call("update_task", OWNER, task_id="T1", status="cancelled")

    lane.checks.before = cancel
    await lane.submit("T1", {"new.py": "1\n"})
    before = lane.yard.git("rev-parse", "main")
    await lane.land()
    assert (await lane.states(), await lane.bench.status("T1")) == ({"T1": "withdrawn"}, ["cancelled"])
    assert lane.yard.git("rev-parse", "main") == before


async def test_what_is_cancelled_as_git_moves_the_target_is_told_to_people(lane: Lane) -> None:
    submission = await lane.submit("T1", {"new.py": "1\n"})
    repository: Any = lane.queue.repository
    land = repository.land

    async def landed_and_cancelled(landing: Any, candidate: Any) -> Any:
        done = await land(landing, candidate)
        await lane.bench.call("update_task", OWNER, task_id="T1", status="cancelled")
        return done

    repository.land = landed_and_cancelled
    await lane.land()
    entry = await lane.entry(submission["entry_id"])
    assert (entry["state"], entry["landed_sha"]) == ("merged", lane.yard.git("rev-parse", "main"))
    assert await lane.bench.status("T1") == ["cancelled"]
    assert ("merge_landed_late", "warning", "T1") in await lane.bench.alerts()


@pytest.mark.requirement("MERGE-3")
async def test_a_dirty_checkout_parks_the_entry_and_it_lands_once_that_is_clean(lane: Lane) -> None:
    await lane.submit("T1", {"code.py": "a = 2\n"})
    (lane.yard.root / "code.py").write_text("a = 7  # mine\n")
    await lane.land()
    assert (await lane.states(), await lane.bench.status("T1")) == ({"T1": "parked"}, ["in_review"])
    assert ("merge_parked", "warning", "T1") in await lane.bench.alerts()
    assert (lane.yard.root / "code.py").read_text() == "a = 7  # mine\n"
    await lane.submit("T2", {"other.py": "1\n"})
    await lane.land()
    assert (await lane.states())["T2"] == "merged", "others go on"
    lane.yard.git("checkout", "-q", "code.py")
    lane.bench.clock.advance(minutes=2)
    await lane.land()
    assert await lane.bench.status("T1") == ["done"]
    assert "merge_parked" not in [one[0] for one in await lane.bench.alerts()]


class Killed(BaseException):
    """The process ends here."""


@pytest.mark.both_stores
@pytest.mark.requirement("MERGE-7")
@pytest.mark.parametrize("after", [False, True])
async def test_a_kill_around_the_landing_neither_loses_nor_repeats_it(lane: Lane, after: bool) -> None:
    submission = await lane.submit("T1", {"new.py": "1\n"})
    repository: Any = lane.queue.repository
    land = repository.land

    async def killed(landing: Any, candidate: Any) -> Any:
        if after:
            await land(landing, candidate)
        raise Killed

    repository.land = killed
    with pytest.raises(BaseException):  # noqa: B017 - a group around it
        await lane.queue.turn()
    assert (await lane.states(), await lane.bench.status("T1")) == ({"T1": "landing"}, ["in_review"])

    lane.bench.servers.kill(RUNNER.session_id)
    lane.queue = lane.runner(replace(RUNNER, session_id="runner/2"))
    await lane.land()

    assert await lane.bench.status("T1") == ["done"]
    assert (await lane.entry(submission["entry_id"]))["landed_sha"] == lane.yard.git("rev-parse", "main")
    assert int(lane.yard.git("rev-list", "--count", "main")) == 2


async def _never(*_: object) -> None:
    await anyio.sleep_forever()


@pytest.mark.both_stores
async def test_a_runner_that_lost_the_slot_moves_nothing(lane: Lane, monkeypatch: pytest.MonkeyPatch) -> None:
    # Renewing goes by the real clock: on a slow machine it would end the first runner, and with it `other`, before its time.
    monkeypatch.setattr(MergeQueue, "_keep", _never)
    lane.rule(verify=("true",))
    other = lane.runner(replace(RUNNER, session_id="runner/2"))

    async def overtaken() -> None:
        lane.checks.before = None
        lane.bench.clock.advance(20)  # longer than the lease of the slot
        while await other.turn():
            pass

    lane.checks.before = overtaken
    await lane.submit("T1", {"new.py": "1\n"})
    with pytest.raises(Overtaken):
        await lane.queue.turn()
    assert await lane.bench.status("T1") == ["done"]
    assert int(lane.yard.git("rev-list", "--count", "main")) == 2
    assert [one["event"] for one in lane.told] == ["landed"]


@pytest.mark.both_stores
async def test_two_runners_land_each_entry_once(lane: Lane) -> None:
    for number in range(6):
        await lane.submit(f"T{number}", {f"new{number}.py": "1\n"})
    others = [lane.runner(replace(RUNNER, session_id=f"runner/{number}")) for number in (2, 3)]

    async def work(queue: Any) -> None:
        while "queued" in (await lane.states()).values():
            if not await queue.turn():
                await anyio.sleep(0.01)

    async with anyio.create_task_group() as tasks:
        for queue in (lane.queue, *others):
            tasks.start_soon(work, queue)
    await lane.land()
    assert set((await lane.states()).values()) == {"merged"}
    assert int(lane.yard.git("rev-list", "--count", "main")) == 7
    assert sorted(one["task_id"] for one in lane.told) == [f"T{number}" for number in range(6)]
