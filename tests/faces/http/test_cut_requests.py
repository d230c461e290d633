"""A request whose body did not arrive whole is not executed (contract, section 6): over real sockets."""

import logging
import signal

import anyio
import pytest

from tests.support.bench import Bench, a_task
from tests.support.sessions import an_agent
from wvo_mcp.domain.access import Principal
from wvo_mcp.domain.lease import Caller
from wvo_mcp.faces.http import build_site, listen, run

pytestmark = [pytest.mark.anyio, pytest.mark.sqlite, pytest.mark.requirement("CORE-5")]

HEADERS = b"POST /api/claim_task HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
CUT = [
    HEADERS + b"Content-Length: 2\r\n\r\n",
    HEADERS + b'Content-Length: 40\r\n\r\n{"request_id": "r"}',
    HEADERS + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n",
    HEADERS + b"Transfer-Encoding: chunked\r\n\r\n40\r\n{}",
]
WHOLE = HEADERS + b"Connection: close\r\nContent-Length: 2\r\n\r\n{}"


def identify(principal: Principal, agent_id: str | None, ports: tuple[int, int] | None) -> Caller:
    name = agent_id or principal.name
    return an_agent(name, f"http:{name}", durable=True)


@pytest.mark.parametrize("half_closed", [True, False])
@pytest.mark.parametrize("request_bytes", CUT)
async def test_a_request_that_was_cut_claims_nothing(bench: Bench, request_bytes: bytes, half_closed: bool) -> None:
    await bench.create(a_task("BEST"))
    finished, started = anyio.Event(), anyio.Event()

    def told(address: str) -> None:
        started.set()

    lines = logging.Handler()
    lines.emit = lambda record: finished.set()  # the server logs a line when it is done with a request
    log = logging.getLogger("wvo_mcp.http")
    log.addHandler(lines)
    try:
        with listen("127.0.0.1", 0) as listener:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(run, build_site(bench.services, identify), listener, told)
                await started.wait()
                connection = await anyio.connect_tcp(*listener.getsockname()[:2])
                await connection.send(request_bytes)
                if half_closed:
                    await connection.send_eof()
                else:
                    await connection.aclose()
                await finished.wait()
                await connection.aclose()
                assert await bench.status("BEST") == ["pending"]

                async with await anyio.connect_tcp(*listener.getsockname()[:2]) as another:
                    await another.send(WHOLE)
                    assert b'"BEST"' in b"".join([part async for part in another])
                signal.raise_signal(signal.SIGTERM)
    finally:
        log.removeHandler(lines)
    assert await bench.status("BEST") == ["in_progress"]
