"""A bench served at `/mcp` over a real socket, and clients of either era."""

import signal
from collections.abc import AsyncGenerator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import httpx2
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from mcp_types import Implementation
from starlette.types import Scope

from tests.support.services import Services
from wvo_mcp.app import http_caller
from wvo_mcp.domain.access import LOOPBACK, Principal, Via
from wvo_mcp.domain.lease import Role
from wvo_mcp.faces.http import build_site, listen, run
from wvo_mcp.faces.mcp.streamable import StreamableHttp
from wvo_mcp.settings import Settings

LEGACY, MODERN = "legacy", "auto"
ERAS = (LEGACY, MODERN)
TOOLSETS = frozenset({"core", "plan", "ops", "health"})

VIEWER = Principal("eve", Role.VIEWER, Via.TOKEN, "k-eve")
AGENT = Principal("ann", Role.AGENT, Via.TOKEN, "k-ann")
OTHER = Principal("bob", Role.AGENT, Via.TOKEN, "k-bob")
OPERATOR = Principal("olga", Role.OPERATOR, Via.TOKEN, "k-olga")
_SHOWN = {one.name: one for one in (VIEWER, AGENT, OTHER, OPERATOR)}


def principal_of(scope: Scope) -> Principal:
    """As the header X-Principal says."""
    return _SHOWN.get(dict(scope["headers"]).get(b"x-principal", b"").decode(), LOOPBACK)


def as_(principal: Principal) -> dict[str, str]:
    return {"x-principal": principal.name}


class Site:
    def __init__(self, base: str, mcp: StreamableHttp) -> None:
        self.base, self.url = base, f"{base}/mcp"
        self.mcp = mcp

    @asynccontextmanager
    async def client(self, era: str, **headers: str) -> AsyncGenerator[Client]:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        async with httpx2.AsyncClient(headers=named, timeout=30) as http:
            transport = streamable_http_client(self.url, http_client=http)
            known = Implementation(name="tests", version="1")
            async with Client(transport, mode=era, client_info=known) as client:
                yield client

    def http(self, **headers: str) -> AbstractAsyncContextManager[httpx2.AsyncClient]:
        """Requests by hand; what they send by default a client would send."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        usual = {"accept": "application/json, text/event-stream", "content-type": "application/json"}
        return httpx2.AsyncClient(base_url=self.base, headers={**usual, **named}, timeout=30)


@asynccontextmanager
async def serving(services: Services, root: Path, quiet: float = 7_200) -> AsyncGenerator[Site]:
    """Until the block ends, as SIGTERM ends it."""
    identify = partial(http_caller, Settings(root=root))
    known = frozenset({*TOOLSETS, "agents"})
    mcp = StreamableHttp(services, principal_of, identify, frozenset({"core"}), known, quiet)
    started, addresses = anyio.Event(), list[str]()

    def told(address: str) -> None:
        addresses.append(address)
        started.set()

    with listen("127.0.0.1", 0) as listener:
        site = build_site(services, identify, mcp=mcp)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(site.run)

            async def serve() -> None:
                await run(site, listener, told, on_leaving=site.close)
                tasks.cancel_scope.cancel()

            tasks.start_soon(serve)
            await started.wait()
            yield Site(addresses[0], mcp)
            signal.raise_signal(signal.SIGTERM)


async def given(client: Client, tool: str, **arguments: Any) -> dict[str, Any]:
    """What a tool answers, error or not."""
    result = await client.call_tool(tool, arguments)
    assert result.structured_content is not None
    return result.structured_content


def rpc(method: str, params: Mapping[str, Any] | None = None, message_id: int | None = 1) -> dict[str, Any]:
    named = {} if message_id is None else {"id": message_id}
    return {"jsonrpc": "2.0", **named, "method": method, "params": dict(params or {})}


HELLO = rpc(
    "initialize",
    {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "tests", "version": "1"}},
)


async def opened(http: httpx2.AsyncClient) -> str:
    """The id of a new session of the older protocol, which is ready for calls."""
    answer = await http.post("/mcp", json=HELLO)
    session_id = answer.headers["mcp-session-id"]
    done = await http.post(
        "/mcp", json=rpc("notifications/initialized", message_id=None), headers={"mcp-session-id": session_id}
    )
    assert (answer.status_code, done.status_code) == (200, 202)
    return session_id


def modern(method: str, name: str | None = None, **params: Any) -> tuple[dict[str, Any], dict[str, str]]:
    """The body and the headers of a request of the modern protocol."""
    prefix, version = "io.modelcontextprotocol/", "2026-07-28"
    meta = {f"{prefix}protocolVersion": version, f"{prefix}clientCapabilities": {}}
    meta[f"{prefix}clientInfo"] = {"name": "tests", "version": "1"}
    headers = {"mcp-protocol-version": version, "mcp-method": method, **({} if name is None else {"mcp-name": name})}
    named = {} if name is None else {"name": name}
    return rpc(method, {**named, **params, "_meta": meta}), headers
