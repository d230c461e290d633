"""A route per operation: `/api/{tool}`, GET for what only reads, POST for everything."""

import json
import time
from collections.abc import Callable
from difflib import get_close_matches
from types import NoneType, UnionType
from typing import Annotated, Any, Union, cast, get_args, get_origin

from starlette.requests import Request
from starlette.responses import Response

from wvo_mcp.domain.lease import Caller
from wvo_mcp.domain.text import is_id
from wvo_mcp.errors import InvalidInput, NotFound, WvoError
from wvo_mcp.faces.http.answers import answer, shown
from wvo_mcp.operations import Container, Effect, Operation, tools
from wvo_mcp.operations.results import defect
from wvo_mcp.ports import Tracer

AGENT_HEADER = "WVO-Agent-Id"
DEFAULT_AGENT = "http"

Counted = Callable[[str, str, float], None]
"""Called after each call with: tool, `ok` or the code of its error, seconds."""


class WrongMethod(InvalidInput):
    """Something that changes the store was asked with GET."""

    hint = "Use one of the methods that the Allow header names."

    def __init__(self, allowed: tuple[str, ...]) -> None:
        super().__init__("method", f"allowed: {', '.join(allowed)}", allowed=", ".join(allowed))


class WrongMedia(InvalidInput):
    """A body that does not say that it is JSON: a page of a foreign site could send such a one unasked."""

    hint = "Send the header Content-Type: application/json."

    def __init__(self) -> None:
        super().__init__("Content-Type", "a body is application/json")


def methods(op: Operation) -> tuple[str, ...]:
    """The effect decides."""
    return ("GET", "POST") if op.effect is Effect.READ else ("POST",)


class Api:
    """Calls operations in the name of the agent in the header."""

    def __init__(self, services: Container, identify: Callable[[str], Caller], counted: Counted) -> None:
        self._services = services
        self._identify = identify
        self._counted = counted
        self.operations = {op.name: op for op in tools()}

    async def call(self, request: Request) -> Response:
        """{"tool"} of the path, whatever the method."""
        began = time.perf_counter()
        name = request.path_params["tool"]
        outcome = "ok"
        try:
            op = self._operation(name)
            given = await _arguments(op, request)
            asked = {"wvo.face": "http", "http.request.method": request.method, "network.transport": "tcp"}
            with self._services.get(Tracer).request(asked, request.headers):
                return shown(await op(self._services, self._caller(request), given))
        except WvoError as error:
            outcome = error.code
            return answer(error)
        except Exception as error:  # an edge: an unexpected exception is logged and answered, and the server lives on
            outcome = "internal"
            return answer(defect(name, error))
        finally:
            self._counted(name if name in self.operations else "unknown", outcome, time.perf_counter() - began)

    def _operation(self, name: str) -> Operation:
        op = self.operations.get(name)
        if op is None:
            near = get_close_matches(name, self.operations, n=5, cutoff=0.4)
            raise NotFound(
                "tool", name[:100], near, hint="GET /api lists the tools; people's verbs are not served here."
            )
        return op

    def _caller(self, request: Request) -> Caller:
        agent_id = request.headers.get(AGENT_HEADER, DEFAULT_AGENT)
        if not is_id(agent_id):
            raise InvalidInput(
                AGENT_HEADER, "an id has 1 to 64 of letters, digits, '.', '_', '-' and starts with a letter or digit"
            )
        return self._identify(agent_id)


async def _arguments(op: Operation, request: Request) -> dict[str, Any]:
    allowed = methods(op)
    if request.method not in allowed:
        raise WrongMethod(allowed)
    if request.method == "GET":
        return _query(op, request)
    if request.query_params:
        raise InvalidInput("query", "with POST the arguments go into the body, as one JSON object")
    body = await request.body()
    if not body:
        return {}
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise WrongMedia
    try:
        given: object = json.loads(body.decode(), parse_constant=_no_constant)
    except (ValueError, RecursionError):
        raise InvalidInput("body", "it is one JSON object in UTF-8") from None
    if not isinstance(given, dict):
        raise InvalidInput("body", "it is one JSON object")
    return cast("dict[str, Any]", given)


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _query(op: Operation, request: Request) -> dict[str, Any]:
    """A field of text as it is, a list by repeating it, anything else as JSON writes it."""
    found: dict[str, Any] = {}
    for name in request.query_params:
        values = request.query_params.getlist(name)
        field = op.fields.get(name)
        if field is not None and _is_list(field.annotation):
            found[name] = values
        elif len(values) > 1:
            raise InvalidInput(name, "is given more than once")
        else:
            found[name] = values[0]
    return found


def _is_list(annotation: Any) -> bool:
    origin = get_origin(annotation)
    if origin is Annotated:
        return _is_list(get_args(annotation)[0])
    if origin in (Union, UnionType):
        return any(_is_list(part) for part in get_args(annotation) if part is not NoneType)
    return origin in (list, tuple)
