"""Who may ask at all: no page of a foreign site that has its name point here. And what every answer says to browsers."""

import ipaddress
import logging
import re
import time
from collections.abc import Mapping
from typing import Any

import anyio
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from wvo_mcp.domain.redaction import redact
from wvo_mcp.errors import Forbidden, InvalidInput, NotFound, WvoError
from wvo_mcp.operations.results import compact, payload

STATUS = {
    "invalid_input": 400,
    "not_found": 404,
    "illegal_transition": 409,
    "dependency_cycle": 409,
    "not_ready": 409,
    "already_claimed": 409,
    "wip_limit": 409,
    "stale_lease": 409,
    "conflict": 409,
    "request_id_reused": 409,
    "reservation_conflict": 409,
    "approval_required": 403,
    "forbidden": 403,
    "budget_exhausted": 429,
    "paused": 409,
    "store_busy": 503,
    "store_unavailable": 503,
    "incompatible_store": 500,
    "not_configured": 501,
    "internal": 500,
}
"""By the code of an error."""


HEADERS = {
    "content-security-policy": "default-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'",
    "x-content-type-options": "nosniff",
    # With no-referrer browsers say `Origin: null` when a form of our own is sent.
    "referrer-policy": "same-origin",
}
"""Of every answer."""


class Refused(InvalidInput):
    """What is a wrong input to us, and HTTP has a status of its own for."""

    def __init__(self, field: str, problem: str, status: int, hint: str, allowed: str | None = None) -> None:
        super().__init__(field, problem)
        self.status, self.hint, self.allowed = status, hint, allowed
        if allowed is not None:
            self.details["allowed"] = allowed


def no_page(address: str) -> NotFound:
    return NotFound("page", address[:100], hint="Go to the overview: /.")


class NotAdmitted(Forbidden):
    """Forbidden, with a status and headers of HTTP's own."""

    def __init__(self, message: str, status: int, *, hint: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message, hint=hint)
        self.status, self.headers = status, {**(headers or {})}


def shown(value: Mapping[str, Any], status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    text = compact(value).encode(errors="backslashreplace")
    return Response(text, status, {**HEADERS, **(headers or {}), "cache-control": "no-store"}, "application/json")


def answer(error: WvoError) -> Response:
    """{"error": {code, message, retryable, hint, details}}, as every face shows it."""
    status = error.status if isinstance(error, Refused | NotAdmitted) else STATUS.get(error.code, 500)
    headers = {"retry-after": "1"} if status == 503 else {}
    if isinstance(error, NotAdmitted):
        headers |= error.headers
    if isinstance(error, Refused) and error.allowed is not None:
        headers["allow"] = error.allowed
    if status in (408, 413):
        headers["connection"] = "close"  # the rest of it is not read
    return shown({"error": payload(error)}, status, headers)


BODY_BYTES = 16 << 20
MCP_BODY_BYTES = 4 << 20
"""At `/mcp`: what the protocol's own servers take."""
STRANGERS_BYTES = 64 << 10
"""Of whoever has not signed in: a token and little more."""
BODY_SECONDS = 30.0
STATIC = "/static/"

_log = logging.getLogger("wvo_mcp.http")
_HOST = re.compile(r"(?P<name>[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?")
_LOGIN = re.compile(r"(.*/login)/.*", re.DOTALL)


def is_loopback(host: str) -> bool:
    """A name or address that never leaves this machine."""
    if host.lower().rstrip(".") == "localhost":
        return True
    address = _address(host)
    return address is not None and address.is_loopback


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        address = ipaddress.ip_address(host.strip("[]").partition("%")[0])
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def host_name(headers: Mapping[str, str]) -> str:
    """As the client wrote it, without the port; empty for what is no name."""
    found = _HOST.fullmatch(headers.get("host", ""))
    return "" if found is None else found["name"].lower()


def route_path(scope: Scope) -> str:
    """The path within the project."""
    return str(scope["path"]).removeprefix(scope.get("root_path", ""))


def scheme_of(scope: Scope) -> str:
    """That of the address in the browser. A proxy says it; whoever lies about it deceives themselves alone."""
    said = Headers(scope=scope).get("x-forwarded-proto", "")
    return "https" if said.lower() == "https" else str(scope["scheme"])


class Guard:
    """Refuses foreign pages, adds headers to every answer, and logs one line a request: method, path, status, time. Neither
    queries nor headers are logged, nor the code of a link, for they may hold what others should not see."""

    def __init__(self, app: ASGIApp, hosts: frozenset[str] = frozenset()) -> None:
        """`hosts`, in small letters: names that the server is called by, beside those of this machine."""
        self._app = app
        self._hosts = hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()
        status = 0

        async def noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
                if not route_path(scope).startswith(STATIC):
                    headers.setdefault("cache-control", "no-store")
            await send(message)

        try:
            refuse_foreigners(scope, self._hosts)
        except WvoError as error:
            await answer(error)(scope, receive, noted)
        else:
            await self._app(scope, receive, noted)
        passed = (time.perf_counter() - began) * 1_000
        path = _LOGIN.sub(r"\1/...", redact(ascii(scope["path"])[1:-1]))[:200]
        _log.info("%s %s %d %.1f ms", scope["method"], path, status, passed)


class WholeBody:
    """Reads a request whole, within bounds, before anything is done with it. Stands behind what finds out who asks."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        most = bytes_at(scope["path"]) if "principal" in scope.get("state", {}) else STRANGERS_BYTES
        try:
            body = await _whole(Headers(scope=scope), receive, most)
        except WvoError as error:
            await answer(error)(scope, receive, send)
        else:
            await self._app(scope, _once(body, receive), send)


def bytes_at(path: str) -> int:
    """How many a body may have."""
    return MCP_BODY_BYTES if path.endswith("/mcp") else BODY_BYTES


async def _whole(headers: Headers, receive: Receive, most: int) -> bytes:
    """Raises Refused, InvalidInput."""
    hint = "Split the request into several calls."
    too_large = Refused("body", f"a request has at most {most} bytes", 413, hint)
    if int(headers.get("content-length") or 0) > most:
        raise too_large
    parts: list[bytes] = []
    size = 0
    more = True
    with anyio.move_on_after(BODY_SECONDS) as patience:
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                # What came may be valid and still not be what was meant.
                raise InvalidInput("body", "it ended before it was whole; nothing was done")
            parts.append(message.get("body", b""))
            size += len(parts[-1])
            if size > most:
                raise too_large
            more = message.get("more_body", False)
    if patience.cancelled_caught:
        problem = f"it did not arrive within {BODY_SECONDS:g} s"
        raise Refused("body", problem, 408, "Send the body with the request.")
    return b"".join(parts)


def refuse_foreigners(scope: Scope, hosts: frozenset[str]) -> None:
    """A browser says where a page comes from and which name it asked for; a name that was made to point here is not ours,
    while an address, which nobody can make point elsewhere, is ours where the connection came in by it. Raises Forbidden."""
    headers = Headers(scope=scope)
    host, name = headers.get("host", ""), host_name(headers)
    ours = scope.get("server")
    by_address = ours is not None and _address(name) is not None and _address(name) == _address(ours[0])
    if len(headers.getlist("host")) != 1 or not (is_loopback(name) or name in hosts or by_address):
        raise Forbidden(
            f"The host {host[:100]!r} is not this server.",
            hint="Ask for 127.0.0.1, [::1] or localhost, or start the server with --allow-host NAME.",
            host=host[:100],
        )
    origin = headers.get("origin")
    site = headers.get("sec-fetch-site", "none")
    # What a proxy does not say of itself, a browser does: TLS may end before us, for names that we were told of.
    schemes = (scope["scheme"],) if is_loopback(name) else (scope["scheme"], "https")
    own = [f"{scheme}://{host}".lower() for scheme in schemes]
    if (origin is not None and origin.lower() not in own) or site not in ("none", "same-origin"):
        raise Forbidden(
            "Pages of other origins may not ask here.", hint="Ask from a program.", origin=(origin or site)[:100]
        )


def _once(body: bytes, receive: Receive) -> Receive:
    """The body that was read, and then whatever else comes."""
    first: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def again() -> Message:
        return first.pop() if first else await receive()

    return again
