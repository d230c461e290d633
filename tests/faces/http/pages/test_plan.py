"""The pages of the plan: none waits for long work."""

from collections.abc import AsyncGenerator
from dataclasses import replace

import anyio
import pytest

from tests.support.bench import OWNER, Bench, a_task
from tests.support.web import visited
from wvo_mcp.domain.lease import Caller, Role
from wvo_mcp.faces.http.pages import plan
from wvo_mcp.orchestration import outlook
from wvo_mcp.orchestration.jobs import Jobs
from wvo_mcp.orchestration.plan.graphs import PlanGraphs
from wvo_mcp.ports import Store

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("DASH-1")]

HOSTILE = "<svg onload=alert(1)>\u202e"


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """However slow the machine is, a page is what it is with the work done."""
    monkeypatch.setattr(plan, "PATIENCE_SECONDS", 60.0)


@pytest.fixture
async def jobs(bench: Bench) -> AsyncGenerator[Jobs]:
    """Long work for which nobody waits long."""
    async with anyio.create_task_group() as tasks:
        made = Jobs(patience=0.02)
        await made.start(tasks)
        bench.services = replace(bench.services, jobs=made)
        yield made
        await made.stop()


async def test_an_empty_plan_says_the_next_command(bench: Bench) -> None:
    async with visited(bench.services) as visitor:
        assert "state/roadmap.yaml" in await visitor.page("/plan")
        assert "wvo-mcp add" in await visitor.page("/plan/graph")
        assert "wvo-mcp add" in await visitor.page("/plan/forecast")


@pytest.mark.parametrize("role", list(Role))
async def test_the_plan_has_its_progress_and_milestones(bench: Bench, role: Role) -> None:
    await bench.write(lambda tx: tx.tasks.put_milestone("M", {"title": HOSTILE, "due_at": tx.now}))
    await bench.create(a_task("A", milestone_id="M"))

    async with visited(bench.services, role) as visitor:
        html = await visitor.page("/plan?days=7")
        data = await visitor.data("/plan.json?days=7")

    assert data["progress"] == await bench.call("burn_down", OWNER, days=7)
    assert data["milestones"] == await bench.call("milestones", OWNER)
    assert HOSTILE not in html
    assert "&lt;svg onload" in html
    assert 'data-source="/plan/graph.json"' in html


async def test_the_list_has_the_path_what_is_held_up_and_every_node(bench: Bench) -> None:
    await bench.create(
        a_task("A", title=HOSTILE), a_task("B", depends_on=["A"]), a_task("C", depends_on=["B"]), a_task("D")
    )
    await bench.call("block_task", OWNER, task_id="A", reason="no key")

    async with visited(bench.services) as visitor:
        html = await visitor.page("/plan/graph")
        data = await visitor.data("/plan/graph.json")

    assert data["graph"] == await bench.call("plan_graph", OWNER)
    assert data["chains"] == await bench.call("plan_chains", OWNER)
    order = [html.index(f'id="path-{name}"') for name in "ABC"]
    assert order == sorted(order)
    assert "2 behind it" in html
    assert 'id="node-D"' in html
    assert "<svg onload" not in html


async def test_a_folded_plan_is_unfolded_by_its_address(bench: Bench) -> None:
    await bench.create(*(a_task(f"t{n}", epic_id=f"e{n % 2}") for n in range(310)))

    async with visited(bench.services) as visitor:
        folded = await visitor.page("/plan/graph")
        unfolded = await visitor.page("/plan/graph?open=e1")
        data = await visitor.data("/plan/graph.json?open=e1")

    assert "Unfold e1" in folded
    assert 'id="node-t1"' not in folded
    assert "Fold e1" in unfolded
    assert 'id="node-t1"' in unfolded
    assert len(data["graph"]["nodes"]) == 1 + 155


async def test_a_forecast_under_way_is_said_to_be_and_found_by_its_handle(
    bench: Bench, jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    await bench.create(a_task("A"))
    may_go_on = anyio.Event()
    read = outlook.read

    async def slow(store: Store, caller: Caller) -> outlook.Readings:
        await may_go_on.wait()
        return await read(store, caller)

    monkeypatch.setattr(outlook, "read", slow)
    async with visited(bench.services) as visitor:
        first = await visitor.page("/plan/forecast")
        handle = (await visitor.data("/plan/forecast.json"))["handle"]
        may_go_on.set()
        with anyio.fail_after(60):
            found = await visitor.data(f"/plan/forecast.json?handle={handle}")
            while "pending" in found:
                found = await visitor.data(f"/plan/forecast.json?handle={handle}")
        shown = await visitor.page(f"/plan/forecast?handle={handle}")
        unknown = await visitor.get("/plan/forecast?handle=gone")
        shown_plan = await visitor.page("/plan")

    assert "Look again" in first
    assert f"/plan/forecast?handle={handle}" in first
    assert found["forecast"]["open"] == 1
    assert "in half of" in shown
    assert unknown.status_code == 200
    assert "all open work is done" in shown_plan


async def test_a_plan_that_is_still_being_read_holds_up_no_page(
    bench: Bench, jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    await bench.create(a_task("A"))
    may_go_on = anyio.Event()
    current = PlanGraphs.current

    async def slow(self: PlanGraphs, store: Store, caller: Caller) -> object:
        await may_go_on.wait()
        return await current(self, store, caller)

    monkeypatch.setattr(PlanGraphs, "current", slow)
    async with visited(bench.services) as visitor:
        data = await visitor.data("/plan/graph.json")
        html = await visitor.page("/plan/graph")
        assert (await visitor.get("/plan")).status_code == 200
        may_go_on.set()
        with anyio.fail_after(60):
            while "pending" in await visitor.data("/plan/graph.json"):
                pass

    assert set(data) == {"pending"}
    assert "Look again" in html


async def test_a_page_gives_up_waiting_before_the_call_does(
    bench: Bench, jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs._patience = 60.0
    monkeypatch.setattr(plan, "PATIENCE_SECONDS", 0.0)
    await bench.create(a_task("A"))

    async with visited(bench.services) as visitor:
        assert set(await visitor.data("/plan/graph.json")) == {"pending"}
        monkeypatch.setattr(plan, "PATIENCE_SECONDS", 60.0)
        assert len((await visitor.data("/plan/graph.json"))["graph"]["nodes"]) == 1


async def test_a_page_waits_for_a_forecast_no_longer_than_for_a_graph(
    bench: Bench, jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def never(store: Store, caller: Caller) -> outlook.Readings:
        await anyio.sleep_forever()
        raise AssertionError

    monkeypatch.setattr(outlook, "read", never)
    monkeypatch.setattr(jobs, "_patience", 60.0)
    monkeypatch.setattr(plan, "PATIENCE_SECONDS", 0.01)
    async with visited(bench.services) as visitor:
        with anyio.fail_after(30):
            begun = await visitor.data("/plan/forecast.json")
            again = await visitor.data(f"/plan/forecast.json?handle={begun['handle']}")

    assert (again["handle"], "pending" in again) == (begun["handle"], True)


async def test_a_forecast_is_no_live_page(bench: Bench) -> None:
    async with visited(bench.services) as visitor:
        assert "hx-sse:connect" not in await visitor.page("/plan/forecast")
        assert (await visitor.get("/stream?page=/plan/forecast")).status_code == 404
