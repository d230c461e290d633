"""Signing in and out, by pages that work without JavaScript; and where clients find who signs JWTs (RFC 9728)."""

from typing import Any

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route
from starlette.types import Scope

from wvo_mcp.domain.access import SESSION_LASTS, Kind, Via
from wvo_mcp.errors import NotFound
from wvo_mcp.faces.http.access.csrf import form_of
from wvo_mcp.faces.http.access.keys import Keys
from wvo_mcp.faces.http.api import principal_of
from wvo_mcp.faces.http.guard import NotAdmitted, route_path, scheme_of, shown
from wvo_mcp.faces.http.pages.rendering import environment
from wvo_mcp.faces.http.static import address_of

METADATA = "/.well-known/oauth-protected-resource"


def access_routes(keys: Keys) -> list[Route]:
    """They answer to everybody."""

    async def with_token(request: Request) -> Response:
        if request.method != "POST":
            return sign_in_page(request.scope)
        token = (await form_of(request)).get("token", "").strip()
        return await _sign_in(request, keys, Kind.TOKEN, token)

    async def by_link(request: Request) -> Response:
        if request.method != "POST":  # what only looks at addresses, such as a chat program, uses up no link
            return HTMLResponse(_page(request.scope, action=request.url.path, link=True))
        return await _sign_in(request, keys, Kind.LINK, request.path_params["code"])

    async def sign_out(request: Request) -> Response:
        principal = principal_of(request.scope)
        answer = RedirectResponse(f"{request.scope.get('root_path', '')}/", 303)
        if principal.via is Via.SESSION:
            await keys.log_out(principal)
            answer.delete_cookie(cookie_name(request.scope), httponly=True, samesite="strict")
        return answer

    async def metadata(request: Request) -> Response:
        if keys.jwt is None:
            raise NotFound("route", request.url.path[:100], hint="Tokens of wvo-mcp itself are taken here.")
        resource = request.scope.get("root_path", "") + route_path(request.scope).removeprefix(METADATA)
        document: dict[str, Any] = {
            "resource": f"{scheme_of(request.scope)}://{request.headers['host']}{resource}",
            "authorization_servers": [keys.jwt.issuer],
            "bearer_methods_supported": ["header"],
            "resource_name": "wvo-mcp",
        }
        return shown(document)

    return [
        Route("/login", with_token, methods=["GET", "POST"]),
        Route("/login/{code}", by_link, methods=["GET", "POST"]),
        Route("/logout", sign_out, methods=["POST"]),
        Route(METADATA, metadata),
        Route(f"{METADATA}/mcp", metadata),
    ]


def cookie_name(scope: Scope) -> str:
    """By the port and the project: cookies of one host are sent to all of its servers, and to all projects of each."""
    server = scope.get("server")
    project = scope.get("root_path", "").replace("/p/", "_", 1)
    return f"wvo_session_{server[1] if server else 0}{project}"


def sign_in_page(scope: Scope, error: NotAdmitted | None = None) -> Response:
    """The form for a token, with what was wrong, if anything was; and with the status and the headers of that."""
    wrong = error is not None and ("authorization" in Headers(scope=scope) or scope["method"] == "POST")
    said = f"{error.message} {error.hint}" if error is not None and wrong else ""
    page = _page(scope, action=scope.get("root_path", "") + "/login", said=said)
    return HTMLResponse(page) if error is None else HTMLResponse(page, error.status, error.headers)


def _page(scope: Scope, **given: Any) -> str:
    known = {"root": scope.get("root_path", ""), "asset": address_of, "said": "", "link": False}
    return environment().get_template("login.html").render({**known, **given})


async def _sign_in(request: Request, keys: Keys, kind: Kind, text: str) -> Response:
    address = request.client.host if request.client else ""
    try:
        row, cookie = await keys.log_in(kind, text, address)
    except NotAdmitted as error:
        return sign_in_page(request.scope, error)
    answer = RedirectResponse(f"{request.scope.get('root_path', '')}/", 303)
    answer.set_cookie(
        cookie_name(request.scope),
        cookie,
        max_age=int(min((row.expires_at - row.created_at).total_seconds(), SESSION_LASTS.total_seconds())),
        path="/",
        secure=scheme_of(request.scope) == "https",
        httponly=True,
        samesite="strict",
    )
    return answer
