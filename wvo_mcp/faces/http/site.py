"""The routes, and the middleware before them."""

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from wvo_mcp.domain.access import DOORS, LOOPBACK, Doors
from wvo_mcp.errors import NotFound, WvoError
from wvo_mcp.faces.http.access import Access, Csrf, Keys, access_routes
from wvo_mcp.faces.http.api import AGENT_HEADER, EVERY, Api, Identify, principal_of, routes, wrong_method
from wvo_mcp.faces.http.guard import Guard, WholeBody, answer, shown
from wvo_mcp.faces.http.metrics import Metrics
from wvo_mcp.operations import ALL, Container
from wvo_mcp.operations.results import defect
from wvo_mcp.ports import Clock, WatchedStore
from wvo_mcp.ports.access import IdentityTokens


def build_site(
    services: Container, identify: Identify, doors: Doors = DOORS, jwt: IdentityTokens | None = None
) -> Starlette:
    """`identify` names the caller behind an agent id; `jwt` checks those of an issuer, where one is trusted."""
    keys = Keys(services.get(WatchedStore), services.get(Clock), jwt)
    metrics = Metrics(services, lambda: identify(LOOPBACK, None, None))
    api = Api(services, identify, metrics.counted)

    async def health(request: Request) -> Response:
        result = await ALL["health_check"](services, identify(LOOPBACK, None, None), {})
        return shown(result, 503 if result["status"] == "unhealthy" else 200)

    async def figures(request: Request) -> Response:
        return Response(await metrics.text(), media_type=None, headers={"content-type": metrics.content_type})

    async def listed(request: Request) -> Response:
        return shown({"tools": routes(principal_of(request.scope).role), "agent_header": AGENT_HEADER})

    async def index(request: Request) -> Response:
        return shown({"wvo": "work for coding agents", "api": "/api", "health": "/health", "metrics": "/metrics"})

    return Starlette(
        routes=[
            Route("/", index),
            Route("/api", listed),
            Route("/api/{tool}", api.call, methods=EVERY),
            Route("/health", health),
            Route("/metrics", figures),
            *access_routes(keys),
        ],
        middleware=[
            Middleware(Guard, hosts=frozenset(name.lower() for name in doors.allow_hosts)),
            Middleware(Access, keys, require_token=doors.require_token),
            Middleware(WholeBody),
            Middleware(Csrf),
        ],
        exception_handlers={WvoError: _error, 404: _no_route, 405: _no_method, Exception: _error},
    )


async def _error(request: Request, error: Exception) -> Response:
    return answer(error if isinstance(error, WvoError) else defect(request.url.path, error))


async def _no_route(request: Request, error: Exception) -> Response:
    return answer(NotFound("route", request.url.path[:100], hint="GET / names the routes."))


async def _no_method(request: Request, error: Exception) -> Response:
    return answer(wrong_method("GET"))
