"""The pages of workers: what each does and why it waits, its log as it grows, and what went wrong and was set right."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.bench import ANN, OWNER, Bench, a_task
from tests.support.web import READER, a_visitor, caller_of, controls, operations, visited
from wvo_mcp.domain.access import Principal
from wvo_mcp.domain.lease import Role
from wvo_mcp.domain.worker import Outcome, WorkerState
from wvo_mcp.execution.agents.logs import WorkerLogFiles
from wvo_mcp.faces.http.pages.page import Visit
from wvo_mcp.faces.http.pages.serving import Pages
from wvo_mcp.faces.http.pages.workers import WORKER, log_end
from wvo_mcp.faces.http.stream import Streams, View, _matched
from wvo_mcp.operations import ALL, Container
from wvo_mcp.ports.workers import Violation, WorkerLogs

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("DASH-1", "DASH-2")]

ON = {"lease_token": 1, "run_id": "r1", "provider": "claude", "tier": "high", "model": "sonnet", "host": "here"}
HEAD = '{"wvo": "log", "driver": "none"}\n'


class Pool:
    def __init__(self, bench: Bench, folder: Path) -> None:
        self.bench, self.folder = bench, folder
        self.services: Container = bench.services.having({WorkerLogs: WorkerLogFiles(folder)})

    async def launched(self, task_id: str = "T1", **fields: Any) -> str:
        row = {**ON, "task_id": task_id, "agent_id": "auto-here.1", "state": "working", **fields}
        return (await self.bench.write(lambda tx: tx.workers.add(row))).worker_id

    def log(self, name: str, *lines: str) -> Path:
        path = self.folder / name
        with path.open("a") as file:
            file.write("".join(f"{line}\n" for line in lines))
        return path


@pytest.fixture
async def pool(bench: Bench, tmp_path: Path) -> Pool:
    await bench.create(a_task("T1", title="Price rules"), a_task("T2"))
    return Pool(bench, tmp_path)


async def test_without_workers_the_pages_say_the_next_command(pool: Pool) -> None:
    async with visited(pool.services, Role.VIEWER) as viewer:
        assert "wvo-mcp autopilot" in await viewer.page("/workers")
        assert "wvo-mcp recoveries" in await viewer.page("/recoveries")
        assert (await viewer.get("/workers/w-1")).status_code == 404


async def test_what_a_worker_does_is_said_once_on_each_page(pool: Pool) -> None:
    await pool.launched(reason="calls checkpoint", last_act="calls checkpoint {}")

    async with visited(pool.services) as visitor:
        pages = [await visitor.page(address) for address in ("/workers", "/workers/w-1")]

    assert [html.count("calls checkpoint") for html in pages] == [1, 1]


async def test_each_worker_is_shown_with_why_it_waits_and_can_be_stopped_while_it_runs(pool: Pool) -> None:
    await pool.launched(last_act="runs npm test", tokens_in=1200, cost_usd=0.5, memory_mb=300, cpu_percent=12.4)
    await pool.launched("T2", state="limited", reason="5 hour limit", resets_at="2100-01-01T00:00:00Z")
    ended = await pool.launched()
    over = {"state": WorkerState.ENDED, "outcome": Outcome.CRASHED, "ended_at": pool.bench.clock.now()}
    await pool.bench.write(lambda tx: tx.workers.change(ended, over))

    async with visited(pool.services) as visitor:
        html = await visitor.page("/workers")
        data = await visitor.data("/workers.json")
        one = await visitor.page("/workers/w-3")
    async with visited(pool.services, Role.VIEWER) as viewer:
        assert operations(await viewer.page("/workers") + await viewer.page("/workers/w-1")) == []

    for shown in ("runs npm test", "5 hour limit", "2100-01-01", "300 MB", "12 % CPU", "1,200 tokens", "crashed"):
        assert shown in html
    assert controls(html) == ["Pause", "Stop", "Stop"]
    assert controls(one) == []
    asked = await ALL["workers"](pool.services, OWNER, {"limit": 50})
    assert {name: data[name] for name in asked if name != "at"} == {n: v for n, v in asked.items() if n != "at"}


async def test_a_worker_is_stopped_once_it_is_confirmed(pool: Pool) -> None:
    await pool.launched()

    async with visited(pool.services) as visitor:
        asked = await visitor.do("worker_stop", worker_id="w-1", reason="enough")
        nothing = await pool.bench.kinds("T1")
        done = await visitor.do("worker_stop", worker_id="w-1", reason="enough", confirmed="yes")
        html = await visitor.page("/workers/w-1")

    assert (asked.status_code, "Do it" in asked.text) == (200, True)
    assert ("worker.stop_asked" in nothing, done.status_code) == (False, 303)
    assert "A person asked it to stop: enough" in html


async def test_the_end_of_a_long_log_is_shown_and_the_rest_page_by_page(pool: Pool) -> None:
    path = pool.log("w-1.jsonl", HEAD.strip(), *(f"line {number} {'x' * 80}" for number in range(5_000)))
    await pool.launched(log=str(path))

    async with visited(pool.services) as visitor:
        end = await visitor.data("/workers/w-1.json")
        begin = await visitor.data("/workers/w-1.json?after=0")
        further = await visitor.data(f"/workers/w-1.json?after={begin['log']['next_after']}")
        page = await visitor.page("/workers/w-1?after=0")

    assert len(end["log"]["lines"]) == 200
    assert end["log"]["lines"][-1].startswith("line 4999 ")
    assert begin["log"]["lines"][0].startswith("line 0 ")
    last = int(begin["log"]["lines"][-1].split()[1])
    assert further["log"]["lines"][0].startswith(f"line {last + 1} ")
    assert f"after={begin['log']['next_after']}" in page


async def test_the_raw_log_is_for_operators(pool: Pool) -> None:
    await pool.launched(log=str(pool.log("w-1.jsonl", HEAD.strip(), '{"raw": "\\u001b[31m"}')))

    async with visited(pool.services) as operator:
        raw = await operator.page("/workers/w-1?log=raw")
    async with visited(pool.services, Role.VIEWER) as viewer:
        refused = await viewer.get("/workers/w-1?log=raw")
        offered = "log=raw" in await viewer.page("/workers/w-1")

    assert ("&#34;driver&#34;" in raw or '"driver"' in raw, "\x1b" in raw) == (True, False)
    assert (refused.status_code, offered) == (403, False)


async def test_a_log_on_another_host_is_said_to_be_there(pool: Pool) -> None:
    await pool.launched(log=str(pool.folder / "gone.jsonl"))

    async with visited(pool.services) as visitor:
        html = await visitor.page("/workers/w-1")

    assert "No log on this host" in html


async def test_a_log_that_grows_is_read_again_though_the_store_is_as_before(pool: Pool) -> None:
    path = pool.log("w-1.jsonl", HEAD.strip(), "first act")
    await pool.launched(log=str(path))
    visit = Visit(pool.services, caller_of(READER), READER, {"worker_id": "w-1"})
    pages = Pages(pool.services, caller_of, [WORKER], "wvo")
    view = View(pages, WORKER, visit, "")
    await view.read(1)
    pool.log("w-1.jsonl", "second act")

    assert view.every is not None
    await view.read(1)
    still = "second act" in view.picture["live_log"].html
    view.every = 0.0
    await view.read(1)

    assert (still, "second act" in view.picture["live_log"].html) == (False, True)
    over = {"state": WorkerState.ENDED, "outcome": Outcome.COMPLETED, "ended_at": pool.bench.clock.now()}
    await pool.bench.write(lambda tx: tx.workers.change("w-1", over))
    await view.read(2)
    assert view.every is None, "what has ended is read when the store changes"


async def held(_: Principal) -> bool:
    return True


async def test_a_stream_of_a_page_that_grows_beats_without_a_change(pool: Pool) -> None:
    streams = Streams(Pages(pool.services, caller_of, [WORKER], "wvo"), held)
    beats: list[int | None] = []

    async for beat in streams._beats(lambda: 0.01):
        beats.append(beat)
        if len(beats) == 3:
            streams.close()

    assert beats[:3] == [0, 0, 0]


def test_the_address_of_a_stream_names_what_the_page_names_whatever_its_id() -> None:
    assert _matched("/tasks/{task_id}", "/tasks/a%3Ab") == {"task_id": "a:b"}
    assert _matched("/tasks/{task_id}", "/tasks/") is None


async def test_the_tail_of_a_log_is_its_end_also_where_one_read_stops_before(pool: Pool) -> None:
    lines = [json.dumps({"n": number, "text": "y" * 300}) for number in range(400)]
    await pool.launched(log=str(pool.log("w-1.jsonl", HEAD.strip(), *lines)))
    visit = Visit(pool.services, OWNER, a_visitor(Role.OPERATOR))

    found = await log_end(visit, "w-1", 3)

    assert found is not None
    assert '"n": 399' in found["lines"][-1]


async def test_what_was_set_right_and_refused_is_listed_by_task_and_page_by_page(pool: Pool) -> None:
    for number in range(60):
        note = {"reason": f"conflict {number}", "worker": "w-1"}
        await pool.bench.write(lambda tx, one=note: tx.events.append("task.returned", "T1", one))
        refused = Violation("command", "deny", "rm", f"rm -rf /{number}", "T2", "w-1")
        await pool.bench.write(lambda tx, one=refused: tx.violations.add(one))
    await pool.bench.claim(ANN, "T2")

    async with visited(pool.services, Role.VIEWER) as visitor:
        first = await visitor.data("/recoveries.json")
        html = await visitor.page("/recoveries")
        older = await visitor.data(f"/recoveries.json?cursor={first['next_cursor']}")
        refused = await visitor.data(f"/recoveries.json?refused={first['next_refused']}")
        of_one = await visitor.data("/recoveries.json?task_id=T1")
        short = await visitor.page("/workers")

    assert (len(first["recoveries"]), len(older["recoveries"])) == (50, 10)
    assert (len(first["violations"]), len(refused["violations"])) == (50, 10)
    assert (len(of_one["recoveries"]), of_one["violations"]) == (50, [])
    assert ("conflict 59" in html, "Older recoveries" in html, "Older refusals" in html) == (True, True, True)
    assert ("conflict 59" in short, "rm -rf /59" in short) == (True, True)
