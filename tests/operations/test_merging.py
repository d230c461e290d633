"""The merge queue in people's hands (MERGE-8)."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.orchestration.merging.conftest import Lane
from tests.support.bench import ANN, OWNER
from wvo_mcp.errors import Conflict, Forbidden, NotFound
from wvo_mcp.execution.reviews import CommitsOfRoot
from wvo_mcp.operations import ALL, Container
from wvo_mcp.ports.reviews import Commits
from wvo_mcp.ports.workers import LogPage, WorkerLogs

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("MERGE-8", "MERGE-5")]


async def shown(lane: Lane, **arguments: Any) -> Mapping[str, Any]:
    return await lane.bench.call("merge_queue", OWNER, **arguments)


async def test_the_queue_shows_what_waits_in_its_order_and_why(lane: Lane) -> None:
    lane.yard.write(lane.yard.root, {"other.py": "1\n"})
    lane.yard.save("another file")
    worker, place = await lane.yard.opened("T1", files=["docs/**"], title="Price rules")
    lane.yard.write(place.path, {"code.py": "a = 2\n"})
    await lane.yard.complete(worker)
    await lane.submit("T2", {"other.py": "2\n"}, priority="critical")
    await lane.submit("T3", {"new.py": "1\n"})
    await lane.bench.call("merge_park", OWNER, entry_id="T3", reason="not before the release")

    found = await shown(lane)

    assert found["waiting"] == 3
    lines = [(one["entry_id"], one["task_id"], one["state"], one.get("place")) for one in found["entries"]]
    assert lines == [("m-2", "T2", "queued", 1), ("m-1", "T1", "queued", 2), ("m-3", "T3", "parked", None)]
    first, parked = found["entries"][1:]
    assert (first["title"], first["drift"], first["target"], first["task_status"]) == (
        "Price rules",
        1,
        "main",
        "in_review",
    )
    assert (parked["reason"], parked["next"], parked["task_status"]) == (
        "not before the release",
        "wvo-mcp merge retry m-3, or wvo-mcp unblock T3",
        "blocked",
    )
    assert "unattended" not in found
    lane.bench.clock.advance(minutes=2)
    assert (await shown(lane))["unattended"]


async def test_what_ended_says_how(lane: Lane) -> None:
    lane.rule(verify=("grep -q 2 code.py || { echo no two; exit 3; }",))
    await lane.submit("T1", {"code.py": "a = 2\n"})
    await lane.submit("T2", {"code.py": "a = 3\n"})
    await lane.land()
    await lane.submit("T3", {"code.py": "a = 4\n"})
    await lane.land()

    ended = {one["task_id"]: one for one in (await shown(lane))["ended"]}

    assert {name: one["state"] for name, one in ended.items()} == {"T1": "merged", "T2": "conflict", "T3": "red"}
    assert (ended["T1"]["landed"], ended["T1"]["verified"]) == (lane.yard.git("rev-parse", "main"), "verified")
    assert ended["T2"]["files"] == ["code.py"]
    assert "no two" in ended["T3"]["reason"]
    assert (await shown(lane, ended=1))["ended"][0]["task_id"] == "T3"
    assert "ended" not in await shown(lane, ended=0)


async def test_what_a_person_parks_while_it_is_verified_does_not_land(lane: Lane) -> None:
    head = lane.yard.git("rev-parse", "main")
    lane.rule(verify=("true",))
    await lane.submit("T1", {"code.py": "a = 2\n"})

    async def parks() -> None:
        await lane.bench.call("merge_park", OWNER, entry_id="m-1")

    lane.checks.before = parks
    await lane.land()

    assert (await lane.states(), await lane.bench.status("T1")) == ({"T1": "parked"}, ["blocked"])
    assert lane.yard.git("rev-parse", "main") == head


async def test_what_was_parked_is_tried_again_at_once(lane: Lane) -> None:
    await lane.submit("T1", {"code.py": "a = 2\n"})
    (lane.yard.root / "code.py").write_text("mine\n")
    await lane.land()
    (line,) = (await shown(lane))["entries"]
    assert line["state"] == "parked"
    assert "retry_at" in line
    lane.yard.git("checkout", "-q", "code.py")

    again = await lane.bench.call("merge_retry", OWNER, entry_id="m-1")
    await lane.land()

    assert (again["entry"]["state"], again["status"]) == ("queued", "in_review")
    assert (await lane.bench.status("T1"), lane.main("code.py")) == (["done"], "a = 2")


async def test_a_landing_is_taken_back_and_its_task_reopened(lane: Lane) -> None:
    await lane.submit("T1", {"code.py": "a = 2\n"})
    await lane.land()

    made = await lane.bench.call("merge_revert", OWNER, entry_id="T1")

    assert (made["entry"]["entry_id"], made["entry"]["kind"], made["entry"]["state"]) == ("m-2", "revert", "queued")
    assert made["status"] == "done"
    await lane.land()
    assert (await lane.bench.status("T1"), lane.main("code.py")) == (["pending"], "a = 1")
    with pytest.raises(Conflict, match="m-2 takes m-1 back already"):
        await lane.bench.call("merge_revert", OWNER, entry_id="m-1")


async def test_errors_name_what_is_near_and_which_states_can(lane: Lane) -> None:
    await lane.submit("TASK-1", {"code.py": "a = 2\n"})

    with pytest.raises(NotFound) as unknown:
        await lane.bench.call("merge_park", OWNER, entry_id="m-11")
    assert unknown.value.details["near"] == ["m-1"]
    with pytest.raises(NotFound) as task:
        await lane.bench.call("merge_park", OWNER, entry_id="TASK-2")
    assert task.value.details["near"] == ["TASK-1"]
    with pytest.raises(Conflict, match="only what is parked can be tried again"):
        await lane.bench.call("merge_retry", OWNER, entry_id="m-1")
    with pytest.raises(Conflict, match="only a submission that has landed can be taken back"):
        await lane.bench.call("merge_revert", OWNER, entry_id="m-1")
    await lane.land()
    with pytest.raises(Conflict, match="only what is queued, building, verifying or parked can be parked"):
        await lane.bench.call("merge_park", OWNER, entry_id="m-1")


async def test_agents_change_nothing_in_the_queue(lane: Lane) -> None:
    await lane.submit("T1", {"code.py": "a = 2\n"})

    for name in ("merge_retry", "merge_park", "merge_revert"):
        with pytest.raises(Forbidden, match="for people only"):
            await lane.bench.call(name, ANN, entry_id="m-1")
    assert await lane.states() == {"T1": "queued"}


class Logs:
    """`ports.workers.WorkerLogs` with one log."""

    def __init__(self, log: str, *lines: str) -> None:
        self._log, self._lines = log, lines

    async def read(self, log: str, after: int | None, *, raw: bool) -> LogPage:
        if log != self._log:
            raise NotFound("log", log, ())
        return LogPage(self._lines, 0, more=False)


def showing(lane: Lane, logs: Logs) -> Container:
    return lane.bench.services.having({Commits: CommitsOfRoot(lane.yard.root, lane.yard.folder), WorkerLogs: logs})


async def test_an_entry_shows_its_diff_and_what_its_verification_said(lane: Lane) -> None:
    command = "grep -q 2 code.py || { echo no two; exit 3; }"
    lane.rule(verify=(command,))
    await lane.submit("T1", {"code.py": "a = 2\n"})
    await lane.submit("T2", {"code.py": "a = 2\n", "new.py": "x\n"})
    services = showing(lane, Logs("none"))

    async def shown_of(entry_id: str) -> Mapping[str, Any]:
        return await ALL["merge_show"](services, OWNER, {"entry_id": entry_id})

    waiting = await shown_of("T2")
    await lane.land()
    await lane.submit("T3", {"code.py": "a = 4\n"})
    await lane.land()
    landed, red = await shown_of("m-1"), await shown_of("m-3")

    assert (waiting["changed"], waiting["entry"]["can"]) == (["code.py", "new.py"], ["park"])
    assert "+a = 2" in landed["diff"]
    assert (landed["shown"], landed["entry"]["can"]) == (lane.yard.git("rev-parse", "main~1"), ["revert"])
    assert (red["failed_command"], red["exit_code"], red["tail"]) == (command, 3, "no two\n")
    assert (red["entry"].get("can"), "log_lines" in red) == (None, False)


async def test_the_end_of_a_log_is_shown_and_what_passed_has_one_too(lane: Lane) -> None:
    lane.rule(verify=("true",))
    lane.checks.log = "verify/1.log"
    await lane.submit("T1", {"code.py": "a = 2\n"})
    await lane.land()
    services = showing(lane, Logs("verify/1.log", "old " * 900, *(f"line {n}" for n in range(300))))

    found = await ALL["merge_show"](services, OWNER, {"entry_id": "m-1"})

    assert found["entry"]["log"] == "verify/1.log"
    assert found["log_lines"][-1] == "line 299"
    assert found["log_cut"]


async def test_what_another_repository_has_is_said_not_to_be_here(lane: Lane, tmp_path: Path) -> None:
    await lane.submit("T1", {"code.py": "a = 2\n"})
    services = lane.bench.services.having(
        {Commits: CommitsOfRoot(tmp_path / "elsewhere", tmp_path), WorkerLogs: Logs("")}
    )

    found = await ALL["merge_show"](services, OWNER, {"entry_id": "m-1"})

    assert "diff" not in found


async def test_only_what_its_state_allows_is_offered(lane: Lane) -> None:
    await lane.submit("T1", {"code.py": "a = 2\n"})
    assert (await shown(lane))["entries"][0]["can"] == ["park"]
    await lane.bench.call("merge_park", OWNER, entry_id="m-1")
    assert (await shown(lane))["entries"][0]["can"] == ["retry"]
    await lane.bench.call("merge_retry", OWNER, entry_id="m-1")
    await lane.land()
    assert (await shown(lane))["ended"][0]["can"] == ["revert"]
    await lane.bench.call("merge_revert", OWNER, entry_id="m-1")
    assert "can" not in (await shown(lane))["ended"][0]


async def test_what_a_task_submitted_is_listed_newest_first_whatever_became_of_it(lane: Lane) -> None:
    lane.rule(verify=("grep -q 2 code.py",))
    await lane.submit("T1", {"code.py": "a = 3\n"})
    await lane.land()

    (red,) = (await lane.bench.call("submissions", OWNER, task_id="T1"))["entries"]

    assert (red["entry_id"], red["state"], red["task_status"]) == ("m-1", "red", "pending")
    with pytest.raises(NotFound):
        await lane.bench.call("submissions", OWNER, task_id="T9")
