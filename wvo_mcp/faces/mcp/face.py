"""The MCP face over the front's wire. Calls of tools are answered here; everything else is the SDK's, which is loaded when
it is first needed: it takes over a second to import, and most clients never ask for what only it can answer."""

import gc
import json
from collections.abc import Callable
from functools import cached_property
from importlib import import_module
from typing import Any, Protocol

import anyio
import anyio.to_thread
from anyio.abc import TaskGroup
from pydantic_core import PydanticSerializationError, to_json

from wvo_mcp import operations
from wvo_mcp.domain.lease import Caller
from wvo_mcp.errors import NotFound, WvoError
from wvo_mcp.operations import Audience, Container, Operation, named
from wvo_mcp.operations.results import defect, payload
from wvo_mcp.orchestration.jobs import OnProgress
from wvo_mcp.ports import SILENT, Directives, Tracer

Call = tuple[str, dict[str, Any] | None, str | None, bool]
"""Name, arguments, the client's name, and whether the protocol is the modern one."""

DRAIN_SECONDS = 10.0
"""How long calls may still run after the client has stopped sending."""
IN_FLIGHT = 256
"""Requests that may run at once; the next one waits in the wire."""
LISTENER_SECONDS = 5.0
"""A subscription that was acknowledged loads the SDK only so much later: the first call of a tool comes before it."""

_NEWS = frozenset({"notifications/initialized", "subscriptions/listen"})
"""From then on a client hears of directives of the project's own."""


class Opening(Protocol):
    """What was agreed on in the handshake."""

    def call(self, request: dict[str, Any]) -> Call | None:
        """A call of a tool that the SDK would surely let through; None for what only the SDK can judge."""

    def shaped(self, result: dict[str, Any], *, modern: bool) -> dict[str, Any]:
        """A result of the newest protocol, as this one has it."""
        ...


class Wire(Protocol):
    """The client's end, as the front hands it over."""

    muted: str
    """A request with this id was answered already; its answer must not be sent."""
    acknowledged: set[str | int]
    """Ids of subscriptions that were acknowledged already."""

    @property
    def opening(self) -> Opening: ...

    async def receive(self) -> dict[str, Any] | None:
        """The next valid request or notification; None when there will be no more."""

    def hand_over(self) -> None:
        """From now on nothing is answered by the opening."""

    def send(self, message: bytes) -> None:
        """Send one line. Never blocks."""


class Rest(Protocol):
    """The SDK's side of a conversation: all that is not a plain call of a tool. `put` takes what the client sends, in order;
    `run` lasts until `end`, and what runs then is answered, within 10 seconds."""

    def put(self, message: dict[str, Any]) -> None: ...
    def end(self) -> None: ...
    async def run(self) -> None: ...


class Ledger:
    """The requests that run."""

    def __init__(self) -> None:
        self._running: set[str] = set()
        self._listening: set[str] = set()
        self._ended = anyio.Event()

    def begin(self, request: dict[str, Any]) -> None:
        (self._listening if request["method"] == "subscriptions/listen" else self._running).add(str(request["id"]))

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


class Face:
    """The tools of these toolsets (None: all), for one client.

    `identify` names the caller behind a client's name (None when it gave none); `heard` is called at every tool call,
    and `answered` when its answer is there.
    """

    def __init__(
        self,
        services: Container,
        identify: Callable[[str | None], Caller],
        toolsets: frozenset[str] | None,
        heard: Callable[[], None],
        answered: Callable[[], None] = lambda: None,
    ) -> None:
        self.services = services
        self.identify = identify
        self._toolsets = toolsets
        self._heard = heard
        self._answered = answered

    @cached_property
    def operations(self) -> dict[str, Operation]:
        """All that is served here, imported for it; a call needs its own alone."""
        return {op.name: op for op in operations.tools(self._toolsets)}

    def operation(self, name: str) -> Operation | None:
        """The tool of this name, when it is served here."""
        found = named(name)
        if found is None or found.audience is not Audience.AGENTS:
            return None
        return found if self._toolsets is None or found.toolset in self._toolsets else None

    async def call_tool(
        self, name: str, arguments: dict[str, Any] | None, caller: Caller, on_progress: OnProgress | None = None
    ) -> dict[str, Any]:
        """A `CallToolResult` of the newest protocol, in its wire form."""
        self._heard()
        try:
            operation = self.operation(name)
            if operation is None:
                raise self._unknown(name)
            return success(await operation(self.services, caller, arguments, on_progress if operation.long else None))
        except WvoError as error:
            return failure(error)
        except Exception as error:  # an edge: what nobody foresaw is logged and answered, and the server lives on
            return failure(defect(name, error))
        finally:
            self._answered()

    def _unknown(self, name: str) -> NotFound:
        from difflib import get_close_matches  # only mistakes pay for it

        near = get_close_matches(name, self.operations, n=5, cutoff=0.4)
        known = named(name)
        if known is not None and known.audience is Audience.AGENTS:
            hint = f"It belongs to the toolset {known.toolset}, which is not served here; do without it."
            return NotFound("tool", name, near, hint=hint)
        return NotFound("tool", name, near or list(self.operations), hint="Call one of the tools of tools/list.")

    async def serve(self, wire: Wire) -> None:
        """Serve one client until it goes; what it asked before is still answered, within 10 seconds."""
        gc.freeze()  # what was imported stays; no full collection should walk it between two calls
        gc.enable()  # the front turned it off for the imports
        async with anyio.create_task_group() as group:
            await _Conversation(self, wire, group).run()


class _Conversation:
    def __init__(self, face: Face, wire: Wire, group: TaskGroup) -> None:
        self._face = face
        self._wire = wire
        self._group = group
        self._ledger = Ledger()
        self._calls: dict[str, anyio.CancelScope] = {}
        self._sdk: Rest | None = None
        self._kept: list[dict[str, Any]] = []
        """What the SDK hears first when it is loaded."""
        self._loading = self._ended = False
        self._hurry = anyio.Event()

    async def run(self) -> None:
        while True:
            await self._ledger.room()
            message = await self._wire.receive()
            if message is None:
                break
            call = self._direct(message)
            if call is not None:
                self._ledger.begin(message)
                scope = self._calls[str(message["id"])] = anyio.CancelScope()
                self._group.start_soon(self._answer, scope, message["id"], *call)
            else:
                self._pass_on(message)
        self._ended = True
        self._hurry.set()
        if self._sdk is not None:
            self._sdk.end()
        with anyio.move_on_after(DRAIN_SECONDS):
            while self._calls:
                await self._ledger.fewer()
        for scope in self._calls.values():
            scope.cancel()

    def _direct(self, message: dict[str, Any]) -> Call | None:
        """A call that needs nothing of the SDK: neither its spans nor its notifications of progress."""
        if self._face.services.get(Tracer) is not SILENT:
            return None
        call = self._wire.opening.call(message)
        operation = None if call is None else self._face.operation(call[0])
        return None if operation is not None and operation.long else call

    async def _answer(
        self,
        scope: anyio.CancelScope,
        request_id: str | int,
        name: str,
        arguments: dict[str, Any] | None,
        client: str | None,
        modern: bool,
    ) -> None:
        try:
            with scope:
                if not scope.cancel_called:
                    result = await self._face.call_tool(name, arguments, self._face.identify(client))
                    shaped = self._wire.opening.shaped(result, modern=modern)
                    self._wire.send(line({"jsonrpc": "2.0", "id": request_id, "result": shaped}))
        finally:
            del self._calls[str(request_id)]
            self._ledger.end(request_id)

    def _pass_on(self, message: dict[str, Any]) -> None:
        if message["method"] == "notifications/cancelled":
            params: dict[str, Any] = message.get("params") or {}
            request_id = str(params.get("requestId"))
            if request_id in self._calls:
                self._calls[request_id].cancel()
                return
            self._ledger.end(request_id)
        elif message.get("id", self._wire.muted) != self._wire.muted:
            self._ledger.begin(message)
        if self._sdk is not None:
            self._sdk.put(message)
            return
        self._kept.append(message)
        if message.get("id", self._wire.muted) != self._wire.muted:
            self._group.start_soon(self._load, LISTENER_SECONDS if message["id"] in self._wire.acknowledged else 0.0)
        if message["method"] in _NEWS and self._face.services.get(Directives).own():
            # The opening could not list these.
            self._group.start_soon(self._load, 0.0)

    async def _load(self, delay: float) -> None:
        with anyio.move_on_after(delay):
            await self._hurry.wait()
        if self._loading:
            return
        self._loading = True
        module = await anyio.to_thread.run_sync(import_module, "wvo_mcp.faces.mcp.sdk")
        sdk: Rest = module.Sdk(self._face, self._wire, self._ledger)
        self._wire.hand_over()
        for message in self._kept:
            sdk.put(message)
        self._sdk = sdk
        if self._ended:
            sdk.end()
        await sdk.run()


def line(message: dict[str, Any]) -> bytes:
    try:
        return to_json(message)
    except PydanticSerializationError:  # a lone surrogate in an id can be escaped, but not encoded
        return json.dumps(message).encode()


# A result is a `CallToolResult` in its wire form, all of it in either half, for clients show the model only one. The SDK
# checks it once more anyway, and building the model costs a fifth of a call.
def success(result: dict[str, Any]) -> dict[str, Any]:
    return _answer(to_json(result).decode(), result, is_error=False)


def failure(error: WvoError) -> dict[str, Any]:
    """`CODE: message Hint: hint` for the clients that show text, the whole error for those that show the structure."""
    shown = payload(error)
    text = f"{shown['code']}: {shown['message']} Hint: {shown['hint']}"
    return _answer(text, {"error": shown}, is_error=True)


def _answer(text: str, structure: dict[str, Any], *, is_error: bool) -> dict[str, Any]:
    content = [{"type": "text", "text": text}]
    # The older protocols know no resultType; the SDK leaves it out of their answers.
    return {"resultType": "complete", "content": content, "structuredContent": structure, "isError": is_error}
