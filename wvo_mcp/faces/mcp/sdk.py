"""The SDK's side of a conversation: all that is not a plain call of a tool. Loaded when it is first needed."""

import json
from collections import deque
from types import TracebackType
from typing import Any, Self

import anyio
import anyio.lowlevel
import mcp_types as types
from mcp.server.subscriptions import ListenHandler
from mcp.shared.message import SessionMessage
from mcp.shared.subscriptions import SUBSCRIPTION_ID_META_KEY
from pydantic_core import PydanticSerializationError

from wvo_mcp.faces.mcp.face import DRAIN_SECONDS, Face, Ledger, Wire
from wvo_mcp.faces.mcp.server import NOTIFIES, build_server


class Sdk:
    """A `Rest`."""

    def __init__(self, face: Face, wire: Wire, ledger: Ledger) -> None:
        self._server = build_server(face)
        entry = self._server.get_request_handler("subscriptions/listen")
        self._incoming = _Incoming(ledger, entry.handler if entry is not None else None)
        self._outgoing = _Outgoing(wire, ledger)

    def put(self, message: dict[str, Any]) -> None:
        self._incoming.put(message)

    def end(self) -> None:
        self._incoming.put(None)

    async def run(self) -> None:
        options = self._server.create_initialization_options(NOTIFIES)
        await self._server.run(self._incoming, self._outgoing, options)


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

    def __init__(self, ledger: Ledger, listener: object) -> None:
        self._ledger = ledger
        self._listener = listener
        self._waiting: deque[dict[str, Any] | None] = deque()
        self._came = anyio.Event()

    def put(self, message: dict[str, Any] | None) -> None:
        self._waiting.append(message)
        self._came.set()

    def __aiter__(self) -> "_Incoming":
        return self

    async def __anext__(self) -> SessionMessage | Exception:
        while not self._waiting:
            self._came = anyio.Event()
            await self._came.wait()
        message = self._waiting.popleft()
        if message is None:
            await self._drain()
            raise StopAsyncIteration
        method, params = message["method"], message.get("params")
        if "id" in message:
            return SessionMessage(types.JSONRPCRequest(jsonrpc="2.0", id=message["id"], method=method, params=params))
        return SessionMessage(types.JSONRPCNotification(jsonrpc="2.0", method=method, params=params))

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

    def __init__(self, wire: Wire, ledger: Ledger) -> None:
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
