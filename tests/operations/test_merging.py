"""The merge queue in people's hands (MERGE-8)."""

from collections.abc import Mapping
from typing import Any

import pytest

from tests.orchestration.merging.conftest import Lane
from tests.support.bench import ANN, OWNER
from wvo_mcp.errors import Conflict, Forbidden, NotFound

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


async def test_what_a_task_submitted_is_listed_newest_first_whatever_became_of_it(lane: Lane) -> None:
    lane.rule(verify=("grep -q 2 code.py",))
    await lane.submit("T1", {"code.py": "a = 3\n"})
    await lane.land()

    (red,) = (await lane.bench.call("submissions", OWNER, task_id="T1"))["entries"]

    assert (red["entry_id"], red["state"], red["task_status"]) == ("m-1", "red", "pending")
    with pytest.raises(NotFound):
        await lane.bench.call("submissions", OWNER, task_id="T9")
