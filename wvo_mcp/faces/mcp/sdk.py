"""The SDK's side of a conversation: all that is not a plain call of a tool. Loaded when it is first needed."""

import math
from collections.abc import AsyncIterable, Callable, Iterable
from functools import cache
from typing import Any

import anyio
import mcp_types as types
from mcp import MCPError
from mcp.server import NotificationOptions, Server, ServerRequestContext
from mcp.server.context import CallNext, HandlerResult
from mcp.server.subscriptions import InMemorySubscriptionBus, ListenHandler, ResourcesListChanged, ServerEvent
from mcp.shared.message import SessionMessage
from mcp.shared.subscriptions import SUBSCRIPTION_ID_META_KEY

from wvo_mcp.domain.lease import Caller
from wvo_mcp.faces.mcp import prompts, resources
from wvo_mcp.faces.mcp.face import DRAIN_SECONDS, Face, Ledger, Wire, line
from wvo_mcp.faces.mcp.prompts import INSTRUCTIONS
from wvo_mcp.operations import Effect, Operation
from wvo_mcp.orchestration.jobs import OnProgress
from wvo_mcp.ports import SILENT, Directives, Tracer
from wvo_mcp.project import installed_version

Request = ServerRequestContext[Any, Any]
Page = types.PaginatedRequestParams | None


def build_server(face: Face, handlers: "Handlers | None" = None, listen: ListenHandler | None = None) -> Server[Any]:
    """`handlers` know who asks where one server serves many, and `listen` tells them news; else it is the one client of the
    face."""
    handlers = handlers or Handlers(face)
    services = face.services
    server: Server[Any] = Server(
        "wvo",
        version=installed_version(),
        title="wvo: work for coding agents",
        instructions=INSTRUCTIONS,
        on_list_tools=handlers.list_tools,
        on_list_resources=handlers.list_resources,
        on_list_resource_templates=handlers.list_templates,
        on_read_resource=handlers.read_resource,
        on_list_prompts=handlers.list_prompts,
        on_get_prompt=handlers.get_prompt,
        on_subscriptions_listen=listen or ListenHandler(_News(services.get(Directives)), max_subscriptions=64),
        get_tool_input_schema=lambda name: None,  # no argument is repeated in a header
    )
    # What the SDK tells of each message would be told twice: `mcp.tool` has the same and the task.
    server.middleware.clear()
    if services.get(Tracer) is not SILENT:
        server.middleware.append(handlers.traced)
    server.add_request_handler("tools/call", types.CallToolRequestParams, handlers.call_tool)
    server.add_notification_handler("notifications/initialized", types.NotificationParams, handlers.initialized)
    return server


NOTIFIES = NotificationOptions(resources_changed=True)
"""What a handshake promises."""


class _News(InMemorySubscriptionBus):
    """Tells new listeners at once when the list of resources is longer than the one that the front answered with."""

    def __init__(self, directives: Directives) -> None:
        super().__init__()
        self._directives = directives

    def subscribe(self, listener: Callable[[ServerEvent], None]) -> Callable[[], None]:
        unsubscribe = super().subscribe(listener)
        if self._directives.own():
            listener(ResourcesListChanged())
        return unsubscribe


class Handlers:
    """Answer the one client of a connection."""

    transport = "pipe"

    def __init__(self, face: Face) -> None:
        self._face = face
        self.services = face.services

    def face(self, ctx: Request) -> Face:
        """What is served to who asks."""
        return self._face

    async def caller(self, ctx: Request, *, writes: bool = False) -> Caller:
        """Who asks, and perhaps wants to write."""
        return self._face.identify(client_of(ctx))

    async def tools(self, ctx: Request) -> Iterable[Operation]:
        return self.face(ctx).operations.values()

    async def traced(self, ctx: Request, call_next: CallNext) -> HandlerResult:
        """What an operation tells of its call belongs to this request, and to the trace that it came with."""
        if ctx.request_id is None:
            return await call_next(ctx)
        attributes = {
            "mcp.method.name": ctx.method,
            "mcp.protocol.version": ctx.protocol_version,
            "mcp.session.id": (await self.caller(ctx)).session_id,
            "jsonrpc.request.id": str(ctx.request_id),
            "network.transport": self.transport,
        }
        with self.services.get(Tracer).request(attributes, ctx.meta):
            return await call_next(ctx)

    async def initialized(self, ctx: Request, params: types.NotificationParams) -> None:
        if self.services.get(Directives).own():  # the front could not list these
            await ctx.session.send_resource_list_changed()

    async def list_tools(self, ctx: Request, params: Page) -> types.ListToolsResult:
        _single_page(params)
        return types.ListToolsResult(tools=[_tool(op) for op in await self.tools(ctx)])

    async def call_tool(self, ctx: Request, params: types.CallToolRequestParams) -> dict[str, Any]:
        face = self.face(ctx)
        operation = face.operation(params.name)
        caller = await self.caller(ctx, writes=operation is not None and operation.effect is not Effect.READ)
        return await face.call_tool(params.name, params.arguments, caller, _teller(ctx))

    async def list_resources(self, ctx: Request, params: Page) -> types.ListResourcesResult:
        _single_page(params)
        return types.ListResourcesResult(resources=resources.listed(self.services))

    async def list_templates(self, ctx: Request, params: Page) -> types.ListResourceTemplatesResult:
        _single_page(params)
        return types.ListResourceTemplatesResult(resource_templates=resources.templates())

    async def read_resource(self, ctx: Request, params: types.ReadResourceRequestParams) -> types.ReadResourceResult:
        return await resources.read(self.services, await self.caller(ctx), str(params.uri))

    async def list_prompts(self, ctx: Request, params: Page) -> types.ListPromptsResult:
        _single_page(params)
        return types.ListPromptsResult(prompts=prompts.listed())

    async def get_prompt(self, ctx: Request, params: types.GetPromptRequestParams) -> types.GetPromptResult:
        return prompts.rendered(params.name, params.arguments or {})


def client_of(ctx: Request) -> str | None:
    """The name that the client gave itself."""
    client = ctx.session.client_params
    return None if client is None else client.client_info.name


def _teller(ctx: Request) -> OnProgress:
    """Sends notifications of progress to a client that asked for them; to others the SDK sends nothing."""
    last = -1.0

    async def report(done: float, note: str) -> None:
        nonlocal last
        if done > last:  # the protocol wants each to be higher than the one before
            last = done
            await ctx.session.report_progress(done, 1.0, note or None)

    return report


@cache
def _tool(op: Operation) -> types.Tool:
    # No output schema: it would cost every model thousands of tokens, and the results explain themselves.
    return types.Tool(
        name=op.name,
        description=op.summary,
        input_schema=op.schema,
        annotations=types.ToolAnnotations(
            read_only_hint=op.effect is Effect.READ,
            destructive_hint=op.effect is Effect.DESTRUCTIVE,
            idempotent_hint=op.idempotent,
            open_world_hint=op.effect is Effect.EXTERNAL,
        ),
        _meta={"anthropic/alwaysLoad": True} if op.always_load else None,
    )


def _single_page(params: Page) -> None:
    if params is not None and params.cursor is not None:
        raise MCPError(types.INVALID_PARAMS, "cursor: this list has one page; leave the cursor out.")


class Sdk:
    """A `Rest`: the streams that the SDK reads and writes, joined to the wire."""

    def __init__(self, face: Face, wire: Wire, ledger: Ledger) -> None:
        self._wire = wire
        self._ledger = ledger
        self._server = build_server(face)
        self._ended = anyio.Event()
        self._put, self._incoming = anyio.create_memory_object_stream[SessionMessage | Exception](math.inf)

    def put(self, message: dict[str, Any]) -> None:
        kind = types.JSONRPCRequest if "id" in message else types.JSONRPCNotification
        parts = {name: message[name] for name in ("jsonrpc", "id", "method", "params") if name in message}
        self._put.send_nowait(SessionMessage(kind.model_validate(parts)))

    def end(self) -> None:
        self._ended.set()

    async def run(self) -> None:
        options = self._server.create_initialization_options(NOTIFIES)
        outgoing, sent = anyio.create_memory_object_stream[SessionMessage]()
        async with self._put, self._incoming, outgoing, sent, anyio.create_task_group() as group:
            group.start_soon(self._drain)
            group.start_soon(self._pass_on, sent)
            await self._server.run(self._incoming, outgoing, options)
            group.cancel_scope.cancel()

    async def _drain(self) -> None:
        """At the end of what comes in the SDK cancels what still runs, and subscriptions never end by themselves."""
        await self._ended.wait()
        entry = self._server.get_request_handler("subscriptions/listen")
        listener = None if entry is None else entry.handler
        with anyio.move_on_after(DRAIN_SECONDS):
            while self._ledger.busy:
                if isinstance(listener, ListenHandler):
                    listener.close()  # again and again: one may have begun only now
                with anyio.move_on_after(0.02):
                    await self._ledger.fewer()
        self._put.close()

    async def _pass_on(self, sent: AsyncIterable[SessionMessage]) -> None:
        async for item in sent:
            message = item.message
            if isinstance(message, types.JSONRPCResponse | types.JSONRPCError):
                self._ledger.end(message.id)
                if message.id == self._wire.muted:
                    continue
            elif message.method == "notifications/subscriptions/acknowledged":
                subscription = (message.params or {}).get("_meta", {}).get(SUBSCRIPTION_ID_META_KEY)
                if subscription in self._wire.acknowledged:
                    self._wire.acknowledged.discard(subscription)
                    continue
            self._wire.send(line(message.model_dump(mode="json", by_alias=True, exclude_unset=True)))
