"""What open tabs and programs are sent: what differs, in order, without a gap, and never held up by others."""

import json
import re
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace

import anyio
import pytest
from starlette.types import Message

from tests.support.bench import Bench, a_task
from tests.support.web import CSRF, OPERATOR, READER, Tab, as_principal, client_of, site_of, streaming, visiting
from wvo_mcp.domain import access
from wvo_mcp.domain.access import Principal, Via
from wvo_mcp.domain.lease import Role
from wvo_mcp.errors import StoreUnavailable
from wvo_mcp.faces.http import stream
from wvo_mcp.faces.http.pages.page import Visit
from wvo_mcp.faces.http.pages.serving import Pages
from wvo_mcp.faces.http.site import Site
from wvo_mcp.ports.store import SOON

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("DASH-1")]


@asynccontextmanager
async def running(bench: Bench) -> AsyncGenerator[Site]:
    site = site_of(bench)
    async with anyio.create_task_group() as group:
        group.start_soon(site.run)
        yield site
        group.cancel_scope.cancel()


def streams_of(site: Site) -> stream.Streams:
    return next(part for part in site._parts if isinstance(part, stream.Streams))


async def digest_of(bench: Bench, address: str) -> str:
    async with visiting(bench) as client:
        found = re.search(r"has=([0-9a-f]+)", (await client.get(address)).text)
    assert found is not None
    return found[1]


async def events_until(tab: Tab, last: int) -> list[int]:
    seqs: list[int] = []
    while not seqs or seqs[-1] < last:
        message = await tab.next("event")
        assert message["id"] == str(json.loads(message["data"])["seq"])
        seqs.append(int(message["id"]))
    return seqs


async def last_of(bench: Bench) -> int:
    return await bench.read(lambda tx: tx.events.last_seq())


async def test_a_tab_is_sent_the_row_that_changed(bench: Bench) -> None:
    await bench.create(a_task("T1"), a_task("T2"))
    for name in ("T1", "T2"):
        await bench.claim(task_id=name, agent_id=f"ann.{name}")
    first = await bench.call("approval_request", task_id="T1", question="One?")
    await bench.call("approval_request", task_id="T2", question="Two?")
    has = await digest_of(bench, "/approvals?state=all")
    async with running(bench) as site, streaming(site, f"/stream?page=%2Fapprovals%3Fstate%3Dall&has={has}") as tab:
        begun = await tab.next()
        assert begun["event"] == "seen"

        approval = first["approval"]["approval_id"]
        async with visiting(bench, OPERATOR) as client:
            answer = await client.post(
                "/do/approve",
                content=f"csrf={CSRF}&id={approval}",
                headers={"content-type": "application/x-www-form-urlencoded"},
            )
            assert answer.status_code == 303
        sent = await tab.next("message")

    assert int(sent["id"]) == await last_of(bench)
    assert f'id="approval-{approval}"' in sent["data"]


async def test_a_tab_that_shows_what_is_there_is_sent_nothing_until_something_changes(bench: Bench) -> None:
    has = await digest_of(bench, "/events")
    async with running(bench) as site, streaming(site, f"/stream?page=%2Fevents&has={has}") as tab:
        assert (await tab.next())["event"] == "seen"
        await bench.create(a_task("T1"))
        assert "T1" in (await tab.next("message"))["data"]


async def test_a_tab_that_comes_back_is_sent_the_whole_page(bench: Bench) -> None:
    await bench.create(a_task("T1"))
    has = await digest_of(bench, "/events")
    back = {"last-event-id": "1"}
    async with running(bench) as site, streaming(site, f"/stream?page=%2Fevents&has={has}", headers=back) as tab:
        assert "T1" in (await tab.next())["data"]


async def test_programs_are_sent_every_event_in_order_and_go_on_where_they_were(bench: Bench) -> None:
    await bench.create(*(a_task(f"A{n}") for n in range(30)))
    async with running(bench) as site:
        async with streaming(site, "/stream?after=0") as tab:
            first = await events_until(tab, await last_of(bench))
        await bench.create(*(a_task(f"B{n}") for n in range(stream._PAGE * 2)))
        async with streaming(site, "/stream", headers={"last-event-id": str(first[-1])}) as tab:
            await bench.create(a_task("C"))
            rest = await events_until(tab, await last_of(bench))

    every = [row["seq"] for row in await bench.sql("SELECT seq FROM events WHERE seq > 0 ORDER BY seq")]
    assert first + rest == every


async def test_who_does_not_read_holds_up_nobody(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "PATIENCE_SECONDS", 0.3)
    stuck, ended = anyio.Event(), anyio.Event()

    async def receive() -> Message:
        return await anyio.Event().wait() or {}

    async def send(message: Message) -> None:
        if message["type"] == "http.response.body":
            stuck.set()
            await anyio.sleep_forever()

    async with running(bench) as site:

        async def slow() -> None:
            query = {
                "type": "http",
                "scheme": "http",
                "method": "GET",
                "path": "/stream",
                "query_string": b"after=0",
                "root_path": "",
            }
            first = [{"type": "http.request", "body": b"", "more_body": False}]

            async def once() -> Message:
                return first.pop() if first else await receive()

            scope = {
                **query,
                "headers": [(b"host", b"127.0.0.1")],
                "client": ("127.0.0.1", 1),
                "server": ("127.0.0.1", 2),
            }
            await as_principal(site, READER)(scope, once, send)
            ended.set()

        async with anyio.create_task_group() as group:
            group.start_soon(slow)
            await stuck.wait()
            async with streaming(site, "/stream") as tab:
                await tab.next("begin")
                await bench.create(a_task("T1"))
                assert (await tab.next("event"))["event"] == "event"
            with anyio.fail_after(20):
                await ended.wait()  # it is given up, and what it held is free


async def test_fifty_tabs_of_one_page_cost_one_read_of_it(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    reads = 0
    read = Pages.seen

    async def counted(self: Pages, visit: Visit) -> int:
        nonlocal reads
        reads += 1
        return await read(self, visit)

    monkeypatch.setattr(Pages, "seen", counted)
    async with running(bench) as site, anyio.create_task_group() as group:
        ready: list[int] = []
        told: list[str] = []
        everybody, go, all_told = anyio.Event(), anyio.Event(), anyio.Event()

        async def tab(number: int) -> None:
            async with streaming(site, "/stream?page=%2Fevents") as one:
                await one.next("message")
                ready.append(number)
                if len(ready) == 50:
                    everybody.set()
                await go.wait()
                while "T9" not in (found := await one.next("message"))["data"]:
                    pass
                told.append(found["id"])
                if len(told) == 50:
                    all_told.set()

        for number in range(50):
            group.start_soon(tab, number)
        await everybody.wait()
        before = reads
        go.set()
        await bench.create(a_task("T9"))
        with anyio.fail_after(30):
            await all_told.wait()
        assert len({*told}) == 1
        assert 1 <= reads - before <= 3


async def test_a_stream_ends_when_what_admitted_it_is_revoked(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "HEARTBEAT_SECONDS", 0.05)
    held = True

    async def holds(principal: Principal) -> bool:
        return held

    async with running(bench) as site:
        for part in site._parts:
            monkeypatch.setattr(part, "_holds", holds)
        async with streaming(site, "/stream") as tab:
            await tab.next("begin")
            await bench.create(a_task("T1"))
            await tab.next("event")
            held = False
            with pytest.raises(anyio.EndOfStream):
                while True:
                    await tab.next()


async def test_a_store_that_is_away_for_a_moment_ends_no_stream(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "_AWAY_SECONDS", 0.01)
    wait = bench.store.wait_for_change
    away = True

    async def waited(seconds: float, *, within: float = SOON) -> bool:
        if away:
            raise StoreUnavailable("The disk is away.")
        return await wait(seconds, within=within)

    monkeypatch.setattr(bench.store, "wait_for_change", waited)
    async with running(bench) as site, streaming(site, "/stream") as tab:
        await tab.next("begin")
        await bench.create(a_task("T1"))
        away = False
        assert (await tab.next("event"))["event"] == "event"


async def test_streams_end_when_the_server_is_about_to_and_no_more_begin(bench: Bench) -> None:
    async with running(bench) as site, streaming(site, "/stream") as tab:
        await tab.next("begin")
        site.close()
        with pytest.raises(anyio.EndOfStream):
            await tab.next()
        async with client_of(site) as client:
            assert (await client.get("/stream")).status_code == 503


@pytest.mark.parametrize(
    ("query", "headers", "status"),
    [
        ("page=%2Fnothing", {}, 404),
        ("page=%2Falerts%3Fcolour%3Dred", {}, 400),
        ("page=", {}, 404),
        ("after=-1", {}, 400),
        ("after=9999999999999999999999", {}, 400),
        ("", {"last-event-id": "x"}, 400),
        ("page=https%3A%2F%2Fevil.example%2F", {}, 404),
        ("page=%2F%2F[", {}, 404),
    ],
)
async def test_what_cannot_be_streamed_is_said(bench: Bench, query: str, headers: dict[str, str], status: int) -> None:
    async with visiting(bench) as client:
        answer = await client.get(f"/stream?{query}", headers=headers)

    assert answer.status_code == status, answer.text
    assert answer.json()["error"]["message"]


async def test_a_stream_beats_also_while_changes_are_none_of_what_it_shows(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "HEARTBEAT_SECONDS", 0.05)
    streams = streams_of(site_of(bench))
    with anyio.fail_after(20):
        async for generation in streams._beats():
            if generation is None:
                break
            streams._wake()  # as a leader does that renews its lease
            await anyio.lowlevel.checkpoint()


async def test_the_store_is_looked_at_only_while_there_are_streams(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    wait = bench.store.wait_for_change
    looked: list[float] = []

    async def waited(seconds: float, *, within: float = SOON) -> bool:
        looked.append(within)
        return await wait(seconds, within=within)

    monkeypatch.setattr(bench.store, "wait_for_change", waited)
    async with running(bench) as site:
        await anyio.wait_all_tasks_blocked()
        assert looked == []
        async with streaming(site, "/stream") as tab:
            await tab.next("begin")
            await bench.create(a_task("T1"))
            await tab.next("event")
        async with streaming(site, "/stream?after=0") as tab:
            await tab.next("event")

    assert {*looked} == {stream._WITHIN_SECONDS}


async def test_one_token_with_its_sessions_takes_no_more_than_its_share(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(access, "MOST_EACH", 10)
    eve = Principal("eve", Role.VIEWER, Via.TOKEN, "k-1")
    tab = replace(eve, via=Via.SESSION, key_id="s-1", root_id="k-1")
    async with running(bench) as site, AsyncExitStack() as stack:
        for number in range(10):  # ten tabs of one person are nothing unusual
            opened = await stack.enter_async_context(streaming(site, "/stream", tab if number % 2 else eve))
            await opened.next("begin")
        for who in (eve, tab):
            async with client_of(site, who) as client:
                refused = await client.get("/stream")
                assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
                assert refused.json()["error"]["code"] == "store_busy"
                assert "10 streams of this token" in refused.json()["error"]["message"]
        for other in (READER, OPERATOR):
            opened = await stack.enter_async_context(streaming(site, "/stream", other))
            await opened.next("begin")
        await stack.aclose()
        async with streaming(site, "/stream", eve) as again:
            await again.next("begin")


async def test_many_that_ask_at_once_take_no_more_than_their_share_either(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(access, "MOST_EACH", 5)
    waiting, go_on = 0, anyio.Event()
    seen = Pages.seen

    async def slow(self: Pages, visit: Visit) -> int:
        nonlocal waiting
        waiting += 1
        if waiting == 5:
            go_on.set()
        await go_on.wait()
        return await seen(self, visit)

    monkeypatch.setattr(Pages, "seen", slow)
    statuses: list[int] = []
    async with running(bench) as site, client_of(site, OPERATOR) as client:

        async def ask() -> None:
            statuses.append((await client.head("/stream")).status_code)

        async with anyio.create_task_group() as group:
            for _ in range(20):
                group.start_soon(ask)
        assert sorted(statuses) == [200] * 5 + [503] * 15
        assert (await client.head("/stream")).status_code == 200, "who was answered takes nothing any more"


def test_who_shows_nothing_leaves_some_of_all_streams_to_others() -> None:
    assert access.most_streams(OPERATOR) < access.most_streams(READER) < stream.MOST


async def test_tabs_of_one_page_are_sent_the_controls_of_their_own_role(bench: Bench) -> None:
    await bench.create(a_task("T1"))
    viewer, agent = (Principal(role.name, role, Via.SESSION, role.name, CSRF) for role in (Role.VIEWER, Role.AGENT))
    async with running(bench) as site, streaming(site, "/stream?page=%2Ftasks%2FT1", agent) as first:
        assert "/do/update_task" in (await first.next("message"))["data"]
        async with streaming(site, "/stream?page=%2Ftasks%2FT1", viewer) as second:
            assert "/do/update_task" not in (await second.next("message"))["data"]


async def test_programs_that_know_more_than_a_restored_store_begin_with_the_restore(bench: Bench) -> None:
    await bench.create(a_task("T1"))
    await bench.write(lambda tx: tx.events.append("store.restored", None, {"backup": "b"}))
    restored = await last_of(bench)
    await bench.create(a_task("T2"))
    back = {"last-event-id": str(restored + 1_000)}
    async with running(bench) as site, streaming(site, "/stream", headers=back) as tab:
        assert (await tab.next("reset", patience=5.0))["id"] == str(restored - 1)
        seqs = await events_until(tab, await last_of(bench))
        assert seqs[0] == restored
        await bench.create(a_task("T3"))
        assert "T3" in (await tab.next("event"))["data"]
