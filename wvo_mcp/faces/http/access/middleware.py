"""The one place where it is found who asks."""

from urllib.parse import unquote_plus

from starlette.datastructures import Headers
from starlette.requests import cookie_parser
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from wvo_mcp.domain.access import IN_ADDRESS, LOOPBACK, LOOPBACK_READER, AccessKey, Principal
from wvo_mcp.errors import WvoError
from wvo_mcp.faces.http.access.keys import Keys
from wvo_mcp.faces.http.access.login import METADATA, cookie_name, sign_in_page
from wvo_mcp.faces.http.guard import STATIC, NotAdmitted, Refused, answer, host_name, is_loopback, route_path, scheme_of

OPEN = ("/health", "/login", "/login/", "/.well-known/", STATIC)
"""Where nothing has to be shown; what ends in a slash stands for all that is below."""
_AGENTS = ("/api", "/api/", "/mcp", "/mcp/")
_FORWARDED = (
    "forwarded",
    "x-real-ip",
    "via",
    *(f"x-forwarded-{name}" for name in ("for", "host", "port", "proto", "server")),
)
"""A request with one of these comes from somewhere else by a proxy of this machine."""


class Access:
    """Puts the principal at `scope["state"]["principal"]`, or refuses."""

    def __init__(self, app: ASGIApp, keys: Keys, *, require_token: bool = False) -> None:
        self._app = app
        self._keys = keys
        self._require_token = require_token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        state = scope["state"] = {**scope.get("state", {})}
        state.pop("principal", None)
        try:
            found, row = await self._find(scope)
        except WvoError as error:
            await self._refuse(scope, error)(scope, receive, send)
            return
        if found is not None:
            state["principal"] = found
        await self._app(scope, receive, send)
        if row is not None:
            await self._keys.touch(row)

    async def _find(self, scope: Scope) -> tuple[Principal | None, AccessKey | None]:
        """The principal, with the row that admitted it. None where nobody has to be anybody. Raises NotAdmitted, Forbidden,
        Refused."""
        check_address(scope)
        headers = Headers(scope=scope)
        peer = scope["client"][0] if scope.get("client") else ""
        shown = headers.getlist("authorization")
        if shown:
            scheme, _, text = shown[0].partition(" ")
            if len(shown) > 1 or scheme.lower() != "bearer":
                raise NotAdmitted("One header is taken: Authorization: Bearer TOKEN.", 401, hint="Send a token.")
            return await self._keys.of_bearer(text.strip(), peer)
        path = route_path(scope)
        cookie = cookie_parser(headers.get("cookie", "")).get(cookie_name(scope))
        admitted = None if cookie is None else await self._keys.of_cookie(cookie)
        if admitted is not None:
            return admitted
        near = is_loopback(peer) and is_loopback(host_name(headers)) and not any(name in headers for name in _FORWARDED)
        if near and not self._require_token:
            return (LOOPBACK if _among(path, _AGENTS) else LOOPBACK_READER), None
        if _among(path, OPEN):
            return None, None
        raise NotAdmitted(
            "This server asks for a token.",
            401,
            hint="Send Authorization: Bearer TOKEN; a person makes one with wvo-mcp token create NAME --role ROLE.",
        )

    def _refuse(self, scope: Scope, error: WvoError) -> Response:
        if not isinstance(error, NotAdmitted) or error.status != 401:
            return answer(error)
        error.headers["www-authenticate"] = self._challenge(scope, wrong="authorization" in Headers(scope=scope))
        if scope["method"] in ("GET", "HEAD") and "text/html" in Headers(scope=scope).get("accept", ""):
            return sign_in_page(scope, error)
        return answer(error)

    def _challenge(self, scope: Scope, *, wrong: bool) -> str:
        """With static tokens nothing more than the scheme, so that no client looks for an authorization server."""
        parts = ['error="invalid_token"'] if wrong else []
        if self._keys.jwt is not None:
            resource = "/mcp" if _among(route_path(scope), ("/mcp", "/mcp/")) else ""
            place = (
                f"{scheme_of(scope)}://{Headers(scope=scope)['host']}{METADATA}{scope.get('root_path', '')}{resource}"
            )
            parts.insert(0, f'resource_metadata="{place}"')
        return " ".join(["Bearer", ", ".join(parts)]).strip()


def _among(path: str, places: tuple[str, ...]) -> bool:
    return any(path == place or (place.endswith("/") and path.startswith(place)) for place in places)


def check_address(scope: Scope) -> None:
    """Raises Refused for one with a token in it."""
    query = scope.get("query_string", b"").decode("latin-1")
    found = IN_ADDRESS.findall(f"{scope['path']}?{query}&{unquote_plus(query)}")
    if found:
        known = f", which is logged: wvo-mcp token revoke {max(found)}." if any(found) else "."
        raise Refused(
            "address",
            "a token has no place in an address",
            400,
            f"Send the header Authorization: Bearer TOKEN, and revoke this one{known}",
        )
