"""Streams of /mcp end with what admitted them, and nobody has all of them."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, ExitStack
from dataclasses import replace
from pathlib import Path

import anyio
import pytest

from tests.faces.mcp.over_http import AGENT, ERAS, HELLO, LEGACY, MODERN, OTHER, as_, modern, opened, serving
from tests.support.bench import Bench
from wvo_mcp.domain.access import Principal
from wvo_mcp.errors import StoreBusy
from wvo_mcp.faces.mcp import lasting

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("DASH-5")]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path


@pytest.mark.parametrize("era", ERAS)
async def test_a_stream_ends_when_what_admitted_it_no_longer_does(
    bench: Bench, root: Path, era: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lasting, "LOOK_SECONDS", 0.02)
    asked_twice, held, asked = anyio.Event(), True, 0

    async def holds(principal: Principal) -> bool:
        nonlocal asked
        asked += principal == AGENT
        if asked == 2:
            asked_twice.set()
        return held

    body, listen = modern("subscriptions/listen", notifications={"toolsListChanged": True})
    async with serving(bench.services, root) as site, site.http(**as_(AGENT)) as http:
        site.mcp.lasting.holds = holds
        if era == LEGACY:
            opening = http.stream("GET", "/mcp", headers={"mcp-session-id": await opened(http)})
        else:
            opening = http.stream("POST", "/mcp", json=body, headers=listen)
        with anyio.fail_after(20):
            async with opening as stream:
                assert stream.status_code == 200
                await asked_twice.wait()
                held = False
                said = "".join([line async for line in stream.aiter_lines()])
    assert ('"result"' in said) == (era == MODERN), "a subscription is told that it has ended"


async def test_who_has_a_share_of_streams_takes_no_more(
    bench: Bench, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lasting, "MOST_EACH", 3)
    body, listen = modern("subscriptions/listen", notifications={"toolsListChanged": True})
    async with AsyncExitStack() as stack:
        site = await stack.enter_async_context(serving(bench.services, root))
        ann, bob = [await stack.enter_async_context(site.http(**as_(who))) for who in (AGENT, OTHER)]
        session = {"mcp-session-id": await opened(ann)}
        kept: list[AsyncIterator[str]] = []
        for http in (ann, ann, ann, bob):
            stream = await stack.enter_async_context(http.stream("POST", "/mcp", json=body, headers=listen))
            kept.append(stream.aiter_lines())
            async for line in kept[-1]:
                if "acknowledged" in line:
                    break
        one_more = await ann.post("/mcp", json=body, headers=listen)
        assert "3 streams of yours are open" in one_more.text
        refused = await ann.get("/mcp", headers=session)
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
        assert refused.json()["error"]["code"] == "store_busy"


async def test_who_has_a_share_of_sessions_opens_no_more(
    bench: Bench, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lasting, "SESSIONS_EACH", 3, raising=False)
    body, headers = modern("tools/list")
    async with serving(bench.services, root) as site, site.http(**as_(AGENT)) as ann, site.http(**as_(OTHER)) as bob:
        first, *_ = [await opened(ann) for _ in range(3)]
        refused = await ann.post("/mcp", json=HELLO)
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
        assert "3 MCP sessions of yours are open" in refused.json()["error"]["message"]
        assert (await ann.post("/mcp", json=body, headers=headers)).status_code == 200
        assert await opened(bob)
        await ann.delete("/mcp", headers={"mcp-session-id": first})
        assert await opened(ann)


async def test_many_that_open_sessions_at_once_have_no_more_than_their_share(
    bench: Bench, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lasting, "SESSIONS_EACH", 3, raising=False)
    statuses: list[int] = []
    async with serving(bench.services, root) as site, site.http(**as_(AGENT)) as http:

        async def ask() -> None:
            statuses.append((await http.post("/mcp", json=HELLO)).status_code)

        async with anyio.create_task_group() as group:
            for _ in range(20):
                group.start_soon(ask)
        assert statuses.count(200) <= 3
        assert {*statuses} == {200, 503}


async def test_there_is_a_most_of_all_streams_however_many_share_them() -> None:
    streams = lasting.Lasting(4)
    async with anyio.create_task_group() as tasks:
        with ExitStack() as open_ones:
            for number in range(4):
                who = replace(AGENT, key_id=f"k-{number}")
                open_ones.enter_context(streams.stream(tasks, who, lambda: None))
            with pytest.raises(StoreBusy, match="4 streams are open"), streams.stream(tasks, OTHER, lambda: None):
                pass
        with streams.stream(tasks, OTHER, lambda: None):
            pass
