"""The site over a bench, as one principal or another sees it, without a socket."""

from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

import anyio
import httpx2
from starlette.types import Message, Receive, Scope, Send

from tests.support.bench import Bench
from tests.support.sessions import an_agent
from wvo_mcp.domain.access import LOOPBACK_READER, Principal, Via
from wvo_mcp.domain.health import Thresholds
from wvo_mcp.domain.lease import Caller, Policy, Role
from wvo_mcp.faces.http import build_site
from wvo_mcp.faces.http.access import Access
from wvo_mcp.faces.http.site import Site
from wvo_mcp.orchestration.health.loop import HealthLoop

READER = LOOPBACK_READER
OPERATOR = Principal("olga", Role.OPERATOR, Via.SESSION, "s-1", csrf="right")
ADMIN = Principal("ada", Role.ADMIN, Via.SESSION, "s-2", csrf="right")
PRINCIPALS = (READER, replace(OPERATOR, name="vera", role=Role.VIEWER), OPERATOR, ADMIN)
"""One of each role that has pages."""


def caller_of(principal: Principal, agent_id: str | None, ports: tuple[int, int] | None) -> Caller:
    name = agent_id or principal.name
    return replace(an_agent(name, f"http:{name}", durable=True), role=principal.role)


def site_of(bench: Bench) -> Site:
    services = replace(bench.services, health=HealthLoop(Thresholds(), Policy(), bench.clock, None))
    return without_access(build_site(services, caller_of, "shop"))


def without_access(site: Site) -> Site:
    """Without the part that finds out who asks: the test says so, in the scope."""
    site._app.user_middleware = [one for one in site._app.user_middleware if one.cls is not Access]
    return site


Asgi = Callable[[Scope, Receive, Send], Coroutine[Any, Any, None]]


def as_principal(site: Site, principal: Principal) -> Asgi:
    async def admitted(scope: Scope, receive: Receive, send: Send) -> None:
        await site({**scope, "state": {**scope.get("state", {}), "principal": principal}}, receive, send)

    return admitted


@asynccontextmanager
async def visiting(bench: Bench, principal: Principal = READER) -> AsyncGenerator[httpx2.AsyncClient]:
    """A client of the site as this principal; what it asks for is answered in this process."""
    async with client_of(site_of(bench), principal) as client:
        yield client


@asynccontextmanager
async def client_of(site: Site, principal: Principal = READER) -> AsyncGenerator[httpx2.AsyncClient]:
    transport = httpx2.ASGITransport(as_principal(site, principal))
    async with httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1:8737") as client:
        yield client


@dataclass
class Tab:
    """One open stream. `messages` is what came, each as its fields."""

    messages: "anyio.abc.ObjectReceiveStream[dict[str, str]]"
    close: Callable[[], None]

    async def next(self, kind: str | None = None, patience: float = 20.0) -> dict[str, str]:
        """The next message; with `kind` the next of that event (`message` is one without a name)."""
        with anyio.fail_after(patience):
            while True:
                found = await self.messages.receive()
                if kind is None or found.get("event", "message") == kind:
                    return found


@asynccontextmanager
async def streaming(
    site: Site, address: str, principal: Principal = READER, headers: dict[str, str] | None = None
) -> AsyncGenerator[Tab]:
    """A tab on `/stream...`; the site's `run` must be running."""
    path, _, query = address.partition("?")
    scope: Scope = {
        "type": "http",
        "method": "GET",
        "path": path,
        "raw_path": path.encode(),
        "scheme": "http",
        "query_string": query.encode(),
        "root_path": "",
        "headers": [(b"host", b"127.0.0.1:8737"), *((k.encode(), v.encode()) for k, v in (headers or {}).items())],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 8737),
        "state": {},
    }
    give, take = anyio.create_memory_object_stream[dict[str, str]](1_000)
    gone = anyio.Event()
    asked = False
    buffered = ""

    async def receive() -> Message:
        nonlocal asked
        if not asked:
            asked = True
            return {"type": "http.request", "body": b"", "more_body": False}
        await gone.wait()
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        nonlocal buffered
        if message["type"] != "http.response.body":
            return
        if not message.get("more_body", False):
            give.close()
            return
        buffered += message["body"].decode()
        while "\n\n" in buffered:
            text, buffered = buffered.split("\n\n", 1)
            fields: dict[str, str] = {}
            for line in text.split("\n"):
                name, _, value = line.partition(": ")
                fields[name] = f"{fields[name]}\n{value}" if name in fields else value
            await give.send(fields)

    async with give, take, anyio.create_task_group() as group:
        group.start_soon(as_principal(site, principal), scope, receive, send)
        yield Tab(take, gone.set)
        gone.set()
        group.cancel_scope.cancel()
