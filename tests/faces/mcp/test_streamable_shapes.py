"""Requests at `/mcp` that no client should send: none does anything, each is told why, and the server lives on."""

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import anyio
import httpx2
import pytest
from sse_starlette.sse import AppStatus

from tests.faces.mcp.over_http import ERAS, HELLO, LEGACY, modern, opened, rpc, serving
from tests.support.bench import Bench, a_task

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("DASH-5")]

CLAIM: dict[str, Any] = {"name": "claim_task", "arguments": {}}
BODY, HEADERS = modern("tools/call", "claim_task")
DEEP = "[" * 100_000


def shapes() -> list[Any]:
    """(name, method, headers, body, statuses): what a status may be at most."""
    body = json.dumps(BODY)
    wrong: list[tuple[str, str, dict[str, str], str, int]] = [
        ("no JSON", "POST", HEADERS, "{", 400),
        ("no UTF-8", "POST", HEADERS, "\x80", 400),
        ("deep", "POST", HEADERS, DEEP, 400),
        ("a batch", "POST", HEADERS, f"[{body}]", 400),
        ("an answer", "POST", HEADERS, '{"jsonrpc":"2.0","id":1,"result":{}}', 400),
        ("no envelope", "POST", HEADERS, json.dumps(rpc("tools/call", CLAIM)), 400),
        ("another method in the header", "POST", {**HEADERS, "mcp-method": "tools/list"}, body, 400),
        ("another tool in the header", "POST", {**HEADERS, "mcp-name": "plan_next"}, body, 400),
        ("another version", "POST", {**HEADERS, "mcp-protocol-version": "2031-01-01"}, body, 400),
        ("a form", "POST", {**HEADERS, "content-type": "application/x-www-form-urlencoded"}, body, 400),
        ("takes nothing", "POST", {**HEADERS, "accept": "text/html"}, body, 406),
        ("a bad agent", "POST", {**HEADERS, "wvo-agent-id": "a b"}, body, 400),
        ("PUT", "PUT", HEADERS, body, 405),
        ("GET, modern", "GET", HEADERS, "", 405),
        ("older, no session", "POST", {}, json.dumps(rpc("tools/call", CLAIM)), 400),
        ("older, unknown session", "POST", {"mcp-session-id": "0" * 32}, json.dumps(rpc("tools/call", CLAIM)), 404),
        ("older, a batch", "POST", {}, f"[{json.dumps(HELLO)}]", 400),
        ("older, deep", "POST", {}, DEEP, 400),
        ("older GET, no session", "GET", {}, "", 400),
        ("older DELETE, no session", "DELETE", {}, "", 400),
        ("older PUT", "PUT", {}, "", 405),
    ]
    return [pytest.param(*one, id=name) for name, *one in wrong]


@pytest.mark.sqlite
@pytest.mark.parametrize(("method", "headers", "body", "status"), shapes())
async def test_a_wrong_request_is_refused_and_does_nothing(
    bench: Bench, tmp_path: Path, method: str, headers: dict[str, str], body: str, status: int
) -> None:
    await bench.create(a_task("A"))
    async with serving(bench.services, tmp_path) as site, site.http() as http:
        refused = await http.request(method, "/mcp", headers=headers, content=body.encode("latin-1"))
        assert refused.status_code == status, refused.text
        assert "Traceback" not in refused.text
        assert await bench.status("A") == ["pending"]
        assert (await http.post("/mcp", json=BODY, headers=HEADERS)).status_code == 200
    assert await bench.status("A") == ["in_progress"]


@pytest.mark.parametrize("framing", ["Content-Length: {more}", "Transfer-Encoding: chunked"])
async def test_a_call_whose_body_is_cut_off_claims_nothing(bench: Bench, tmp_path: Path, framing: str) -> None:
    await bench.create(a_task("A"))
    body = json.dumps(BODY)
    sent = body if "more" in framing else f"{len(body):x}\r\n{body}\r\n"
    more = {"host": "127.0.0.1", "accept": "application/json, text/event-stream", "content-type": "application/json"}
    lines = [f"{name}: {value}" for name, value in {**HEADERS, **more}.items()]
    head = "\r\n".join(["POST /mcp HTTP/1.1", *lines, framing.format(more=len(body) + 2)])
    async with serving(bench.services, tmp_path) as site:
        host, port = site.base.removeprefix("http://").split(":")
        async with await anyio.connect_tcp(host, int(port)) as connection:
            await connection.send(f"{head}\r\n\r\n{sent}".encode())
            await connection.send_eof()
            async for _ in connection:
                pass  # until the server is done with it
        assert await bench.status("A") == ["pending"]
        async with site.http() as http:
            assert (await http.post("/mcp", json=BODY, headers=HEADERS)).status_code == 200
    assert await bench.status("A") == ["in_progress"]


@pytest.mark.parametrize("era", ERAS)
async def test_a_call_that_the_client_takes_back_is_cancelled(
    bench: Bench, tmp_path: Path, era: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the older protocols by a notification, in the modern one by closing the stream of the answer."""
    begun, ended = anyio.Event(), anyio.Event()
    write = type(bench.store).write

    async def slow(self: Any, caller: Any, work: Any, **more: Any) -> Any:
        if caller.agent_id != "slow":
            return await write(self, caller, work, **more)
        begun.set()
        try:
            await anyio.sleep_forever()
        finally:
            ended.set()

    await bench.create(a_task("A"))
    monkeypatch.setattr(type(bench.store), "write", slow)
    named = {"wvo-agent-id": "slow"}
    answers: list[httpx2.Response] = []
    async with serving(bench.services, tmp_path) as site, site.http() as http:
        session = {"mcp-session-id": await opened(http)} if era == LEGACY else {}
        with anyio.fail_after(20):
            async with anyio.create_task_group() as tasks:

                async def ask() -> None:
                    if era == LEGACY:
                        call = rpc("tools/call", CLAIM, message_id=7)
                        with suppress(httpx2.RemoteProtocolError):  # what was taken back need not be answered in full
                            answers.append(await http.post("/mcp", json=call, headers={**session, **named}))
                    else:
                        await http.post("/mcp", json=BODY, headers={**HEADERS, **named})

                tasks.start_soon(ask)
                await begun.wait()
                if era == LEGACY:
                    taken_back = rpc("notifications/cancelled", {"requestId": 7}, message_id=None)
                    await http.post("/mcp", json=taken_back, headers=session)
                else:
                    tasks.cancel_scope.cancel()
                with anyio.CancelScope(shield=True):
                    await ended.wait()
    assert await bench.status("A") == ["pending"]
    assert len(answers) <= (era == LEGACY)
    assert all(answer.status_code == 200 and "cancelled" in answer.text for answer in answers)


async def test_calls_are_counted_with_those_of_the_api(bench: Bench, tmp_path: Path) -> None:
    await bench.create(a_task("A"))
    async with serving(bench.services, tmp_path) as site, site.http() as http:
        await http.post("/mcp", json=BODY, headers=HEADERS)
        for tool in ("get_task", "nothing_of_ours"):
            body, headers = modern("tools/call", tool, arguments={"task_id": "Z"})
            await http.post("/mcp", json=body, headers=headers)
        text = (await http.get("/metrics")).text
    for tool, result in (("claim_task", "ok"), ("get_task", "not_found"), ("unknown", "not_found")):
        assert f'wvo_tool_call_duration_seconds_count{{result="{result}",tool="{tool}"}} 1.0' in text


async def test_it_answers_after_a_server_without_it_has_ended_in_the_same_process(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(AppStatus, "should_exit", True)  # as such a server leaves it: each stream would end at once
    async with serving(bench.services, tmp_path) as site, site.http() as http:
        for _ in range(5):
            assert await opened(http)
