"""The page of an autopilot: in its process, over a real socket, for as long as it works."""

import dataclasses
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import anyio
import httpx2
import pytest

from tests.support.flights import Flight, does
from tests.support.shops import DONE, OWNER, WRITES, Shop, workers
from wvo_mcp.app import web
from wvo_mcp.app.autopilot import Autopilot
from wvo_mcp.domain.access import Kind, Shown
from wvo_mcp.domain.event import Event
from wvo_mcp.domain.worker import WorkerState
from wvo_mcp.errors import InvalidInput, StoreUnavailable
from wvo_mcp.faces.http import listen
from wvo_mcp.faces.http.site import Site

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("DASH-1")]

HOLDS = [{"say": "begun"}, {"until": "go"}, WRITES, DONE]
_SOON = 20.0
"""Less than a stream lasts by itself."""


@pytest.fixture(autouse=True)
def person(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who runs the tests may be an agent."""

    def caller(settings: Any) -> Any:
        return OWNER

    monkeypatch.setattr(web, "cli_caller", caller)


@asynccontextmanager
async def working(made: Shop, summary: dict[str, Any]) -> AsyncGenerator[tuple[Autopilot, httpx2.AsyncClient]]:
    """The autopilot at work, its worker waiting, and a browser that has signed in."""
    async with AsyncExitStack() as stack:
        run = await stack.enter_async_context(made.run(page=0))
        assert run.page is not None and run.page.sign_in is not None
        group = await stack.enter_async_context(anyio.create_task_group())

        async def work() -> None:
            summary.update(await run.work())

        group.start_soon(work)
        browser = await stack.enter_async_context(httpx2.AsyncClient(base_url=run.page.address, timeout=60))
        assert (await browser.post(run.page.sign_in)).status_code == 303
        await made.until(lambda: _waits(run))
        yield run, browser


async def _waits(run: Autopilot) -> bool:
    return any(one.client_session and one.pid for one in await workers(run))


async def _go_on(run: Autopilot) -> None:
    for one in await workers(run):
        await anyio.Path(one.workspace or "", "go").write_text("")


def _csrf(browser: httpx2.AsyncClient) -> str:
    (cookie,) = (value for name, value in browser.cookies.items() if name.startswith("wvo_session"))
    shown = Shown.parse(Kind.SESSION, cookie)
    assert shown is not None
    return shown.csrf


async def test_the_page_shows_the_worker_and_a_person_stops_it_there(shop: Callable[..., Shop]) -> None:
    made, summary = shop(A=HOLDS), dict[str, Any]()
    async with working(made, summary) as (run, browser):
        (shown,) = (await browser.get("/workers.json")).json()["workers"]
        assert (shown["worker_id"], shown["task_id"]) == ("w-1", "A")

        seen = str((await _events(run))[-1].seq)
        form = {"worker_id": "w-1", "reason": "not now", "csrf": _csrf(browser), "confirmed": "yes", "seen": seen}
        asked = await browser.post("/do/worker_stop", data=form)
        assert asked.status_code in (200, 303), asked.text

        async def stopped() -> bool:
            return (await workers(run))[0].state is WorkerState.ENDED

        await made.until(stopped)
        run.stop()
        await made.until(lambda: _is(bool(summary)))
        (event,) = [one for one in await _events(run) if one.kind == "worker.stop_asked"]
        assert event.agent_id == OWNER.agent_id, "it is known who did it"
    assert [one["task_id"] for one in summary["waiting"]] == ["A"], (summary, made.news)


async def _events(run: Autopilot) -> Sequence[Event]:
    return await run.parts.store.read(OWNER, lambda tx: tx.events.after(0, 500, None, None))


async def _is(found: bool) -> bool:
    return found


async def test_work_lands_once_by_the_queue_of_the_autopilot(flight: Flight) -> None:
    flight.begin({"A": []}, {"A": [does("A")]}, project={"verify": ["true"], "target": "main"})

    summary = await flight.fly(page=0)

    assert flight.sql("SELECT task_id, state FROM merge_entries") == [{"task_id": "A", "state": "merged"}]
    assert [one["task_id"] for one in summary["landed"]] == ["A"]


async def test_an_open_stream_ends_with_the_autopilot_and_does_not_hold_it_up(shop: Callable[..., Shop]) -> None:
    made, summary, ended = shop(A=HOLDS), dict[str, Any](), anyio.Event()
    async with working(made, summary) as (run, browser), anyio.create_task_group() as group:
        opened = anyio.Event()

        async def follow() -> None:
            async with browser.stream("GET", "/stream", params={"page": "/workers"}) as stream:
                async for _ in stream.aiter_bytes():
                    opened.set()
            ended.set()

        group.start_soon(follow)
        await opened.wait()
        await _go_on(run)
        await made.until(lambda: _is(bool(run.pool.tally["done"])))
        with anyio.fail_after(_SOON):
            await ended.wait()
            await made.until(lambda: _is(bool(summary)))
        with pytest.raises(httpx2.ConnectError):
            await browser.get("/")


async def test_a_port_that_is_taken_ends_it_before_anything_is_launched(shop: Callable[..., Shop]) -> None:
    made = shop(A=HOLDS)
    with listen("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(InvalidInput, match=str(port)):
            async with made.run(page=port):
                raise AssertionError
        assert made.news == []
        async with made.run(page=port, any_port=True) as run:
            assert run.page is not None and str(port) in run.page.note
            assert not run.page.address.endswith(f":{port}")
            assert run.page.address.startswith("http://127.0.0.1:")


async def test_without_being_asked_there_is_no_page(shop: Callable[..., Shop]) -> None:
    async with shop(A=HOLDS).run() as run:
        assert run.page is None


async def test_in_an_agents_shell_nobody_is_signed_in(
    shop: Callable[..., Shop], monkeypatch: pytest.MonkeyPatch
) -> None:
    agent = dataclasses.replace(OWNER, role=web.Role.AGENT)

    def caller(settings: Any) -> Any:
        return agent

    monkeypatch.setattr(web, "cli_caller", caller)
    async with shop(A=HOLDS).run(page=0) as run:
        assert run.page is not None
        assert run.page.sign_in is None
        assert "agent's shell" in run.page.note


async def test_a_page_that_fails_ends_no_worker(shop: Callable[..., Shop], monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(_: Site) -> None:
        raise StoreUnavailable("gone")

    monkeypatch.setattr(Site, "run", broken)
    made = shop(A=[WRITES, DONE])
    async with made.run(page=0) as run:
        summary = await run.work()
    assert [one["task_id"] for one in summary["done"]] == ["A"]
