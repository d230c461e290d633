"""Several projects of one server: each below `/p/NAME/`, apart in everything, and a page that names them."""

import json
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any, TypeVar, cast

import anyio
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Mount, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from wvo_mcp.errors import WvoError
from wvo_mcp.faces.http.access.login import METADATA
from wvo_mcp.faces.http.access.middleware import check_address
from wvo_mcp.faces.http.api import wrong_method
from wvo_mcp.faces.http.guard import Guard, answer, no_page, shown
from wvo_mcp.faces.http.pages.rendering import environment
from wvo_mcp.faces.http.site import Site
from wvo_mcp.faces.http.static import address_of, asset

Row = dict[str, Any]
T = TypeVar("T")

_PATIENCE_SECONDS = 10.0
_NEEDS = 3
"""So many of the things that need a person are named for each project."""


def build_projects(sites: Mapping[str, Site], hosts: frozenset[str] = frozenset()) -> ASGIApp:
    """Who may see what of a project is asked of that project: this page shows what each answers to the same request."""

    async def overview(request: Request) -> Response:
        found = await _all({name: partial(_looked, name, site, request) for name, site in sites.items()})
        rows = list(found.values())
        if request.url.path.endswith(".json"):
            return shown({"projects": rows})
        html = environment().get_template("projects.html").render({"projects": rows, "asset": address_of})
        return HTMLResponse(html, headers={"cache-control": "no-store"})

    async def health(request: Request) -> Response:
        """As bad as the worst."""
        asked = {name: partial(_asked, site, f"/p/{name}", "/health", request) for name, site in sites.items()}
        states = {name: status for name, (status, _) in (await _all(asked)).items()}
        worst = max(states.values(), default=200)
        return shown({"status": "healthy" if worst == 200 else "unhealthy", "projects": states}, worst)

    async def metadata(request: Request) -> Response:
        """Of a project's tools, at the address that RFC 9728 makes of theirs. Raises NotFound."""
        name, _, rest = request.path_params["resource"].partition("/")
        site, place = sites.get(name), f"{METADATA}/{rest}".rstrip("/")
        if site is None:
            raise no_page(request.url.path)
        status, body = await _asked(site, f"/p/{name}", place, request)
        return Response(body, status, {"cache-control": "no-store"}, "application/json")

    async def no_route(request: Request, error: Exception) -> Response:
        return answer(error if isinstance(error, WvoError) else no_page(request.url.path))

    async def no_method(request: Request, error: Exception) -> Response:
        return answer(wrong_method("GET"))

    return Starlette(
        routes=[
            Route("/", overview),
            Route("/index.json", overview),
            Route("/health", health),
            Route(METADATA + "/p/{resource:path}", metadata),
            Route("/static/{name:path}", asset),
            *(Mount(f"/p/{name}", app=site) for name, site in sites.items()),
        ],
        middleware=[Middleware(_Outside, names=frozenset(sites), hosts=frozenset(name.lower() for name in hosts))],
        exception_handlers={WvoError: no_route, 404: no_route, 405: no_method},
    )


class _Outside:
    """Guards what belongs to no project; each project guards itself."""

    def __init__(self, app: ASGIApp, names: frozenset[str], hosts: frozenset[str]) -> None:
        self._app, self._names, self._guarded = app, names, Guard(self._checked, hosts=hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        parts: list[str] = scope["path"].split("/", 3) if scope["type"] == "http" else []
        inside = len(parts) == 4 and parts[:2] == ["", "p"] and parts[2] in self._names
        await (self._app if inside else self._guarded)(scope, receive, send)

    async def _checked(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            if scope["type"] == "http":
                check_address(scope)
        except WvoError as error:
            await answer(error)(scope, receive, send)
        else:
            await self._app(scope, receive, send)


async def _all(asked: Mapping[str, Callable[[], Awaitable[T]]]) -> dict[str, T]:
    """What each gives, in their order: a project that is slow holds up no other."""
    found: dict[str, T] = {}

    async def ask(name: str, one: Callable[[], Awaitable[T]]) -> None:
        found[name] = await one()

    async with anyio.create_task_group() as group:
        for name, one in asked.items():
            group.start_soon(ask, name, one)
    return {name: found[name] for name in asked}


_SHOWN = ("mode", "reason", "counts", "wip_limit", "needs_count", "holds")


async def _looked(name: str, site: Site, request: Request) -> Row:
    """{name, address, status, and of its overview what `_SHOWN` names, `needs` (some) and `running` (how many)}; only the
    first three where it shows nothing to who asks."""
    status, body = await _asked(site, f"/p/{name}", "/index.json", request)
    row: Row = {"name": name, "address": f"/p/{name}/", "status": status}
    if status != 200:
        return row
    data = cast("Row", json.loads(body))
    needs = [{part: one.get(part) for part in ("id", "task_id", "title", "why")} for one in data["needs"][:_NEEDS]]
    return {
        **row,
        **{part: data[part] for part in _SHOWN if part in data},
        "needs": needs,
        "running": len(data["running"]),
        "ready": data["counts"]["ready"],
    }


async def _asked(site: Site, root: str, path: str, request: Request) -> tuple[int, bytes]:
    """What the project answers to a GET with the same headers from the same peer."""
    scope: Scope = {
        **request.scope,
        "method": "GET",
        "path": root + path,
        "raw_path": (root + path).encode(),
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

    with anyio.move_on_after(_PATIENCE_SECONDS) as patience:
        await site(scope, receive, send)
    if patience.cancelled_caught:
        return 504, b""
    return status, b"".join(parts)
