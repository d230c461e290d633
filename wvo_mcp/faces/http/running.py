"""From a socket to an end: the server under the one task group of the process."""

import errno
import logging
import signal
import socket
import ssl
from collections.abc import Callable
from contextlib import AbstractContextManager, closing, nullcontext

import anyio
import uvicorn
from starlette.types import ASGIApp

from wvo_mcp.domain.access import DOORS, Doors
from wvo_mcp.errors import InvalidInput
from wvo_mcp.faces.http.wire import Wire

GRACE_SECONDS = 5.0
"""How long requests that are being answered may still take at the end."""


def listen(host: str, port: int) -> closing[socket.socket]:
    """Raises InvalidInput for a host or a port that cannot be had."""
    name = host.strip("[]")
    if not name:
        raise InvalidInput("host", "give an address of this machine, or 0.0.0.0 for all of them")
    family = socket.AF_INET6 if ":" in name else socket.AF_INET
    # With the protocol named, asyncio sends small answers at once; else each waits 40 ms for the client's acknowledgement.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((name, port))
        listener.listen(128)
    except OSError as error:
        listener.close()
        elsewhere = isinstance(error, socket.gaierror) or error.errno == errno.EADDRNOTAVAIL
        raise InvalidInput(
            "host" if elsewhere else "port",
            f"{host}:{port} cannot be listened on: {error.strerror}",
        ) from None
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


class _Guest(_Server):
    """In a process that has an end of its own."""

    def capture_signals(self) -> AbstractContextManager[None]:  # type: ignore[override]
        return nullcontext()


async def run(
    site: ASGIApp,
    listener: socket.socket,
    on_listening: Callable[[str], None],
    doors: Doors = DOORS,
    on_leaving: Callable[[], None] = lambda: None,
) -> None:
    """Until SIGTERM, SIGINT or SIGHUP; requests that are being answered then are finished. `on_listening` gets the address,
    `on_leaving` ends what would never end by itself. Raises InvalidInput for a certificate that cannot be used."""
    logging.getLogger("wvo_mcp.http").setLevel(logging.INFO)
    config = _config(site, doors)
    try:
        config.load()
    except (OSError, ssl.SSLError) as error:
        raise InvalidInput(
            "certfile", f"the certificate or its key cannot be used: {error.strerror or error}"
        ) from None
    server = _Server(config, on_leaving)

    def leave(*_: object) -> None:
        server.force_exit = server.should_exit  # a second one does not wait
        server.should_exit = True

    # While it serves, uvicorn takes SIGTERM and SIGINT over; afterwards it raises them again, which must end here.
    before = {number: signal.signal(number, leave) for number in _ends()}
    try:
        on_listening(address_of(listener, doors))
        await server.serve(sockets=[listener])
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


async def run_within(site: ASGIApp, listener: socket.socket, on_leaving: Callable[[], None]) -> None:
    """Until it is cancelled, in a process that handles its signals itself. Then `on_leaving` ends what would never end by
    itself, and requests that are being answered are finished."""
    server = _Guest(_config(site, DOORS), on_leaving)
    try:
        await server.serve(sockets=[listener])
    finally:
        if server.started:
            with anyio.CancelScope(shield=True):
                await server.shutdown([listener])


def _config(site: ASGIApp, doors: Doors) -> uvicorn.Config:
    return uvicorn.Config(
        site,
        access_log=False,
        log_config=None,
        server_header=False,
        lifespan="off",
        http=Wire,
        ws="none",
        proxy_headers=False,
        timeout_graceful_shutdown=int(GRACE_SECONDS),
        ssl_certfile=doors.certfile,
        ssl_keyfile=doors.keyfile,
    )


def address_of(listener: socket.socket, doors: Doors, *, reached: bool = False) -> str:
    """Where it listens; with `reached`, as a browser of this machine reaches it."""
    host, port = str(listener.getsockname()[0]), int(listener.getsockname()[1])
    if reached:
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104
        host = next(iter(doors.allow_hosts), host) if doors.certfile is not None else host
    scheme = "http" if doors.certfile is None else "https"
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"
