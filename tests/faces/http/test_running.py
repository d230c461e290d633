"""Where the HTTP face listens, and what it costs those who do not use it."""

import socket
import subprocess
import sys

import pytest

from wvo_mcp.errors import InvalidInput
from wvo_mcp.faces.http import listen

pytestmark = pytest.mark.requirement("CORE-5")


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_it_listens_on_this_machine_alone_and_sends_small_answers_at_once(host: str) -> None:
    with listen(host, 0) as listener:
        assert listener.getsockname()[0] == "127.0.0.1"
        assert listener.proto == socket.IPPROTO_TCP  # by which asyncio knows that it may switch Nagle's algorithm off


@pytest.mark.parametrize("host", ["", "192.0.2.1", "no-such-host.invalid"])
def test_a_host_that_is_not_this_machine_is_refused(host: str) -> None:
    with pytest.raises(InvalidInput) as raised:
        listen(host, 0)
    assert raised.value.details["field"] == "host"


def test_a_port_that_is_taken_is_named() -> None:
    with listen("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(InvalidInput, match=str(port)) as raised:
            listen("127.0.0.1", port)
    assert raised.value.details["field"] == "port"


def test_a_server_on_stdio_starts_without_any_of_it() -> None:
    # The SDK brings starlette and uvicorn along by itself.
    loaded = "import sys, wvo_mcp.app, wvo_mcp.faces.mcp; print(*sys.modules)"
    shown = subprocess.run(
        [sys.executable, "-c", loaded], capture_output=True, text=True, timeout=60, check=True
    ).stdout

    assert not [name for name in shown.split() if name.startswith(("wvo_mcp.faces.http", "prometheus_client"))]
