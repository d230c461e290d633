"""The site as one principal or another sees and uses it, without a socket and without the part that finds out who asks; for
that part: `tests.support.visitors`."""

import re
from collections.abc import AsyncGenerator, Callable, Coroutine, Mapping
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
from wvo_mcp.operations import Container
from wvo_mcp.orchestration.health.loop import HealthLoop
from wvo_mcp.ports import WatchedStore

CSRF = "a-token-of-the-session"
READER = LOOPBACK_READER
"""Who shows nothing, from this machine."""
OPERATOR = Principal("olga", Role.OPERATOR, Via.SESSION, "s-1", CSRF)
ADMIN = Principal("ada", Role.ADMIN, Via.SESSION, "s-2", CSRF)
PRINCIPALS = (READER, replace(OPERATOR, name="vera", role=Role.VIEWER), OPERATOR, ADMIN)
"""One of each role that has pages."""


def a_visitor(role: Role, name: str = "pat") -> Principal:
    """Somebody who has signed in with this role."""
    return Principal(name, role, Via.SESSION, "k1", CSRF)


def caller_of(principal: Principal, agent_id: str | None = None, ports: tuple[int, int] | None = None) -> Caller:
    name = agent_id or principal.name
    session = f"web:{principal.key_id}" if principal.via is Via.SESSION else f"http:{name}"
    return replace(an_agent(name, session, durable=True), role=principal.role)


def site_of(bench: Bench) -> Site:
    services = replace(bench.services, health=HealthLoop(Thresholds(), Policy(), bench.clock, None))
    return site_over(services)


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
async def visiting(
    bench: Bench, principal: Principal = READER, services: Container | None = None
) -> AsyncGenerator[httpx2.AsyncClient]:
    """A client of the site as this principal; what it asks for is answered in this process."""
    site = site_of(bench) if services is None else site_over(services)
    async with client_of(site, principal) as client:
        yield client


def site_over(services: Container) -> Site:
    return without_access(build_site(services, caller_of, "shop"))


@asynccontextmanager
async def client_of(site: Site, principal: Principal = READER) -> AsyncGenerator[httpx2.AsyncClient]:
    transport = httpx2.ASGITransport(as_principal(site, principal))
    async with httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1:8737") as client:
        yield client


class Visitor:
    """Reads pages, and uses their controls."""

    def __init__(self, client: httpx2.AsyncClient, services: Container) -> None:
        self._client = client
        self._store = services.get(WatchedStore)

    async def get(self, address: str) -> httpx2.Response:
        return await self._client.get(address)

    async def page(self, address: str) -> str:
        answer = await self.get(address)
        assert answer.status_code == 200, answer.text
        return answer.text

    async def data(self, address: str) -> dict[str, Any]:
        answer = await self.get(address)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def do(self, operation: str, **fields: Any) -> httpx2.Response:
        """As a page that knows all that has happened."""
        seen = await self._store.read(caller_of(READER), lambda tx: tx.events.last_seq())
        form: Mapping[str, Any] = {"csrf": CSRF, "back": "/", "seen": str(seen), **fields}
        return await self._client.post(f"/do/{operation}", data=form)


@asynccontextmanager
async def visited(services: Container, role: Role = Role.OPERATOR) -> AsyncGenerator[Visitor]:
    """Who has signed in with this role; a viewer has not."""
    principal = READER if role is Role.VIEWER else a_visitor(role)
    async with client_of(site_over(services), principal) as client:
        yield Visitor(client, services)


def controls(html: str) -> list[str]:
    """The buttons of forms that do something, in their order."""
    forms = re.findall(r'action="/do/(\w+)".*?<button[^>]*>(.*?)</button>', html, re.DOTALL)
    return [label for _, label in forms]


def operations(html: str) -> list[str]:
    """What those do."""
    return re.findall(r'action="/do/(\w+)"', html)


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
