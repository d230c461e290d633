"""What people do to the queue, what it shows them, and what holds it up (MERGE-5, MERGE-8)."""

import json
from typing import Any

import anyio
import pytest

from tests.orchestration.merging.conftest import Lane
from tests.support.bench import OWNER, a_task
from tests.support.sessions import an_agent
from tests.support.yard import git
from wvo_mcp.domain.merging import EntryState
from wvo_mcp.errors import Conflict
from wvo_mcp.orchestration.merging.unattended import unattended
from wvo_mcp.orchestration.tasks import review
from wvo_mcp.ports.merging import NotNow

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("MERGE-2")]


@pytest.mark.requirement("MERGE-8")
async def test_a_person_parks_tries_again_and_takes_back(lane: Lane) -> None:
    submission = await lane.submit("T1", {"code.py": "a = 2\n"})

    async def with_entry(work: Any, entry_id: str = submission["entry_id"]) -> Any:
        return await lane.bench.write(lambda tx: _on(tx, entry_id, work), OWNER)

    async def _on(tx: Any, entry_id: str, work: Any) -> Any:
        return await work(tx, await tx.submissions.get(entry_id))

    async def parked(tx: Any, entry: Any) -> Any:
        return await review.park(tx, entry, "not before the release")

    await with_entry(parked)
    await lane.land()
    task = await lane.bench.task("T1")
    assert (await lane.states(), task.status, task.block_author) == ({"T1": "parked"}, "blocked", "merge")
    await lane.bench.call("update_task", OWNER, task_id="T1", status="pending")
    assert (await lane.states(), await lane.bench.status("T1")) == ({"T1": "withdrawn"}, ["pending"])

    again = await lane.again("T1", {"code.py": "a = 3\n"})
    (lane.yard.root / "code.py").write_text("mine\n")
    await lane.land()
    lane.yard.git("checkout", "-q", "code.py")
    await with_entry(review.retry, again["entry_id"])
    await lane.land()
    assert (await lane.bench.status("T1"), lane.main("code.py")) == (["done"], "a = 3")

    await lane.submit("T2", {"later.py": "1\n"})
    await lane.land()
    await with_entry(review.revert, again["entry_id"])
    with pytest.raises(Conflict, match="already"):
        await with_entry(review.revert, again["entry_id"])
    await lane.land()
    assert (await lane.bench.status("T1", "T2"), lane.main("code.py")) == (["pending", "done"], "a = 1")
    assert "later.py" in lane.yard.names("main")


@pytest.mark.requirement("MERGE-8")
async def test_what_a_person_parked_lands_when_they_try_it_again(lane: Lane) -> None:
    entry_id = (await lane.submit("T1", {"code.py": "a = 2\n"}))["entry_id"]
    parked = await lane.bench.call("merge_park", OWNER, entry_id=entry_id)
    assert parked["entry"]["next"] == f"wvo-mcp merge retry {entry_id}, or wvo-mcp unblock T1"
    again = await lane.bench.call("merge_retry", OWNER, entry_id="T1")
    task = await lane.bench.task("T1")
    assert (again["entry"]["state"], again["status"], task.block_author) == ("queued", "in_review", None)
    await lane.land()
    assert (await lane.bench.status("T1"), lane.main("code.py")) == (["done"], "a = 2")


@pytest.mark.requirement("MERGE-8")
async def test_trying_again_lifts_no_block_of_another_kind(lane: Lane) -> None:
    entry_id = (await lane.submit("T1", {"code.py": "a = 2\n"}))["entry_id"]
    await lane.bench.call("merge_park", OWNER, entry_id=entry_id)
    await lane.bench.force("UPDATE tasks SET block_author = 'approval'")
    with pytest.raises(Conflict, match="T1 is blocked") as error:
        await lane.bench.call("merge_retry", OWNER, entry_id=entry_id)
    assert "wvo-mcp unblock T1" in (error.value.hint or "")
    assert (await lane.states(), await lane.bench.status("T1")) == ({"T1": "parked"}, ["blocked"])


async def test_a_revert_that_conflicts_waits_for_a_person(lane: Lane) -> None:
    submission = await lane.submit("T1", {"code.py": "a = 2\n"})
    await lane.land()
    (lane.yard.root / "code.py").write_text("a = 5\n")
    lane.yard.save("a person's own")

    async def revert(tx: Any) -> Any:
        return await review.revert(tx, await tx.submissions.get(submission["entry_id"]))

    made = await lane.bench.write(revert, OWNER)
    await lane.land()
    entry = await lane.entry(made["entry_id"])
    assert (entry["state"], entry["retry_at"], await lane.bench.status("T1")) == ("parked", None, ["done"])
    assert lane.main("code.py") == "a = 5"


async def test_an_entry_of_another_host_is_left_to_it(lane: Lane) -> None:
    await lane.submit("T1", {"new.py": "1\n"})
    await lane.bench.sql("SELECT 1")
    lane.queue = lane.runner(host="elsewhere")
    await lane.land()
    assert await lane.states() == {"T1": "queued"}


async def test_a_hook_may_hold_an_entry(lane: Lane) -> None:
    held = ["it waits for a review"]

    async def hold(tx: Any, entry: Any, task: Any) -> str | None:
        return held[0] if held else None

    lane.queue = lane.runner(hold=hold)
    entry_id = (await lane.submit("T1", {"new.py": "1\n"}))["entry_id"]
    await lane.land()
    entry = await lane.entry(entry_id)
    assert (entry["state"], entry["reason"]) == ("parked", held[0])
    held.clear()
    lane.bench.clock.advance(minutes=2)
    await lane.land()
    assert await lane.bench.status("T1") == ["done"]


async def test_merge_off_holds_what_waits(lane: Lane) -> None:
    await lane.submit("T1", {"new.py": "1\n"})
    lane.rule(merge=None)
    await lane.land()
    assert await lane.states() == {"T1": "parked"}
    await lane.bench.create(a_task("T2"))


async def test_what_the_target_has_already_is_done(lane: Lane) -> None:
    entry_id = (await lane.submit("T1", {"new.py": "1\n"}))["entry_id"]
    (lane.yard.root / "new.py").write_text("1\n")
    tip = lane.yard.save("the same by hand")
    await lane.land()
    entry = await lane.entry(entry_id)
    assert (entry["state"], entry["landed_sha"], await lane.bench.status("T1")) == ("merged", tip, ["done"])


@pytest.mark.requirement("MERGE-5")
async def test_conflicts_are_shown_before_they_happen(lane: Lane) -> None:
    first = await lane.submit("T1", {"code.py": "a = 2\n"})
    second = await lane.submit("T2", {"code.py": "a = 3\n"})
    third = await lane.submit("T3", {"free.py": "1\n"})
    lane.rule(verify=("true",))
    seen: list[Any] = []

    async def look() -> None:
        async def found() -> list[Any]:
            rows = [await lane.entry(one["entry_id"]) for one in (first, second, third)]
            return [json.loads(row["findings"]).get("predicted") for row in rows]

        while not seen:
            now = await found()
            if all(now[:2]):  # each is read by itself
                seen.append(now)
            await anyio.sleep(0.01)

    lane.checks.before = look
    with anyio.fail_after(60):
        await lane.land()
    assert seen == [
        [
            [{"with": second["entry_id"], "paths": ["code.py"]}],
            [{"with": first["entry_id"], "paths": ["code.py"]}],
            None,
        ]
    ]


@pytest.mark.both_stores
async def test_work_that_nobody_lands_raises_one_alert_with_the_command(lane: Lane) -> None:
    await lane.submit("T1", {"new.py": "1\n"})
    await lane.do(unattended())
    assert await lane.bench.alerts() == []
    lane.bench.clock.advance(minutes=2)
    await lane.do(unattended())
    await lane.do(unattended())
    assert await lane.bench.alerts() == [("merge_unattended", "warning", None)]
    await lane.land()
    await lane.do(unattended())
    assert await lane.bench.alerts() == []


async def test_nothing_lands_while_the_repository_s_own_files_are_suspect(lane: Lane) -> None:
    await lane.submit("T1", {"new.py": "1\n"})
    await lane.yard.opened("T2")
    with (lane.yard.root / ".git" / "config").open("a") as out:
        out.write("[core]\n\thooksPath = ../evil\n")
    before = git(lane.yard.root, "rev-parse", "main")
    await lane.land()
    rows = await lane.bench.sql("SELECT state, reason FROM merge_entries")
    assert rows[0]["state"] == EntryState.PARKED
    assert "wvo-mcp trust" in rows[0]["reason"]
    assert git(lane.yard.root, "rev-parse", "main") == before


async def test_what_git_cannot_do_is_tried_again_and_said_once(lane: Lane) -> None:
    await lane.submit("T1", {"new.py": "1\n"})
    repository: Any = lane.queue.repository
    tip = repository.tip

    async def away(*_: Any) -> str:
        raise NotNow("the remote is away")

    repository.tip = away
    for _ in range(3):
        await lane.land()
        lane.bench.clock.advance(minutes=2)
    kinds = await lane.bench.kinds("T1")
    assert kinds.count("merge.parked") == 1
    repository.tip = tip
    await lane.land()
    assert await lane.bench.status("T1") == ["done"]


@pytest.mark.both_stores
async def test_the_files_of_a_task_are_in_use_until_its_work_has_landed(lane: Lane) -> None:
    await lane.submit("T1", {"src/a.py": "1\n"}, claims=["src/**"])
    await lane.bench.create(a_task("T2", files=["src/b.py"]))
    claimed = await lane.bench.claim(an_agent("bob"))
    assert (claimed["task"], claimed["reason"]) == (None, "no_ready_tasks")
    await lane.land()
    assert (await lane.bench.claim(an_agent("bob")))["task"]["id"] == "T2"


async def test_the_local_mode_lands_nothing_while_another_host_has_workers(lane: Lane) -> None:
    entry_id = (await lane.submit("T1", {"new.py": "1\n"}))["entry_id"]
    await lane.bench.create(a_task("T2"))
    await lane.yard.claim("T2", host="elsewhere")
    await lane.land()
    entry = await lane.entry(entry_id)
    assert entry["state"] == "parked"
    assert "merge mode local" in entry["reason"]


async def test_get_task_says_whether_it_was_verified(lane: Lane) -> None:
    lane.rule(verify=("true",))
    await lane.submit("T1", {"new.py": "1\n"})
    assert (await lane.bench.call("get_task", task_id="T1"))["task"].get("verified") is None
    await lane.land()
    assert (await lane.bench.call("get_task", task_id="T1"))["task"].get("verified") == "verified"
    await lane.bench.create(a_task("T2"))
    await lane.bench.done("T2")
    assert (await lane.bench.call("get_task", task_id="T2"))["task"].get("verified") == "unverified"
