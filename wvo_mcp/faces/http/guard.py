"""Who may ask at all: programs of this machine, and no page of a foreign site that has its name point here."""

import ipaddress
import logging
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import anyio
from starlette.datastructures import Headers
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


class Refused(InvalidInput):
    """What is a wrong input to us, and HTTP has a status of its own for."""

    def __init__(self, field: str, problem: str, status: int, hint: str, allowed: str | None = None) -> None:
        super().__init__(field, problem)
        self.status, self.hint, self.allowed = status, hint, allowed
        if allowed is not None:
            self.details["allowed"] = allowed


def no_page(address: str) -> NotFound:
    return NotFound("page", address[:100], hint="Go to the overview: /.")


def shown(value: Mapping[str, Any], status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    text = compact(value).encode(errors="backslashreplace")
    return Response(text, status, {**(headers or {}), "cache-control": "no-store"}, "application/json")


def answer(error: WvoError) -> Response:
    """{"error": {code, message, retryable, hint, details}}, as every face shows it."""
    status = error.status if isinstance(error, Refused) else STATUS.get(error.code, 500)
    headers = {"retry-after": "1"} if status == 503 else {}
    if isinstance(error, Refused) and error.allowed is not None:
        headers["allow"] = error.allowed
    if status in (408, 413):
        headers["connection"] = "close"  # the rest of it is not read
    return shown({"error": payload(error)}, status, headers)


BODY_BYTES = 16 << 20
MCP_BODY_BYTES = 4 << 20
"""At `/mcp`: what the protocol's own servers take."""
BODY_SECONDS = 30.0

_log = logging.getLogger("wvo_mcp.http")


def is_loopback(host: str) -> bool:
    """A name or address that never leaves this machine."""
    if host.lower().rstrip(".") == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


class Guard:
    """Refuses what does not come from here, bounds what is read, and logs one line a request: method, path, status, time.
    Neither queries nor headers are logged, for they may hold what others should not see."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

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
            await send(message)

        try:
            body = await self._admitted(Headers(scope=scope), receive, bytes_at(scope["path"]))
        except WvoError as error:
            await answer(error)(scope, receive, noted)
        else:
            await self._app(scope, _once(body, receive), noted)
        passed = (time.perf_counter() - began) * 1_000
        path = redact(ascii(scope["path"])[1:-1])[:200]
        _log.info("%s %s %d %.1f ms", scope["method"], path, status, passed)

    async def _admitted(self, headers: Headers, receive: Receive, limit: int) -> bytes:
        """The whole body. Raises Forbidden, Refused, InvalidInput."""
        refuse_foreigners(headers)
        too_large = Refused(
            "body", f"a request has at most {limit} bytes", 413, "Split the request into several calls."
        )
        if int(headers.get("content-length") or 0) > limit:
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
                if size > limit:
                    raise too_large
                more = message.get("more_body", False)
        if patience.cancelled_caught:
            problem = f"it did not arrive within {BODY_SECONDS:g} s"
            raise Refused("body", problem, 408, "Send the body with the request.")
        return b"".join(parts)


def bytes_at(path: str) -> int:
    """How many a body may have."""
    return MCP_BODY_BYTES if path.endswith("/mcp") else BODY_BYTES


def refuse_foreigners(headers: Mapping[str, str]) -> None:
    """A browser says where a page comes from and which name it asked for; a name that was made to point here is not ours.
    Raises Forbidden."""
    host = headers.get("host", "")
    try:
        name = urlsplit(f"//{host}").hostname or ""
    except ValueError:
        name = ""
    if not is_loopback(name):
        raise Forbidden(
            f"The host {host[:100]!r} is not this machine.",
            hint="Ask for 127.0.0.1, [::1] or localhost.",
            host=host[:100],
        )
    origin = headers.get("origin")
    site = headers.get("sec-fetch-site", "none")
    if (origin is not None and origin.lower() != f"http://{host}".lower()) or site not in ("none", "same-origin"):
        raise Forbidden(
            "Pages of other origins may not ask here.", hint="Ask from a program.", origin=(origin or site)[:100]
        )


def _once(body: bytes, receive: Receive) -> Receive:
    """The body that was read, and then whatever else comes."""
    first: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def again() -> Message:
        return first.pop() if first else await receive()

    return again
