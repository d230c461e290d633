"""Work that changes what only people change does not land before a person has approved exactly that commit (SAFE-1, WS-4)."""

from dataclasses import replace
from typing import Any

import pytest

from tests.orchestration.merging.conftest import Lane
from tests.support.bench import OWNER, a_task
from wvo_mcp.errors import Conflict
from wvo_mcp.orchestration.approvals import deciding
from wvo_mcp.orchestration.tasks import protecting

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("SAFE-1", "WS-4")]

SCRIPTED = {"code.py": "a = 2\n", ".github/workflows/ci.yml": "on: push\n"}


@pytest.fixture
def guarded(lane: Lane) -> Lane:
    lane.queue = lane.runner(hold=protecting.held)
    return lane


async def asked(lane: Lane) -> dict[str, str]:
    rows = await lane.bench.sql("SELECT approval_id, state FROM approvals ORDER BY seq")
    return {row["approval_id"]: row["state"] for row in rows}


async def submitted(lane: Lane) -> dict[str, Any]:
    return await lane.submit("T1", SCRIPTED)


@pytest.mark.both_stores
async def test_a_protected_path_lands_once_a_person_has_approved_it(guarded: Lane) -> None:
    submission = await submitted(guarded)
    await guarded.land()
    entry = await guarded.entry(submission["entry_id"])
    assert (entry["state"], await guarded.bench.status("T1")) == ("parked", ["in_review"])
    assert ".github/workflows/ci.yml is protected" in entry["reason"]
    ((known, state),) = (await asked(guarded)).items()
    assert (state, f"wvo-mcp approve {known}" in entry["reason"]) == ("pending", True)
    violations = await guarded.bench.read(lambda tx: tx.violations.page("T1", 9))
    assert [(one["verdict"], one["rule"]) for one in violations] == [("ask", "protected")]

    await guarded.bench.call("approve", OWNER, id=known)
    guarded.bench.clock.advance(minutes=2)
    await guarded.land()
    assert (await guarded.entry(submission["entry_id"]))["state"] == "merged"
    assert await guarded.bench.status("T1") == ["done"]


@pytest.mark.requirement("APPR-1")
async def test_what_waits_for_a_person_holds_no_lease_and_no_work_in_progress(guarded: Lane) -> None:
    await submitted(guarded)
    task = await guarded.bench.task("T1")
    assert (task.status, task.session_id, task.lease_expires_at) == ("in_review", None, None)
    await guarded.bench.create(a_task("NEXT"))
    guarded.bench.limits(wip_limit=1, agent_wip_limit=1)
    assert (await guarded.bench.claim())["task"]["id"] == "NEXT"


async def test_what_a_person_denies_is_out_of_the_line(guarded: Lane) -> None:
    await submitted(guarded)
    (known,) = await asked(guarded)
    await guarded.bench.call("deny", OWNER, id=known, reason="not in this task")
    guarded.bench.clock.advance(minutes=2)
    await guarded.land()
    task = await guarded.bench.task("T1")
    assert (task.status, task.block_author) == ("blocked", "merge")
    assert "not in this task" in str(task.blocked_reason)
    assert "on: push" not in guarded.yard.git("log", "-p", "main")


@pytest.mark.full
async def test_what_nobody_decides_is_out_of_the_line_after_a_week(guarded: Lane) -> None:
    await submitted(guarded)
    guarded.bench.clock.advance(days=8)
    await guarded.bench.write(deciding.expire)
    assert await guarded.bench.status("T1") == ["blocked"]
    await guarded.land()
    assert await guarded.states() == {"T1": "parked"}


@pytest.mark.full
async def test_an_approval_is_of_one_commit_only(guarded: Lane) -> None:
    await submitted(guarded)
    (first,) = await asked(guarded)
    await guarded.bench.call("approve", OWNER, id=first)
    (guarded.yard.root / "code.py").write_text("a = 3\n")
    guarded.yard.save("a person's own")
    await guarded.land()
    assert await guarded.states() == {"T1": "conflict"}
    submission = await guarded.again("T1", {**SCRIPTED, "code.py": "a = 23\n"})
    await guarded.land()
    assert (await guarded.entry(submission["entry_id"]))["state"] == "parked"
    assert list((await asked(guarded)).values()) == ["approved", "pending"]


async def test_what_was_asked_is_void_once_the_work_is_withdrawn(guarded: Lane) -> None:
    await submitted(guarded)
    await guarded.bench.call("cancel", OWNER, task_id="T1", reason="no longer")
    assert list((await asked(guarded)).values()) == ["void"]


async def test_what_is_forbidden_is_not_submitted_at_all(guarded: Lane) -> None:
    guarded.yard.judge.now = replace(guarded.yard.judge.now, forbidden=("/deploy/",))
    with pytest.raises(Conflict, match="deploy/key is forbidden"):
        await guarded.submit("T1", {"deploy/key": "k\n"})
    assert await guarded.states() == {}
    assert await asked(guarded) == {}


async def test_other_work_asks_nobody(guarded: Lane) -> None:
    await guarded.submit("T1", {"code.py": "a = 2\n"})
    await guarded.land()
    assert (await guarded.states(), await asked(guarded)) == ({"T1": "merged"}, {})


@pytest.mark.requirement("APPR-2")
async def test_who_decides_is_shown_each_path_that_is_protected(guarded: Lane) -> None:
    names = [f".github/workflows/{name}.yml" for name in ("a", "b", "c", "deploy", "release")]
    await guarded.submit("T1", dict.fromkeys(names, "on: push\n"))
    (known,) = await asked(guarded)
    (line,) = (await guarded.bench.call("approval_status", OWNER, approval_id=known))["approvals"]
    assert [name for name in names if name not in line["about"]] == []


@pytest.mark.requirement("APPR-2")
def test_what_is_too_much_to_be_shown_is_said_to_be_there() -> None:
    violations = [{"message": f"p{n} is protected.", "path": f"p{n}", "rule": "protected"} for n in range(1_300)]
    entry = {"entry_id": "m-1", "task_id": "T1", "commit_sha": "c", "findings": protecting.findings_of(violations)}
    question = str(protecting._subject(entry)["question"])
    assert question.endswith("p199 is protected. And 1,100 more, WHICH CANNOT BE SHOWN.")
