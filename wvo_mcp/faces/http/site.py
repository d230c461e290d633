"""The routes, and the middleware before them."""

from collections.abc import Sequence
from typing import Protocol

import anyio
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import Receive, Scope, Send

from wvo_mcp.domain.access import DOORS, LOOPBACK, Doors
from wvo_mcp.errors import WvoError
from wvo_mcp.faces.http.access import Access, Csrf, Keys, access_routes
from wvo_mcp.faces.http.api import AGENT_HEADER, EVERY, Api, Counted, Identify, principal_of, routes, wrong_method
from wvo_mcp.faces.http.controls import Controls
from wvo_mcp.faces.http.guard import Guard, WholeBody, answer, no_page, shown
from wvo_mcp.faces.http.metrics import Metrics
from wvo_mcp.faces.http.pages import PAGES
from wvo_mcp.faces.http.pages.serving import Pages
from wvo_mcp.faces.http.static import asset
from wvo_mcp.faces.http.stream import Holds, Streams
from wvo_mcp.operations import ALL, Container
from wvo_mcp.operations.results import defect
from wvo_mcp.ports import Clock, WatchedStore
from wvo_mcp.ports.access import IdentityTokens


class Lasting(Protocol):
    holds: Holds


class Mcp(Protocol):
    """What serves `/mcp`, as `Site` does; the calls of its tools are counted, and it asks whether its streams may go on."""

    counted: Counted

    @property
    def lasting(self) -> Lasting: ...
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None: ...
    async def run(self) -> None: ...
    def close(self) -> None: ...


class Site:
    """All that is served of one project: an ASGI application. `run` lasts as long as it is served; `close` ends its streams,
    for the server is about to stop."""

    def __init__(self, app: Starlette, parts: "Sequence[Streams | Mcp]") -> None:
        self._app = app
        self._parts = parts

    async def run(self) -> None:
        async with anyio.create_task_group() as group:
            for part in self._parts:
                group.start_soon(part.run)

    def close(self) -> None:
        for part in self._parts:
            part.close()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app(scope, receive, send)


def build_site(
    services: Container,
    identify: Identify,
    project: str = "wvo",
    doors: Doors = DOORS,
    jwt: IdentityTokens | None = None,
    mcp: Mcp | None = None,
) -> Site:
    """`identify` names the caller that a principal works as; `project` is the name that people see; `jwt` checks those of an
    issuer, where one is trusted."""
    keys = Keys(services.get(WatchedStore), services.get(Clock), jwt)
    pages = Pages(services, identify, PAGES, project)
    streams = Streams(pages, keys.holds)
    if mcp is not None:
        mcp.lasting.holds = keys.holds

    async def failed(request: Request, error: Exception) -> Response:
        known = error if isinstance(error, WvoError) else defect(request.url.path, error)
        return pages.problem_of(request, known) if _is_read(request) else answer(known)

    async def no_route(request: Request, error: Exception) -> Response:
        return await failed(request, no_page(request.url.path))

    app = Starlette(
        routes=[
            *_programs(services, identify, mcp),
            *access_routes(keys),
            Route("/stream", streams.answer),
            Route("/do/{operation}", Controls(pages).answer, methods=["POST"]),
            Route("/static/{name:path}", asset),
            *pages.routes(),
        ],
        middleware=[
            Middleware(Guard, hosts=frozenset(name.lower() for name in doors.allow_hosts)),
            Middleware(Access, keys, require_token=doors.require_token),
            Middleware(WholeBody),
            Middleware(Csrf),
        ],
        exception_handlers={WvoError: failed, 404: no_route, 405: _no_method, Exception: failed},
    )
    return Site(app, [streams] if mcp is None else [streams, mcp])


def _is_read(request: Request) -> bool:
    """Is it a person's browser that asks for a page? What is open to everybody has nobody to make one for."""
    return (
        "principal" in request.scope["state"]
        and request.method == "GET"
        and "text/html" in request.headers.get("accept", "")
    )


def _programs(services: Container, identify: Identify, mcp: Mcp | None) -> Sequence[BaseRoute]:
    """What programs ask for."""
    metrics = Metrics(services, lambda: identify(LOOPBACK, None, None))
    api = Api(services, identify, metrics.counted)
    if mcp is not None:
        mcp.counted = metrics.counted

    async def health(request: Request) -> Response:
        result = await ALL["health_check"](services, identify(LOOPBACK, None, None), {})
        return shown(result, 503 if result["status"] == "unhealthy" else 200)

    async def figures(request: Request) -> Response:
        return Response(await metrics.text(), media_type=None, headers={"content-type": metrics.content_type})

    async def listed(request: Request) -> Response:
        return shown({"tools": routes(principal_of(request.scope).role), "agent_header": AGENT_HEADER})

    return (
        *([] if mcp is None else [Route("/mcp", mcp)]),
        Route("/api", listed),
        Route("/api/{tool}", api.call, methods=EVERY),
        Route("/health", health),
        Route("/metrics", figures),
    )


async def _no_method(request: Request, error: Exception) -> Response:
    return answer(wrong_method("POST" if request.url.path.startswith("/do/") else "GET"))
