"""The SDK over the front's wire, with nothing between: what the client sends is dispatched as it comes."""

import gc
import json
from types import TracebackType
from typing import Any, Protocol, Self

import anyio
import anyio.lowlevel
import mcp_types as types
from mcp.server import Server
from mcp.server.subscriptions import ListenHandler
from mcp.shared.message import SessionMessage
from mcp.shared.subscriptions import SUBSCRIPTION_ID_META_KEY
from pydantic_core import PydanticSerializationError

from wvo_mcp.faces.mcp.server import NOTIFIES

DRAIN_SECONDS = 10.0
"""How long calls may still run after the client has stopped sending."""
IN_FLIGHT = 256
"""Requests that may run at once; the next one waits in the wire."""


class Wire(Protocol):
    """The client's end, as the front hands it over."""

    muted: str
    """A request with this id was answered already; its answer must not be sent."""
    acknowledged: set[str | int]
    """Ids of subscriptions that were acknowledged already."""

    async def receive(self) -> dict[str, Any] | None:
        """The next valid request or notification; None when there will be no more."""

    def send(self, message: bytes) -> None:
        """Send one line. Never blocks."""


async def serve_wire(server: Server[Any], wire: Wire) -> None:
    """Serve one client until it goes; what it asked before is still answered, within 10 seconds."""
    gc.freeze()  # what was imported stays; no full collection should walk it between two calls
    gc.enable()  # the front turned it off for the imports
    ledger = _Ledger()
    entry = server.get_request_handler("subscriptions/listen")
    listener = entry.handler if entry is not None else None
    await server.run(
        _Incoming(wire, ledger, listener), _Outgoing(wire, ledger), server.create_initialization_options(NOTIFIES)
    )


class _Ledger:
    """The ids of the requests that run."""

    def __init__(self) -> None:
        self._running: set[str] = set()
        self._listening: set[str] = set()
        self._ended = anyio.Event()

    def begin(self, request: types.JSONRPCRequest) -> None:
        (self._listening if request.method == "subscriptions/listen" else self._running).add(str(request.id))

    def end(self, request_id: object) -> None:
        """It was answered, or cancelled and will not be."""
        self._running.discard(str(request_id))
        self._listening.discard(str(request_id))
        self._ended.set()

    @property
    def busy(self) -> bool:
        return bool(self._running or self._listening)

    async def room(self) -> None:
        """Wait until less than the most that may run at once does."""
        while len(self._running) >= IN_FLIGHT:
            await self.fewer()

    async def fewer(self) -> None:
        """Wait until something ends."""
        self._ended = anyio.Event()
        await self._ended.wait()


class _Stream:
    """What the SDK asks of both directions and the wire does not need."""

    async def aclose(self) -> None:
        await anyio.lowlevel.checkpoint()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc_val: BaseException | None, exc_tb: TracebackType | None
    ) -> bool | None:
        return None


class _Incoming(_Stream):
    """A `ReadStream` of the SDK."""

    def __init__(self, wire: Wire, ledger: _Ledger, listener: object) -> None:
        self._wire = wire
        self._ledger = ledger
        self._listener = listener

    def __aiter__(self) -> "_Incoming":
        return self

    async def __anext__(self) -> SessionMessage | Exception:
        await self._ledger.room()
        message = await self._wire.receive()
        if message is None:
            await self._drain()
            raise StopAsyncIteration
        if "id" in message:
            request = types.JSONRPCRequest(
                jsonrpc="2.0", id=message["id"], method=message["method"], params=message.get("params")
            )
            self._ledger.begin(request)
            return SessionMessage(request)
        params: dict[str, Any] | None = message.get("params")
        if message["method"] == "notifications/cancelled" and params:
            self._ledger.end(params.get("requestId"))
        return SessionMessage(types.JSONRPCNotification(jsonrpc="2.0", method=message["method"], params=params))

    async def receive(self) -> SessionMessage | Exception:
        try:
            return await self.__anext__()
        except StopAsyncIteration:
            raise anyio.EndOfStream from None

    async def _drain(self) -> None:
        # At the end of this stream the SDK cancels what still runs, and subscriptions never end by themselves.
        with anyio.move_on_after(DRAIN_SECONDS):
            while self._ledger.busy:
                if isinstance(self._listener, ListenHandler):
                    self._listener.close()  # again and again: one may have begun only now
                with anyio.move_on_after(0.02):
                    await self._ledger.fewer()


class _Outgoing(_Stream):
    """A `WriteStream` of the SDK."""

    def __init__(self, wire: Wire, ledger: _Ledger) -> None:
        self._wire = wire
        self._ledger = ledger

    async def send(self, item: SessionMessage, /) -> None:
        message = item.message
        if isinstance(message, types.JSONRPCResponse | types.JSONRPCError):
            self._ledger.end(message.id)
            if message.id == self._wire.muted:
                return
        elif self._acknowledged(message):
            return
        try:
            line = message.model_dump_json(by_alias=True, exclude_unset=True).encode()
        except PydanticSerializationError:  # a lone surrogate in an id can be escaped, but not encoded
            line = json.dumps(message.model_dump(by_alias=True, exclude_unset=True)).encode()
        self._wire.send(line)

    def _acknowledged(self, message: types.JSONRPCRequest | types.JSONRPCNotification) -> bool:
        if not self._wire.acknowledged or message.method != "notifications/subscriptions/acknowledged":
            return False
        subscription = (message.params or {}).get("_meta", {}).get(SUBSCRIPTION_ID_META_KEY)
        if subscription not in self._wire.acknowledged:
            return False
        self._wire.acknowledged.discard(subscription)
        return True
