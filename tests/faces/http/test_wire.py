"""Who does not read what was asked for is left, so that nobody holds a connection for nothing: over real sockets."""

import signal

import anyio
import pytest
from starlette.types import Receive, Scope, Send

from wvo_mcp.faces.http import listen, run, wire

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("DASH-3", "DASH-5")]

PART, PARTS = b"x" * (1 << 20), 100


@pytest.mark.parametrize("reads", [False, True])
async def test_who_reads_nothing_for_the_limit_is_left_and_who_reads_is_not(
    reads: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wire, "UNREAD_SECONDS", 30.0 if reads else 0.2)
    started, ended = anyio.Event(), anyio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"connection", b"close")]})
        for _ in range(PARTS):
            await send({"type": "http.response.body", "body": PART, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})
        ended.set()

    def told(address: str) -> None:
        started.set()

    size = 0
    with listen("127.0.0.1", 0) as listener, anyio.fail_after(25):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(run, app, listener, told)
            await started.wait()
            async with await anyio.connect_tcp(*listener.getsockname()[:2]) as client:
                await client.send(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
                if reads:
                    size = sum([len(part) async for part in client])
                await ended.wait()
            signal.raise_signal(signal.SIGTERM)
    assert (size >= PARTS * len(PART)) == reads
