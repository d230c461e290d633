"""MCP over HTTP, over real sockets: both eras, many principals, and shapes that no client should send."""

import json
import re
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import httpx2
import pytest
from mcp import Client

from tests.faces.mcp.over_http import (
    AGENT,
    ERAS,
    HELLO,
    LEGACY,
    MODERN,
    OPERATOR,
    OTHER,
    VIEWER,
    Site,
    as_,
    given,
    modern,
    opened,
    rpc,
    serving,
)
from tests.support.bench import Bench, a_task
from wvo_mcp.domain.access import Principal
from wvo_mcp.operations import ALL, Effect

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("DASH-5")]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path


@asynccontextmanager
async def connected(bench: Bench, root: Path, era: str, **headers: str) -> AsyncGenerator[Client]:
    async with serving(bench.services, root) as site, site.client(era, **headers) as client:
        yield client


async def holder(bench: Bench, task_id: str = "A") -> tuple[str | None, str | None]:
    task = await bench.task(task_id)
    return task.assigned_to, task.session_id


@pytest.mark.parametrize("era", ERAS)
async def test_a_task_is_worked_to_done(bench: Bench, root: Path, era: str) -> None:
    await bench.create(a_task("A"), a_task("B", depends_on=["A"]))
    async with connected(bench, root, era) as client:
        listed = await client.list_tools()
        assert [tool.name for tool in listed.tools] == [op.name for op in ALL.values() if op.toolset == "core"]
        assert [task["id"] for task in (await given(client, "plan_next"))["tasks"]] == ["A"]
        assert (await given(client, "claim_task"))["task"]["id"] == "A"
        assert (await given(client, "checkpoint", task_id="A", summary="half"))["checkpoint"]["seq"] == 1
        assert (await given(client, "complete_task", task_id="A", summary="whole"))["unlocked"] == ["B"]
        assert "not_found" in str((await client.call_tool("get_task", {"task_id": "Z"})).content)
        assert (await client.read_resource("wvo://task/A")).contents
        assert (await client.list_prompts()).prompts
    assert await bench.status("A", "B") == ["done", "pending"]


@pytest.mark.parametrize(
    ("era", "headers", "agent", "session"),
    [
        (LEGACY, {}, r"tests-[0-9a-f]{8}", "http:{agent}"),
        (MODERN, {}, r"tests-http", "http:{agent}"),
        (LEGACY, {"wvo_agent_id": "zoe"}, r"zoe", "http:{agent}"),
        (MODERN, {"wvo_agent_id": "zoe"}, r"zoe", "http:{agent}"),
        (LEGACY, as_(AGENT), r"tests-[0-9a-f]{8}", "http:k-ann:{agent}"),
        (MODERN, as_(AGENT), r"tests-ann", "http:k-ann:{agent}"),
        (MODERN, {**as_(AGENT), "wvo_agent_id": "zoe"}, r"zoe", "http:k-ann:{agent}"),
        (MODERN, {**as_(OPERATOR), "wvo_agent_id": "zoe"}, r"olga", "http:k-olga:olga"),
    ],
)
async def test_the_agent_is_that_of_the_header_or_one_for_each_client(
    bench: Bench, root: Path, era: str, headers: dict[str, str], agent: str, session: str
) -> None:
    await bench.create(a_task("A"))
    async with connected(bench, root, era, **headers) as client:
        await given(client, "claim_task")
        name, held_by = await holder(bench)
        assert name is not None and re.fullmatch(agent, name)
        assert held_by == session.format(agent=name)
        [row] = await bench.sql("SELECT client FROM sessions WHERE session_id = ?", held_by)
        assert row["client"] == "tests"


async def test_one_token_cannot_write_with_the_lease_of_another_not_even_as_the_same_agent(
    bench: Bench, root: Path
) -> None:
    await bench.create(a_task("A"))
    async with serving(bench.services, root) as site:
        async with site.client(MODERN, **as_(AGENT), wvo_agent_id="zoe") as client:
            lease = (await given(client, "claim_task"))["lease"]
        async with site.client(MODERN, **as_(OTHER), wvo_agent_id="zoe") as client:
            done = {"task_id": "A", "lease_token": lease["token"], "summary": "mine"}
            assert (await given(client, "complete_task", **done))["error"]["code"] == "stale_lease"
        async with site.client(MODERN, **as_(AGENT), wvo_agent_id="zoe") as client:
            assert (await given(client, "complete_task", **done))["task"]["status"] == "done"


@pytest.mark.parametrize("era", ERAS)
async def test_a_header_chooses_toolsets_and_a_wrong_one_is_named(bench: Bench, root: Path, era: str) -> None:
    async with serving(bench.services, root) as site:
        async with site.client(era, wvo_toolsets="plan, health") as client:
            names = {tool.name for tool in (await client.list_tools()).tools}
            assert names == {op.name for op in ALL.values() if op.toolset in ("plan", "health") and op.name in names}
            assert {"forecast", "alerts"} <= names
            told = await given(client, "claim_task")
            assert "toolset core" in told["error"]["hint"]
        async with site.http(wvo_toolsets="cor") as http:
            answer = await http.post("/mcp", json=HELLO)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["details"]["field"]) == (400, "invalid_input", "WVO-Toolsets")
    assert "Did you mean core?" in error["message"]


@pytest.mark.parametrize("era", ERAS)
async def test_a_role_sees_no_tool_that_it_may_not_use(bench: Bench, root: Path, era: str) -> None:
    await bench.create(a_task("A"))
    async with connected(bench, root, era, **as_(VIEWER)) as client:
        listed = {tool.name for tool in (await client.list_tools()).tools}
        told = await client.call_tool("claim_task", {})
        assert (await given(client, "get_task", task_id="A"))["task"]["id"] == "A"
    assert listed == {op.name for op in ALL.values() if op.toolset == "core" and op.effect is Effect.READ}
    assert told.is_error and told.structured_content is not None
    assert told.structured_content["error"]["code"] == "forbidden"
    assert await bench.status("A") == ["pending"]


@pytest.mark.parametrize("era", ERAS)
async def test_what_a_worker_started_may_only_read(
    bench: Bench, root: Path, era: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[int, int]] = []

    def below(theirs: int, ours: int) -> bool:
        asked.append((theirs, ours))
        return True

    monkeypatch.setattr("wvo_mcp.app.web.speaks_below_warden", below)
    await bench.create(a_task("A"))
    async with connected(bench, root, era) as client:
        assert "claim_task" not in {tool.name for tool in (await client.list_tools()).tools}
        told = await given(client, "claim_task")
    assert told["error"]["code"] == "forbidden"
    assert "started by a worker" in told["error"]["message"]
    assert len({ours for _, ours in asked}) == 1


@pytest.mark.parametrize("principal", [OTHER, VIEWER, None])
async def test_a_session_belongs_to_the_principal_that_opened_it(
    bench: Bench, root: Path, principal: Principal | None
) -> None:
    async with serving(bench.services, root) as site, site.http(**as_(AGENT)) as ann:
        session = {"mcp-session-id": await opened(ann)}
        async with site.http(**({} if principal is None else as_(principal))) as other:
            for method in ("POST", "GET", "DELETE"):
                refused = await other.request(method, "/mcp", headers=session, json=rpc("tools/list"))
                assert refused.status_code == 404
                assert refused.json()["error"]["code"] == "not_found"
        assert (await ann.post("/mcp", headers=session, json=rpc("tools/list"))).status_code == 200
        assert (await ann.delete("/mcp", headers=session)).status_code == 200
        assert (await ann.post("/mcp", headers=session, json=rpc("tools/list"))).status_code == 404


async def test_after_a_restart_the_same_agent_goes_on_with_its_task(bench: Bench, root: Path) -> None:
    await bench.create(a_task("A"))
    async with serving(bench.services, root) as site, site.http(wvo_agent_id="zoe") as http:
        session = {"mcp-session-id": await opened(http)}
        await http.post("/mcp", headers=session, json=rpc("tools/call", {"name": "claim_task"}))
    granted = (await bench.task("A")).lease_expires_at

    async with serving(bench.services, root) as site:
        async with site.http(wvo_agent_id="zoe") as http:
            unknown = await http.post("/mcp", headers=session, json=rpc("tools/list"))
            assert unknown.status_code == 404
            assert "initialize" in unknown.json()["error"]["hint"]
        assert (await bench.task("A")).lease_expires_at == granted
        async with site.client(LEGACY, wvo_agent_id="zoe") as client:
            done = await given(client, "complete_task", task_id="A", summary="after the restart")
    assert done["task"]["status"] == "done"


async def test_an_agent_without_a_name_ends_with_the_server_and_its_lease_at_the_grace(
    bench: Bench, root: Path
) -> None:
    await bench.create(a_task("A"))
    async with serving(bench.services, root) as site, site.http() as http:
        session = {"mcp-session-id": await opened(http)}
        await http.post("/mcp", headers=session, json=rpc("tools/call", {"name": "claim_task"}))

    until = (await bench.task("A")).lease_expires_at
    assert until is not None and (until - bench.clock.now()).total_seconds() == bench.policy.grace_seconds


async def test_delete_cuts_the_leases_to_the_grace_unless_another_session_has_the_agent(
    bench: Bench, root: Path
) -> None:
    await bench.create(a_task("A"))
    async with serving(bench.services, root) as site, site.http(wvo_agent_id="zoe") as http:
        sessions = [{"mcp-session-id": await opened(http)} for _ in range(2)]
        for session, tool in zip(sessions, ("claim_task", "heartbeat"), strict=True):
            call = {"name": tool, "arguments": {} if tool == "claim_task" else {"task_id": "A"}}
            await http.post("/mcp", headers=session, json=rpc("tools/call", call))

        left: list[float] = []
        for session in sessions:
            assert (await http.delete("/mcp", headers=session)).status_code == 200
            until = (await bench.task("A")).lease_expires_at
            assert until is not None
            left.append((until - bench.clock.now()).total_seconds())
    assert left == [600, 60]


async def test_an_open_stream_renews_the_leases_of_its_session_and_a_closed_one_does_not(
    bench: Bench, root: Path
) -> None:
    await bench.create(a_task("A"))
    async with serving(bench.services, root) as site, site.http() as http:
        session = {"mcp-session-id": await opened(http)}
        claim = rpc("tools/call", {"name": "claim_task", "arguments": {"lease_seconds": 1}})
        async with http.stream("GET", "/mcp", headers=session) as stream:
            assert stream.status_code == 200
            await http.post("/mcp", headers=session, json=claim)
            await _renewed(bench)


async def test_a_subscription_renews_the_leases_of_its_agent(bench: Bench, root: Path) -> None:
    await bench.create(a_task("A"))
    async with serving(bench.services, root) as site, site.http() as http:
        body, headers = modern("subscriptions/listen", notifications={"toolsListChanged": True})
        claim, named = modern("tools/call", "claim_task", arguments={"lease_seconds": 1})
        async with http.stream("POST", "/mcp", json=body, headers=headers) as stream:
            lines = stream.aiter_lines()
            assert "acknowledged" in await _data(lines)
            await http.post("/mcp", json=claim, headers=named)
            await _renewed(bench)


async def _renewed(bench: Bench) -> None:
    granted = (await bench.task("A")).lease_expires_at
    assert granted is not None
    bench.clock.advance(0.8)
    with anyio.fail_after(20):
        while (await bench.task("A")).lease_expires_at == granted:
            await bench.store.wait_for_change(1)


async def _data(lines: Any) -> str:
    async for line in lines:
        if line.startswith("data:"):
            return line
    raise AssertionError("the stream ended")


async def test_two_clients_that_are_one_agent_are_warned_of(
    bench: Bench, root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    body, headers = modern("subscriptions/listen", notifications={"toolsListChanged": True})
    async with AsyncExitStack() as stack:
        site = await stack.enter_async_context(serving(bench.services, root))
        http = await stack.enter_async_context(site.http())
        for _ in range(2):
            assert caplog.text.count("WVO-Agent-Id") == 0
            stream = await stack.enter_async_context(http.stream("POST", "/mcp", json=body, headers=headers))
            await _data(stream.aiter_lines())
    assert "connected as the agent tests-http" in caplog.text
    assert "WVO-Agent-Id" in caplog.text


@pytest.mark.parametrize("era", ERAS)
async def test_progress_of_long_work_is_told_to_who_asks_for_it(bench: Bench, root: Path, era: str) -> None:
    await bench.create(*(a_task(f"T{number}") for number in range(300)))
    told: list[float] = []

    async def heard(progress: float, total: float | None, message: str | None) -> None:
        told.append(progress)

    async with connected(bench, root, era, wvo_toolsets="all") as client:
        result = await client.call_tool("forecast", {"runs": 3_000}, progress_callback=heard)
    assert not result.is_error
    assert len(told) > 1
    assert told == sorted(told)


async def test_a_session_is_told_of_the_resources_that_it_subscribed_to(bench: Bench, root: Path) -> None:
    await bench.create(a_task("A"), a_task("B"))
    told: list[str] = []
    async with serving(bench.services, root) as site, site.http() as http:
        session = {"mcp-session-id": await opened(http)}
        async with http.stream("GET", "/mcp", headers=session) as stream:
            lines = stream.aiter_lines()
            for uri in ("wvo://task/A", "wvo://context/a b", "wvo://task/B"):
                subscribed = await http.post("/mcp", headers=session, json=rpc("resources/subscribe", {"uri": uri}))
                assert '"result":{}' in subscribed.text
            left = await http.post("/mcp", headers=session, json=rpc("resources/unsubscribe", {"uri": "wvo://task/B"}))
            assert '"result":{}' in left.text
            await _followed(site)
            await bench.claim(task_id="B")
            await bench.complete("B")
            await bench.call("context_write", topic="a b", content="new")
            told.append(await _data(lines))
            await bench.claim(task_id="A")
            told.append(await _data(lines))
        assert (await http.delete("/mcp", headers=session)).status_code == 200
    assert [json.loads(line.removeprefix("data:"))["params"]["uri"] for line in told] == [
        "wvo://context/a b",
        "wvo://task/A",
    ]


async def test_a_subscription_of_the_modern_protocol_names_the_resources(bench: Bench, root: Path) -> None:
    await bench.create(a_task("A"))
    body, headers = modern("subscriptions/listen", notifications={"resourceSubscriptions": ["wvo://status"]})
    async with (
        serving(bench.services, root) as site,
        site.http() as http,
        http.stream("POST", "/mcp", json=body, headers=headers) as stream,
    ):
        lines = stream.aiter_lines()
        assert "acknowledged" in await _data(lines)
        await _followed(site)
        await bench.claim()
        told = await _data(lines)
    assert ("notifications/resources/updated" in told, "wvo://status" in told) == (True, True)


async def _followed(site: Site) -> None:
    """Until it has looked where the events are."""
    with anyio.fail_after(20):
        await site.mcp.updates.following.wait()


@pytest.mark.parametrize("era", ERAS)
async def test_the_end_of_the_server_closes_streams_and_finishes_what_is_being_answered(
    bench: Bench, root: Path, era: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, go_on = anyio.Event(), anyio.Event()
    read = type(bench.store).read

    async def slow(self: Any, caller: Any, work: Any) -> Any:
        if caller.agent_id == "slow":
            begun.set()
            await go_on.wait()
        return await read(self, caller, work)

    monkeypatch.setattr(type(bench.store), "read", slow)
    body, listen = modern("subscriptions/listen", notifications={"toolsListChanged": True})
    call, named = modern("tools/call", "plan_next")
    session: dict[str, str] = {}
    answers: list[httpx2.Response] = []
    closed: list[str] = []
    with anyio.fail_after(20):
        async with anyio.create_task_group() as tasks:
            async with serving(bench.services, root) as site:
                http = await tasks.start(_kept, site)
                if era == LEGACY:
                    session = {"mcp-session-id": await opened(http)}
                    call, named = rpc("tools/call", {"name": "plan_next"}), session

                async def ask() -> None:
                    answers.append(await http.post("/mcp", json=call, headers={**named, "wvo-agent-id": "slow"}))

                async def follow(*, task_status: Any) -> None:
                    how = (
                        ("GET", {"headers": session}) if era == LEGACY else ("POST", {"json": body, "headers": listen})
                    )
                    async with http.stream(how[0], "/mcp", **how[1]) as stream:
                        task_status.started()
                        closed.append("".join([line async for line in stream.aiter_lines()]))
                    go_on.set()  # the stream had ended while a call was still being answered

                tasks.start_soon(ask)
                await begun.wait()
                await tasks.start(follow)
            tasks.cancel_scope.cancel()
    assert answers[0].status_code == 200
    assert "ready" in answers[0].text
    assert len(closed) == 1


async def _kept(site: Site, *, task_status: Any) -> None:
    async with site.http() as http:
        task_status.started(http)
        await anyio.sleep_forever()
