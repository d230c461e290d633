"""From a socket to an end: the server under the one task group of the process."""

import logging
import signal
import socket
from collections.abc import Callable
from contextlib import closing

import uvicorn
from starlette.types import ASGIApp

from wvo_mcp.errors import InvalidInput
from wvo_mcp.faces.http.guard import is_loopback

GRACE_SECONDS = 5.0
"""How long requests that are being answered may still take at the end."""


def listen(host: str, port: int) -> closing[socket.socket]:
    """Raises InvalidInput: for a host that others can reach, and for a port that cannot be had."""
    if not is_loopback(host):
        raise InvalidInput(
            "host",
            "only this machine's own addresses are served (127.0.0.1, ::1, localhost): there is no authentication yet, and"
            " every program that reaches the port may work in any agent's name",
        )
    name = host.strip("[]")
    family = socket.AF_INET6 if ":" in name else socket.AF_INET
    # With the protocol named, asyncio sends small answers at once; else each waits 40 ms for the client's acknowledgement.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((name, port))
        listener.listen(128)
    except OSError as error:
        listener.close()
        raise InvalidInput("port", f"{host}:{port} cannot be listened on: {error.strerror}") from None
    return closing(listener)


def _ends() -> list[signal.Signals]:
    """A terminal that is closed ends it too, but under nohup."""
    ignored = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    return [signal.SIGTERM, signal.SIGINT, *([] if ignored else [signal.SIGHUP])]


class _Server(uvicorn.Server):
    """However it is told to stop: while it serves, it takes SIGTERM and SIGINT over."""

    def __init__(self, config: uvicorn.Config, on_leaving: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_leaving = on_leaving

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._on_leaving()
        await super().shutdown(sockets)


async def run(
    site: ASGIApp,
    listener: socket.socket,
    on_listening: Callable[[str], None],
    on_leaving: Callable[[], None] = lambda: None,
) -> None:
    """Until SIGTERM, SIGINT or SIGHUP; requests that are being answered then are finished. `on_listening` gets the address,
    `on_leaving` ends what would never end by itself."""
    logging.getLogger("wvo_mcp.http").setLevel(logging.INFO)
    config = uvicorn.Config(
        site,
        access_log=False,
        log_config=None,
        server_header=False,
        lifespan="off",
        ws="none",
        proxy_headers=False,
        timeout_graceful_shutdown=int(GRACE_SECONDS),
    )
    server = _Server(config, on_leaving)

    def leave(*_: object) -> None:
        server.force_exit = server.should_exit  # a second one does not wait
        server.should_exit = True

    # While it serves, uvicorn takes SIGTERM and SIGINT over; afterwards it raises them again, which must end here.
    before = {number: signal.signal(number, leave) for number in _ends()}
    try:
        on_listening(_address(listener))
        await server.serve(sockets=[listener])
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _address(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
