"""Several projects of one server: each below `/p/NAME/`, apart in everything, and a page that names them."""

import json
from collections.abc import Mapping
from typing import Any, cast

import anyio
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Mount, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from wvo_mcp.errors import WvoError
from wvo_mcp.faces.http.guard import Guard, answer, no_page, shown
from wvo_mcp.faces.http.pages.rendering import environment
from wvo_mcp.faces.http.site import Site
from wvo_mcp.faces.http.static import address_of, asset

Row = dict[str, Any]


def build_projects(sites: Mapping[str, Site], hosts: frozenset[str] = frozenset()) -> ASGIApp:
    """Who may see what of a project is asked of that project: this page shows what each answers to the same request."""

    async def overview(request: Request) -> Response:
        found = [await _looked(name, site, request) for name, site in sites.items()]
        if request.url.path.endswith(".json"):
            return shown({"projects": found})
        given = {"projects": found, "asset": address_of}
        return HTMLResponse(
            environment().get_template("projects.html").render(given), headers={"cache-control": "no-store"}
        )

    async def health(request: Request) -> Response:
        """As bad as the worst."""
        states = {name: (await _asked(site, f"/p/{name}/health", request))[0] for name, site in sites.items()}
        worst = max(states.values(), default=200)
        return shown({"status": "healthy" if worst == 200 else "unhealthy", "projects": states}, worst)

    async def no_route(request: Request, error: Exception) -> Response:
        return answer(error if isinstance(error, WvoError) else no_page(request.url.path))

    return Starlette(
        routes=[
            Route("/", overview),
            Route("/index.json", overview),
            Route("/health", health),
            Route("/static/{name:path}", asset),
            *(Mount(f"/p/{name}", app=site) for name, site in sites.items()),
        ],
        middleware=[Middleware(_Outside, hosts=hosts)],
        exception_handlers={WvoError: no_route, 404: no_route},
    )


class _Outside:
    """Guards what belongs to no project; each project guards itself."""

    def __init__(self, app: ASGIApp, hosts: frozenset[str]) -> None:
        self._app, self._guarded = app, Guard(app, hosts=hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        inside = scope["type"] == "http" and scope["path"].startswith("/p/")
        await (self._app if inside else self._guarded)(scope, receive, send)


async def _looked(name: str, site: Site, request: Request) -> Row:
    """{name, address, status, counts, needs}: what its overview says to who asks; status alone where it says nothing."""
    status, body = await _asked(site, f"/p/{name}/index.json", request)
    try:
        data = cast("Row", json.loads(body)) if status == 200 else {}
    except ValueError:
        data = {}
    return {"name": name, "address": f"/p/{name}/", "status": status, "data": data}


async def _asked(site: Site, path: str, request: Request) -> tuple[int, bytes]:
    """What the project answers to a GET with the same headers from the same peer."""
    root = path[: path.index("/", len("/p/"))]
    scope: Scope = {
        **request.scope,
        "method": "GET",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": root,
        "app_root_path": "",
        "path_params": {},
        "state": {},
    }
    status, parts = 500, list[bytes]()

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        nonlocal status
        if message["type"] == "http.response.start":
            status = message["status"]
        elif message["type"] == "http.response.body":
            parts.append(message.get("body", b""))

    with anyio.move_on_after(10):
        await site(scope, receive, send)
    return status, b"".join(parts)
