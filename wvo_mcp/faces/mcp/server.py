"""The MCP face: the SDK's low-level server, with two handlers for any number of tools."""

from collections.abc import Callable
from difflib import get_close_matches
from functools import cached_property
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import mcp_types as types
from mcp import MCPError
from mcp.server import NotificationOptions, Server, ServerRequestContext
from mcp.server.context import CallNext, HandlerResult
from mcp.server.subscriptions import InMemorySubscriptionBus, ListenHandler, ResourcesListChanged, ServerEvent

from wvo_mcp.domain.lease import Caller
from wvo_mcp.errors import NotFound, WvoError
from wvo_mcp.faces.mcp import prompts, resources
from wvo_mcp.faces.mcp.instructions import INSTRUCTIONS
from wvo_mcp.faces.mcp.results import failure, success
from wvo_mcp.operations import ALL, Audience, Effect, Operation, Services, tools
from wvo_mcp.operations.failures import defect
from wvo_mcp.orchestration.jobs import Tell
from wvo_mcp.ports import SILENT, Directives

Request = ServerRequestContext[Any, Any]
Page = types.PaginatedRequestParams | None


def build_server(
    services: Services,
    identify: Callable[[str | None], Caller],
    toolsets: frozenset[str] | None,
    heard: Callable[[], None],
) -> Server[Any]:
    """A server that shows the tools of these toolsets (None: all).

    `identify` names the caller behind a client's name (None when it gave none); `heard` is called at every tool call.
    """
    face = _Face(services, identify, toolsets, heard)
    server: Server[Any] = Server(
        "wvo",
        version=_version(),
        title="wvo: work for coding agents",
        instructions=INSTRUCTIONS,
        on_list_tools=face.list_tools,
        on_list_resources=face.list_resources,
        on_list_resource_templates=face.list_templates,
        on_read_resource=face.read_resource,
        on_list_prompts=face.list_prompts,
        on_get_prompt=face.get_prompt,
        on_subscriptions_listen=ListenHandler(_News(services.directives), max_subscriptions=64),
    )
    # What the SDK tells of each message would be told twice: `mcp.tool` has the same and the task.
    server.middleware.clear()
    if services.tracer is not SILENT:
        server.middleware.append(face.traced)
    server.add_request_handler("tools/call", types.CallToolRequestParams, face.call_tool)
    server.add_notification_handler("notifications/initialized", types.NotificationParams, face.initialized)
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


class _Face:
    def __init__(
        self,
        services: Services,
        identify: Callable[[str | None], Caller],
        toolsets: frozenset[str] | None,
        heard: Callable[[], None],
    ) -> None:
        self._services = services
        self._identify = identify
        self._heard = heard
        self._operations = {op.name: op for op in tools(toolsets)}

    @cached_property
    def _tools(self) -> list[types.Tool]:
        return [_tool(op) for op in self._operations.values()]

    def _caller(self, ctx: Request) -> Caller:
        client = ctx.session.client_params
        return self._identify(client.client_info.name if client is not None else None)

    async def traced(self, ctx: Request, call_next: CallNext) -> HandlerResult:
        """What an operation tells of its call belongs to this request, and to the trace that it came with."""
        if ctx.request_id is None:
            return await call_next(ctx)
        attributes = {
            "mcp.method.name": ctx.method,
            "mcp.protocol.version": ctx.protocol_version,
            "mcp.session.id": self._caller(ctx).session_id,
            "jsonrpc.request.id": str(ctx.request_id),
            "network.transport": "pipe",
        }
        with self._services.tracer.request(attributes, ctx.meta):
            return await call_next(ctx)

    async def initialized(self, ctx: Request, params: types.NotificationParams) -> None:
        if self._services.directives.own():  # the front could not list these
            await ctx.session.send_resource_list_changed()

    async def list_tools(self, ctx: Request, params: Page) -> types.ListToolsResult:
        _single_page(params)
        return types.ListToolsResult(tools=self._tools)

    async def call_tool(self, ctx: Request, params: types.CallToolRequestParams) -> dict[str, Any]:
        self._heard()
        try:
            operation = self._operations.get(params.name)
            if operation is None:
                raise self._unknown(params.name)
            if operation.long:
                return success(await operation(self._services, self._caller(ctx), params.arguments, _teller(ctx)))
            return success(await operation(self._services, self._caller(ctx), params.arguments))
        except WvoError as error:
            return failure(error)
        except Exception as error:  # an edge: what nobody foresaw is logged and answered, and the server lives on
            return failure(defect(params.name, error))

    def _unknown(self, name: str) -> NotFound:
        near = get_close_matches(name, self._operations, n=5, cutoff=0.4)
        known = ALL.get(name)
        if known is not None and known.audience is Audience.AGENTS:
            error = NotFound("tool", name, near)
            error.hint = f"It belongs to the toolset {known.toolset}, which is not served here; do without it."
            return error
        error = NotFound("tool", name, near or list(self._operations))
        error.hint = "Call one of the tools of tools/list."
        return error

    async def list_resources(self, ctx: Request, params: Page) -> types.ListResourcesResult:
        _single_page(params)
        return types.ListResourcesResult(resources=resources.listed(self._services))

    async def list_templates(self, ctx: Request, params: Page) -> types.ListResourceTemplatesResult:
        _single_page(params)
        return types.ListResourceTemplatesResult(resource_templates=resources.templates())

    async def read_resource(self, ctx: Request, params: types.ReadResourceRequestParams) -> types.ReadResourceResult:
        return await resources.read(self._services, self._caller(ctx), str(params.uri))

    async def list_prompts(self, ctx: Request, params: Page) -> types.ListPromptsResult:
        _single_page(params)
        return types.ListPromptsResult(prompts=prompts.listed())

    async def get_prompt(self, ctx: Request, params: types.GetPromptRequestParams) -> types.GetPromptResult:
        return prompts.rendered(params.name, params.arguments or {})


def _teller(ctx: Request) -> Tell:
    """Sends notifications of progress to a client that asked for them; to others the SDK sends nothing."""
    last = -1.0

    async def tell(done: float, note: str) -> None:
        nonlocal last
        if done > last:  # the protocol wants each to be higher than the one before
            last = done
            await ctx.session.report_progress(done, 1.0, note or None)

    return tell


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


def _version() -> str:
    try:
        return version("wvo-mcp")
    except PackageNotFoundError:  # run from a source tree that was never installed
        return "0"
