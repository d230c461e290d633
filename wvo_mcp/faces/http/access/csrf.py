"""A browser sends cookies whoever made it ask; what it is asked to do must know more than that."""

import hmac
from urllib.parse import parse_qsl

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from wvo_mcp.domain.access import Principal
from wvo_mcp.errors import Forbidden, InvalidInput
from wvo_mcp.faces.http.guard import Refused, answer, route_path

FIELD = "csrf"
HEADER = "x-csrf-token"
FORM = "application/x-www-form-urlencoded"
_FIELDS = 200


class Csrf:
    """Lets a request that a cookie admitted change something only if it carries the value that the pages of that session
    have, in a form's field or a header. Stands behind `WholeBody`."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] in ("GET", "HEAD", "OPTIONS"):
            await self._app(scope, receive, send)
            return
        principal: Principal | None = scope.get("state", {}).get("principal")
        path = route_path(scope)
        # Whoever signs in may have been somebody else before; no page of a foreign origin comes as far as this.
        if principal is None or principal.csrf is None or path == "/login" or path.startswith("/login/"):
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        shown = headers.get(HEADER)
        if shown is None and _is_form(headers):
            message = await receive()
            shown = _fields(message.get("body", b"")).get(FIELD)
            receive = _before(message, receive)
        if shown is None or not hmac.compare_digest(shown.encode(), principal.csrf.encode()):
            hint = f"Reload the page and try again. Programs send the header {HEADER}, or a token instead of a cookie."
            await answer(Forbidden("The request does not come from a page of this session.", hint=hint))(
                scope, receive, send
            )
            return
        await self._app(scope, receive, send)


async def form_of(request: Request) -> dict[str, str]:
    """The fields of a form; of one that is given twice the last. Raises Refused, InvalidInput."""
    if not _is_form(request.headers):
        raise Refused("Content-Type", f"a form is {FORM}", 415, "Send the fields of the form.")
    body = await request.body()
    fields = _fields(body)
    if body and not fields:
        raise InvalidInput("body", "it is not a form")
    return fields


def _is_form(headers: Headers) -> bool:
    return headers.get("content-type", "").partition(";")[0].strip().lower() == FORM


def _fields(body: bytes) -> dict[str, str]:
    """Nothing, where it cannot be read."""
    try:
        return dict(parse_qsl(body.decode("ascii"), keep_blank_values=True, max_num_fields=_FIELDS, errors="strict"))
    except ValueError:
        return {}


def _before(first: Message, receive: Receive) -> Receive:
    waiting = [first]

    async def again() -> Message:
        return waiting.pop() if waiting else await receive()

    return again
