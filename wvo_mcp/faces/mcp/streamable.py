"""MCP over HTTP, for many clients: sessions of the older protocols, and single requests of the modern one.

The agent of a request is that of its header; else each session of the older protocols is one, and in the modern one, which
has no sessions, each program of a principal.
"""

import logging
import time
from collections.abc import Callable, Generator, Iterable
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import anyio
import anyio.to_thread
import mcp_types as types
from anyio.abc import TaskGroup
from mcp import MCPError
from mcp.server.context import CallNext, HandlerResult
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from mcp.server.subscriptions import SUBSCRIPTION_ID_META_KEY, ListenHandler
from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS
from pydantic import ValidationError
from sse_starlette.sse import AppStatus
from starlette.datastructures import Headers
from starlette.types import Message, Receive, Scope, Send

from wvo_mcp.domain.access import LOOPBACK, Principal
from wvo_mcp.domain.lease import Caller, Policy
from wvo_mcp.domain.text import as_id, is_id
from wvo_mcp.errors import InvalidInput, NotFound, StoreBusy, WvoError
from wvo_mcp.faces.mcp.face import Face
from wvo_mcp.faces.mcp.lasting import Lasting
from wvo_mcp.faces.mcp.sdk import Handlers, Request, build_server, client_of
from wvo_mcp.faces.mcp.updates import Followed, Updates
from wvo_mcp.operations import Container, Operation
from wvo_mcp.orchestration import keeping
from wvo_mcp.orchestration.presence import Presence
from wvo_mcp.ports import Clock, WatchedStore
from wvo_mcp.project import WrongSetting, chosen_toolsets

logger = logging.getLogger(__name__)

AGENT_HEADER = "WVO-Agent-Id"
TOOLSETS_HEADER = "WVO-Toolsets"

_ASKED = "wvo.mcp"
"""In the scope of a request."""
_LISTEN = "subscriptions/listen"
_MAX_SUBSCRIPTIONS = 1_000
_CLOSE_AGAIN_SECONDS = 0.1
_LOOK_SECONDS = 60.0
_END_SECONDS = 3.0


class Identify(Protocol):
    """The caller that a principal works as: with its agent id, the ports, theirs and ours, of a connection that asks to
    write, and the name of its client."""

    def __call__(
        self, principal: Principal, agent_id: str | None, ports: tuple[int, int] | None, client: str | None
    ) -> Caller: ...


@dataclass(slots=True, eq=False)
class _Asked:
    """What a request says of who sent it."""

    principal: Principal
    agent_id: str | None
    toolsets: frozenset[str]
    session_id: str | None
    """Of a session of the older protocols."""
    ports: tuple[int, int] | None
    opens: bool
    """A session: nothing else can be asked without one in the older protocols."""
    client: str | None = None
    caller: Caller | None = None
    wrote: bool = False
    unfinished: bool = False
    """The response has begun."""


@dataclass(slots=True, eq=False)
class _Session:
    """Of the older protocols. It ends with this process, and with it the agent, unless that has a name of its own."""

    opened: _Asked
    heard_at: float
    writer: Caller | None = None
    """The last caller that wrote."""
    busy: int = 0
    followed: Followed | None = None


class StreamableHttp:
    """The ASGI application of `/mcp`. It serves within `run`, until `close`. `toolsets` are those of `known` that are shown to
    who does not choose; a session that is idle for as long as the limit is forgotten."""

    def __init__(
        self,
        services: Container,
        principal_of: Callable[[Scope], Principal],
        identify: Identify,
        toolsets: frozenset[str],
        known: frozenset[str],
        quiet_max_seconds: float,
    ) -> None:
        self._store, self._policy = services.get(WatchedStore), services.get(Policy)
        self._clock = services.get(Clock)
        self._principal_of, self._identify = principal_of, identify
        self._toolsets, self._known = toolsets, known
        self._quiet_max = quiet_max_seconds
        self._presence = Presence(self._store, self._policy, self._clock, quiet_max_seconds)
        self._sessions: dict[str, _Session] = {}
        self._leaving = anyio.Event()
        self._tasks: TaskGroup
        self._services = services
        self._faces: dict[frozenset[str], Face] = {}
        self.counted: Callable[[str, str, float], None] = lambda tool, outcome, seconds: None
        self.lasting = Lasting(_MAX_SUBSCRIPTIONS)
        self.updates = Updates(self._store, identify(LOOPBACK, None, None, None))
        self.listener = ListenHandler(self.updates, max_subscriptions=_MAX_SUBSCRIPTIONS)
        handlers = _Handlers(self, self.face(toolsets))
        server = build_server(self.face(toolsets), handlers, self.listener)
        server.middleware.append(handlers.met)
        server.add_request_handler(_LISTEN, types.SubscriptionsListenRequestParams, handlers.listen)
        server.add_request_handler("resources/subscribe", types.SubscribeRequestParams, handlers.subscribe)
        server.add_request_handler("resources/unsubscribe", types.UnsubscribeRequestParams, handlers.unsubscribe)
        self._manager = StreamableHTTPSessionManager(server, session_idle_timeout=quiet_max_seconds)
        # Else whatever is being answered at the end of the server would be cut off, not only what never ends by itself.
        AppStatus.disable_automatic_graceful_drain()
        AppStatus.should_exit = False  # it stays set by a server without this part that ended in this process before

    async def run(self) -> None:
        try:
            async with self._manager.run(), anyio.create_task_group() as self._tasks:
                self._tasks.start_soon(self._close_streams)
                self._tasks.start_soon(self.updates.run)
                await self._forget_idle()
        finally:
            with anyio.move_on_after(_END_SECONDS, shield=True):
                for session_id, session in [*self._sessions.items()]:
                    if session.opened.agent_id is None:  # nobody can go on as this agent
                        await self._end(session_id)

    def close(self) -> None:
        """The server is about to stop: what would never end by itself does so now."""
        self._leaving.set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Raises InvalidInput, NotFound, StoreBusy."""
        asked = scope[_ASKED] = self._asked(scope)
        session, send = self._sessions.get(asked.session_id or ""), self._noted(asked, scope["method"], send)
        if session is None:
            known = (one.opened.principal for one in self._sessions.values())
            with self.lasting.session(asked.principal, known) if asked.opens else nullcontext():
                await self._manager.asgi_app(scope, receive, send)
            return
        session.busy += 1
        try:
            if scope["method"] == "GET":
                with self.connected(self.caller(asked, session.opened.client)):
                    over = anyio.Event()
                    with self.lasting.stream(self._tasks, asked.principal, over.set):
                        await self._manager.asgi_app(scope, partial(self._until_over, receive, over), send)
                if asked.unfinished and (over.is_set() or self._leaving.is_set()):  # the client is still there
                    await send({"type": "http.response.body", "body": b""})
            else:
                await self._manager.asgi_app(scope, receive, send)
        finally:
            session.busy -= 1
            session.heard_at = self._clock.steady()

    def _asked(self, scope: Scope) -> _Asked:
        headers = Headers(scope=scope)
        agent_id = headers.get(AGENT_HEADER)
        if agent_id is not None and not is_id(agent_id):
            raise InvalidInput(
                AGENT_HEADER, "an id has 1 to 64 of letters, digits, '.', '_', '-' and starts with a letter or digit"
            )
        toolsets, chosen = self._toolsets, headers.get(TOOLSETS_HEADER)
        if chosen is not None:
            try:
                toolsets = chosen_toolsets(chosen, self._known, referring=False)
            except WrongSetting as error:
                raise InvalidInput(TOOLSETS_HEADER, str(error).partition(": ")[2]) from None
        older = headers.get("mcp-protocol-version") in (None, *HANDSHAKE_PROTOCOL_VERSIONS)
        session_id = headers.get("mcp-session-id") if older else None
        principal = self._principal_of(scope)
        if session_id is not None:
            session = self._sessions.get(session_id)
            if session is None or not _same(session.opened.principal, principal):
                raise NotFound(
                    "MCP session",
                    session_id[:64],
                    hint="The server was started again, or the session was idle for long: initialize, or start your client"
                    " again. What you hold is kept for your agent.",
                )
        theirs, ours = scope.get("client"), scope.get("server")
        ports = None if theirs is None or ours is None else (theirs[1], ours[1])
        return _Asked(principal, agent_id, toolsets, session_id, ports, older and session_id is None)

    def _noted(self, asked: _Asked, method: str, send: Send) -> Send:
        """Knows sessions from before the answer that opens them until before the one that ends them."""

        async def noted(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] < 400:
                if asked.session_id is None:
                    opened = Headers(raw=message["headers"]).get("mcp-session-id")
                    if opened is not None:
                        self._sessions[opened] = _Session(asked, self._clock.steady())
                elif method == "DELETE":
                    await self._end(asked.session_id)
            asked.unfinished = message["type"] == "http.response.start" or message.get("more_body", False)
            await send(message)

        return noted

    async def _until_over(self, receive: Receive, over: anyio.Event) -> Message:
        """What the client sends; when it is over, and at the end of the server, it is as if it went away."""
        message: Message = {"type": "http.disconnect"}
        async with anyio.create_task_group() as group:

            async def leave(when: anyio.Event) -> None:
                await when.wait()
                group.cancel_scope.cancel()

            group.start_soon(leave, over)
            group.start_soon(leave, self._leaving)
            message = await receive()
            group.cancel_scope.cancel()
        return message

    def face(self, toolsets: frozenset[str]) -> Face:
        if toolsets not in self._faces:
            self._faces[toolsets] = Face(self._services, _nobody, toolsets, lambda: None)
        return self._faces[toolsets]

    def caller(self, asked: _Asked, client: str | None, ports: tuple[int, int] | None = None) -> Caller:
        own = asked.principal.name if asked.session_id is None else asked.session_id[-8:]
        agent_id = asked.agent_id or as_id(f"{client or 'agent'}-{own}")
        return self._identify(asked.principal, agent_id, ports, client)

    @contextmanager
    def connected(self, caller: Caller) -> Generator[None]:
        with self._presence.connected(caller, self._tasks):
            yield

    def lasts(self, ctx: Request, end: Callable[[], None]) -> AbstractContextManager[None]:
        return self.lasting.stream(self._tasks, _asked(ctx).principal, end)

    def warn_of_twins(self, caller: Caller) -> None:
        if self._presence.is_connected(caller):
            logger.warning(
                "several clients are connected as the agent %s: they share its leases; give each a %s header",
                caller.agent_id,
                AGENT_HEADER,
            )

    async def called(self, asked: _Asked) -> None:
        """A tool was called."""
        if asked.caller is None:
            return
        session = self._sessions.get(asked.session_id or "")
        if asked.wrote and session is not None:
            session.writer = asked.caller
        await self._presence.called(asked.caller, wrote=asked.wrote)

    def followed(self, asked: _Asked) -> Followed | None:
        session = self._sessions.get(asked.session_id or "")
        if session is not None and session.followed is None:
            session.followed = Followed(self.updates, self._tasks)
        return None if session is None else session.followed

    async def _end(self, session_id: str) -> None:
        """Its leases are cut to the grace, unless another session has the same agent."""
        session = self._sessions.pop(session_id, None)
        if session is not None and session.followed is not None:
            session.followed.end()
        writer = None if session is None else session.writer
        others = {other.writer.session_id for other in self._sessions.values() if other.writer is not None}
        if writer is not None and writer.session_id not in others:
            with suppress(WvoError):  # then they last until they run out
                await keeping.end(self._store, writer, self._policy)

    async def _forget_idle(self) -> None:
        while True:
            await anyio.sleep(_LOOK_SECONDS)
            before = self._clock.steady() - self._quiet_max - _LOOK_SECONDS  # the SDK has forgotten them by then
            for session_id, session in [*self._sessions.items()]:
                if not session.busy and session.heard_at < before:
                    await self._end(session_id)

    async def _close_streams(self) -> None:
        await self._leaving.wait()
        while True:
            self.listener.close()  # again and again: one may have begun only now
            await anyio.sleep(_CLOSE_AGAIN_SECONDS)


class _Handlers(Handlers):
    """Answer whoever sent the request."""

    transport = "tcp"

    def __init__(self, site: StreamableHttp, face: Face) -> None:
        super().__init__(face)
        self._site = site

    def face(self, ctx: Request) -> Face:
        return self._site.face(_asked(ctx).toolsets)

    async def caller(self, ctx: Request, *, writes: bool = False) -> Caller:
        asked, client = _asked(ctx), client_of(ctx)
        if writes and asked.ports is not None:  # it looks through the processes
            found = await anyio.to_thread.run_sync(self._site.caller, asked, client, asked.ports)
        else:
            found = self._site.caller(asked, client)
        asked.caller, asked.wrote = found, writes
        return found

    async def tools(self, ctx: Request) -> Iterable[Operation]:
        caller = await self.caller(ctx, writes=True)  # who may not is not shown what writes
        return [op for op in self.face(ctx).operations.values() if caller.role >= op.role]

    async def call_tool(self, ctx: Request, params: types.CallToolRequestParams) -> dict[str, Any]:
        began, outcome = time.perf_counter(), "cancelled"
        try:
            result = await super().call_tool(ctx, params)
            outcome = result["structuredContent"]["error"]["code"] if result["isError"] else "ok"
            return result
        finally:
            tool = params.name if self.face(ctx).operation(params.name) else "unknown"
            self._site.counted(tool, outcome, time.perf_counter() - began)
            await self._site.called(_asked(ctx))

    async def listen(
        self, ctx: Request, params: types.SubscriptionsListenRequestParams
    ) -> types.SubscriptionsListenResult:
        caller = await self.caller(ctx)
        if _asked(ctx).agent_id is None:
            self._site.warn_of_twins(caller)
        wants = self._site.updates.wanted() if params.notifications.resource_subscriptions else nullcontext()
        over = anyio.CancelScope()
        try:
            with self._site.lasts(ctx, over.cancel), self._site.connected(caller), wants, over:
                return await self._site.listener(ctx, params)
        except StoreBusy as error:
            raise MCPError(types.INTERNAL_ERROR, error.message) from None
        return types.SubscriptionsListenResult(_meta={SUBSCRIPTION_ID_META_KEY: ctx.request_id})

    async def subscribe(self, ctx: Request, params: types.SubscribeRequestParams) -> types.EmptyResult:
        followed = self._site.followed(_asked(ctx))
        if followed is not None:
            followed.add(str(params.uri), ctx.session)
        return types.EmptyResult()

    async def unsubscribe(self, ctx: Request, params: types.UnsubscribeRequestParams) -> types.EmptyResult:
        followed = self._site.followed(_asked(ctx))
        if followed is not None:
            followed.remove(str(params.uri))
        return types.EmptyResult()

    async def met(self, ctx: Request, call_next: CallNext) -> HandlerResult:
        if ctx.method == "initialize":
            with suppress(ValidationError):  # the SDK refuses it
                hello = types.InitializeRequestParams.model_validate(ctx.params, by_name=False)
                _asked(ctx).client = hello.client_info.name
        return await call_next(ctx)

    async def initialized(self, ctx: Request, params: types.NotificationParams) -> None:
        """Nothing was listed before."""


def _same(one: Principal, other: Principal) -> bool:
    return (one.via, one.key_id, one.name) == (other.via, other.key_id, other.name)


def _asked(ctx: Request) -> _Asked:
    request: Any = ctx.request
    asked: _Asked = request.scope[_ASKED]
    return asked


def _nobody(client: str | None) -> Caller:
    raise RuntimeError("over HTTP each request says who asks")
