"""The routes, and the middleware before them."""

from typing import Protocol

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from wvo_mcp.domain.access import LOOPBACK
from wvo_mcp.errors import NotFound, WvoError
from wvo_mcp.faces.http.api import AGENT_HEADER, EVERY, Api, Counted, Identify, routes, wrong_method
from wvo_mcp.faces.http.guard import Guard, answer, shown
from wvo_mcp.faces.http.metrics import Metrics
from wvo_mcp.operations import ALL, Container
from wvo_mcp.operations.results import defect


class McpFace(Protocol):
    """What serves `/mcp`; it has the calls of its tools counted."""

    counted: Counted

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None: ...


def build_site(services: Container, identify: Identify, mcp: McpFace | None = None) -> Starlette:
    """`identify` names the caller behind an agent id."""
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
        return shown({"tools": routes(), "agent_header": AGENT_HEADER})

    async def index(request: Request) -> Response:
        return shown(
            {"wvo": "work for coding agents", "mcp": "/mcp", "api": "/api", "health": "/health", "metrics": "/metrics"}
        )

    return Starlette(
        routes=[
            Route("/", index),
            *([] if mcp is None else [Route("/mcp", mcp)]),
            Route("/api", listed),
            Route("/api/{tool}", api.call, methods=EVERY),
            Route("/health", health),
            Route("/metrics", figures),
        ],
        middleware=[Middleware(Guard)],
        exception_handlers={WvoError: _error, 404: _no_route, 405: _no_method, Exception: _error},
    )


async def _error(request: Request, error: Exception) -> Response:
    return answer(error if isinstance(error, WvoError) else defect(request.url.path, error))


async def _no_route(request: Request, error: Exception) -> Response:
    return answer(NotFound("route", request.url.path[:100], hint="GET / names the routes."))


async def _no_method(request: Request, error: Exception) -> Response:
    return answer(wrong_method("GET"))
