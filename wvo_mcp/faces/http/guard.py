"""Who may ask at all: programs of this machine, and no page of a foreign site that has its name point here."""

import ipaddress
import logging
import time
from collections.abc import Mapping
from urllib.parse import urlsplit

import anyio
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from wvo_mcp.domain.redaction import redact
from wvo_mcp.errors import Forbidden, InvalidInput, WvoError
from wvo_mcp.faces.http.answers import answer

BODY_BYTES = 16 << 20
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


class TooLarge(InvalidInput):
    """The body is larger than any call needs."""

    hint = "Make several calls of it."

    def __init__(self) -> None:
        super().__init__("body", f"a request has at most {BODY_BYTES} bytes")


class TooSlow(InvalidInput):
    """The body did not come."""

    hint = "Send the body with the request."

    def __init__(self) -> None:
        super().__init__("body", f"it did not arrive within {BODY_SECONDS:g} s")


class CutOff(InvalidInput):
    """The client went away before its body had come whole; what came may be valid and still not be what was meant."""

    hint = "Send the request again."

    def __init__(self) -> None:
        super().__init__("body", "it ended before it was whole; nothing was done")


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
            body = await self._admitted(Headers(scope=scope), receive)
        except WvoError as error:
            await answer(error)(scope, receive, noted)
        else:
            await self._app(scope, _once(body, receive), noted)
        passed = (time.perf_counter() - began) * 1_000
        path = redact(ascii(scope["path"])[1:-1])[:200]
        _log.info("%s %s %d %.1f ms", scope["method"], path, status, passed)

    async def _admitted(self, headers: Headers, receive: Receive) -> bytes:
        """The whole body. Raises Forbidden, TooLarge, TooSlow, CutOff."""
        refuse_foreigners(headers)
        if int(headers.get("content-length") or 0) > BODY_BYTES:
            raise TooLarge
        parts: list[bytes] = []
        size = 0
        with anyio.move_on_after(BODY_SECONDS) as patience:
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise CutOff
                parts.append(message.get("body", b""))
                size += len(parts[-1])
                if size > BODY_BYTES:
                    raise TooLarge
                if not message.get("more_body", False):
                    break
        if patience.cancelled_caught:
            raise TooSlow
        return b"".join(parts)


def refuse_foreigners(headers: Mapping[str, str]) -> None:
    """A browser says where a page comes from and which name it asked for; a name that was made to point here is not ours.
    Raises Forbidden."""
    host = headers.get("host", "")
    if not is_loopback(_name(f"//{host}")):
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


def _name(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


def _once(body: bytes, receive: Receive) -> Receive:
    """The body that was read, and then whatever else comes."""
    given = False

    async def again() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again
