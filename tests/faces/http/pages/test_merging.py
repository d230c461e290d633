"""The page of the merge lane, and of one entry."""

import pytest

from tests.orchestration.merging.conftest import Lane, lane
from tests.support.bench import OWNER, a_task
from tests.support.web import operations, visited
from wvo_mcp.domain.lease import Role
from wvo_mcp.execution.reviews import CommitsOfRoot
from wvo_mcp.operations import Container
from wvo_mcp.ports import Transaction
from wvo_mcp.ports.reviews import Commits
from wvo_mcp.ports.workers import LogPage, WorkerLogs

__all__ = ["lane"]

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("DASH-1", "DASH-2")]

HOSTILE = "<script>alert(1)</script>\x1b[31m\u202e"


class NoLogs:
    async def read(self, log: str, after: int | None, *, raw: bool) -> LogPage:
        return LogPage((HOSTILE,), 0, more=False)


def services_of(lane: Lane) -> Container:
    return lane.bench.services.having({Commits: CommitsOfRoot(lane.yard.root, lane.yard.folder), WorkerLogs: NoLogs()})


async def test_an_empty_lane_says_what_brings_work_there(lane: Lane) -> None:
    async with visited(lane.bench.services) as visitor:
        html = await visitor.page("/merge")

    assert "wvo-mcp autopilot" in html
    assert "Nothing has landed yet" in html


async def test_the_lane_has_the_queue_s_own_data_and_says_what_waits(lane: Lane) -> None:
    await lane.submit("T1", {"code.py": "a = 2\n"}, title=HOSTILE)
    lane.bench.clock.advance(minutes=2)

    async with visited(services_of(lane)) as visitor:
        html = await visitor.page("/merge")
        data = await visitor.data("/merge.json")

    assert data == await lane.bench.call("merge_queue", OWNER, ended=10)
    assert "wvo-mcp run" in html
    assert 'href="/merge/m-1"' in html
    assert HOSTILE not in html
    assert "&lt;script&gt;alert(1)" in html


@pytest.mark.parametrize(
    ("role", "offered"),
    [(Role.VIEWER, []), (Role.AGENT, []), (Role.OPERATOR, ["merge_park"]), (Role.ADMIN, ["merge_park"])],
)
async def test_controls_are_those_of_role_and_state(lane: Lane, role: Role, offered: list[str]) -> None:
    await lane.submit("T1", {"code.py": "a = 2\n"})

    async with visited(services_of(lane), role) as visitor:
        assert operations(await visitor.page("/merge")) == offered
        assert operations(await visitor.page("/merge/m-1")) == offered


async def test_an_entry_is_parked_tried_again_and_taken_back_from_its_page(lane: Lane) -> None:
    await lane.submit("T1", {"code.py": "a = 2\n"})

    async with visited(services_of(lane)) as visitor:
        parked = await visitor.do("merge_park", entry_id="m-1", reason="later", confirmed="yes")
        assert (parked.status_code, await lane.states()) == (303, {"T1": "parked"})
        assert operations(await visitor.page("/merge")) == ["merge_retry"]
        await visitor.do("merge_retry", entry_id="m-1")
        await lane.land()
        assert operations(await visitor.page("/merge/m-1")) == ["merge_revert"]
        asked = await visitor.do("merge_revert", entry_id="m-1")
        assert "Do it" in asked.text
        await visitor.do("merge_revert", entry_id="m-1", confirmed="yes")
        assert await lane.states() == {"T1": "queued"}
        assert operations(await visitor.page("/merge/m-1")) == []


async def test_what_agents_and_programs_wrote_is_text_on_the_page_of_an_entry(lane: Lane) -> None:
    lane.rule(verify=("true",))
    lane.checks.log = "log"
    await lane.submit("T1", {"code.py": f"a = '{HOSTILE}'\n", "<b>.py": "1\n"})
    await lane.land()

    async with visited(services_of(lane)) as visitor:
        html = await visitor.page("/merge/m-1")
        data = await visitor.data("/merge/m-1.json")
        missing = await visitor.get("/merge/m-9")

    assert data["log_lines"] == [HOSTILE]
    assert "<script>alert" not in html
    assert "\x1b" not in html
    assert "\u202e" not in html
    assert "<b>" not in html.replace("<b>.py", "") or "&lt;b&gt;.py" in html
    assert missing.status_code == 404


async def test_everything_that_ended_is_reached_page_by_page(lane: Lane) -> None:
    bench = lane.bench
    await bench.create(a_task("T1"))

    async def end(tx: Transaction) -> None:
        for number in range(5):
            row = {"task_id": "T1", "state": "queued", "repository": "r", "host": "h", "path": "/", "target": "main"}
            row |= {"commit_sha": str(number), "base_sha": "b", "number": number + 1}
            entry = await tx.submissions.add(row)
            await tx.submissions.change(entry["entry_id"], {"state": "merged"})

    await bench.write(end)
    found: list[str] = []
    async with visited(services_of(lane), Role.VIEWER) as visitor:
        html = await visitor.page("/merge?ended=2")
        cursor: str | None = (await visitor.data("/merge.json?ended=2"))["next_cursor"]
        while cursor is not None:
            data = await visitor.data(f"/merge.json?ended=2&cursor={cursor}")
            found += [one["entry_id"] for one in data["ended"]]
            cursor = data.get("next_cursor")
        rest = await visitor.page("/merge?ended=5")

    assert found == ["m-5", "m-4", "m-3", "m-2", "m-1"]
    assert "cursor=all" in html
    assert "cursor=" not in rest
