"""The routes, and the middleware before them."""

from collections.abc import Callable
from typing import Any

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from wvo_mcp.domain.lease import Caller
from wvo_mcp.errors import NotFound, WvoError
from wvo_mcp.faces.http.answers import answer, shown
from wvo_mcp.faces.http.api import AGENT_HEADER, DEFAULT_AGENT, Api, WrongMethod, methods
from wvo_mcp.faces.http.guard import Guard
from wvo_mcp.faces.http.metrics import Metrics
from wvo_mcp.operations import ALL, Container, tools
from wvo_mcp.operations.results import defect

_EVERY = ["GET", "POST", "PUT", "PATCH", "DELETE"]
"""What is refused is refused in our own words."""


def routes() -> list[dict[str, Any]]:
    """{tool, path, methods, effect, summary} of every tool."""
    return [
        {
            "tool": op.name,
            "path": f"/api/{op.name}",
            "methods": [*methods(op)],
            "effect": op.effect,
            "summary": op.summary,
        }
        for op in tools()
    ]


def build_site(services: Container, identify: Callable[[str], Caller]) -> Starlette:
    """`identify` names the caller behind an agent id."""
    metrics = Metrics(services, lambda: identify(DEFAULT_AGENT))
    api = Api(services, identify, metrics.counted)

    async def health(request: Request) -> Response:
        _only_get(request)
        result = await ALL["health_check"](services, identify(DEFAULT_AGENT), {})
        return shown(result, 503 if result["status"] == "unhealthy" else 200)

    async def figures(request: Request) -> Response:
        _only_get(request)
        return Response(await metrics.text(), media_type=None, headers={"content-type": metrics.content_type})

    async def listed(request: Request) -> Response:
        _only_get(request)
        return shown({"tools": routes(), "agent_header": AGENT_HEADER})

    async def index(request: Request) -> Response:
        _only_get(request)
        return shown({"wvo": "work for coding agents", "api": "/api", "health": "/health", "metrics": "/metrics"})

    return Starlette(
        routes=[
            Route("/", index, methods=_EVERY),
            Route("/api", listed, methods=_EVERY),
            Route("/api/{tool}", api.call, methods=_EVERY),
            Route("/health", health, methods=_EVERY),
            Route("/metrics", figures, methods=_EVERY),
        ],
        middleware=[Middleware(Guard)],
        exception_handlers={WvoError: _error, 404: _no_route, 405: _no_method, Exception: _error},
    )


def _only_get(request: Request) -> None:
    if request.method not in ("GET", "HEAD"):
        raise WrongMethod(("GET",))


async def _error(request: Request, error: Exception) -> Response:
    return answer(error if isinstance(error, WvoError) else defect(request.url.path, error))


async def _no_route(request: Request, error: Exception) -> Response:
    return answer(NotFound("route", request.url.path[:100], hint="GET / names the routes."))


async def _no_method(request: Request, error: Exception) -> Response:
    return answer(WrongMethod(("GET", "POST")))
