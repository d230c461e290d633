"""The registry as routes: `/api/TOOL`."""

import json
import time
from collections.abc import Callable
from difflib import get_close_matches
from functools import cache
from typing import Any, cast

import anyio.to_thread
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Scope

from wvo_mcp.domain.access import Principal
from wvo_mcp.domain.lease import Caller, Role
from wvo_mcp.domain.text import is_id
from wvo_mcp.errors import InvalidInput, NotFound, WvoError
from wvo_mcp.faces.http.guard import Refused, answer, shown
from wvo_mcp.operations import ALL, Container, Effect, Operation
from wvo_mcp.operations.results import defect
from wvo_mcp.ports import Tracer

AGENT_HEADER = "WVO-Agent-Id"

EVERY = ["GET", "POST", "PUT", "PATCH", "DELETE"]
"""What a tool refuses, it refuses in its own words: with the methods that it has."""

Identify = Callable[[Principal, str | None, tuple[int, int] | None], Caller]
"""The caller that a principal works as: with the agent id of its header, if it gave one, and with the ports, theirs and ours,
of a connection that asks to write."""

Counted = Callable[[str, str, float], None]
"""Called after each call with: tool, `ok` or the code of its error, seconds."""


def wrong_method(allowed: str) -> Refused:
    return Refused("method", f"allowed: {allowed}", 405, "Use one of the methods that the Allow header names.", allowed)


def methods(op: Operation) -> tuple[str, ...]:
    """The effect decides."""
    return ("GET", "POST") if op.effect is Effect.READ else ("POST",)


def principal_of(scope: Scope) -> Principal:
    """Who the request is made by, as the middleware found it. What is open to everybody has none."""
    return cast("Principal", scope["state"]["principal"])


async def writer_of(identify: Identify, request: Request, agent_id: str | None = None) -> Caller:
    """Who asks to change something: what a worker started only reads, whatever it shows."""
    principal = principal_of(request.scope)
    ours: tuple[str, int] | None = request.scope.get("server")
    if request.client is None or ours is None:
        return identify(principal, agent_id, None)
    # It looks through the processes.
    return await anyio.to_thread.run_sync(identify, principal, agent_id, (request.client.port, ours[1]))


class Api:
    """Calls operations in the name of the agent in the header."""

    def __init__(self, services: Container, identify: Identify, counted: Counted) -> None:
        self._services = services
        self._identify = identify
        self._counted = counted
        self.operations = dict(ALL)

    async def call(self, request: Request) -> Response:
        """{"tool"} of the path, whatever the method."""
        began = time.perf_counter()
        name = request.path_params["tool"]
        outcome = "ok"
        try:
            op = self._operation(name)
            given = await _arguments(op, request)
            caller = await self._caller(request, op)
            caller.admit(op.remote_role, op.name)
            asked = {"wvo.face": "http", "http.request.method": request.method, "network.transport": "tcp"}
            with self._services.get(Tracer).request(asked, request.headers):
                return shown(await op(self._services, caller, given))
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
            raise NotFound("tool", name[:100], near, hint="GET /api lists what your role may use.")
        return op

    async def _caller(self, request: Request, op: Operation) -> Caller:
        agent_id = request.headers.get(AGENT_HEADER)
        if agent_id is not None and not is_id(agent_id):
            raise InvalidInput(
                AGENT_HEADER, "an id has 1 to 64 of letters, digits, '.', '_', '-' and starts with a letter or digit"
            )
        if op.effect is Effect.READ:
            return self._identify(principal_of(request.scope), agent_id, None)
        return await writer_of(self._identify, request, agent_id)


async def _arguments(op: Operation, request: Request) -> dict[str, Any]:
    allowed = methods(op)
    if request.method not in allowed:
        raise wrong_method(", ".join(allowed))
    if request.method == "GET":
        return _query(op, request)
    if request.query_params:
        raise InvalidInput("query", "with POST the arguments go into the body, as one JSON object")
    body = await request.body()
    if not body:
        return {}
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        # A page of a foreign site could send such a one unasked.
        hint = "Send the header Content-Type: application/json."
        raise Refused("Content-Type", "a body is application/json", 415, hint)
    try:
        given: object = json.loads(body.decode(), parse_constant=_no_constant)
    except (ValueError, RecursionError):
        raise InvalidInput("body", "it is one JSON object in UTF-8") from None
    if not isinstance(given, dict):
        raise InvalidInput("body", "it is one JSON object")
    return cast("dict[str, Any]", given)


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


@cache
def _lists(op: Operation) -> set[str]:
    return {name for name, field in op.schema["properties"].items() if field.get("type") == "array"}


def _query(op: Operation, request: Request) -> dict[str, Any]:
    """A field of text as it is, a list by repeating it, anything else as JSON writes it."""
    found: dict[str, Any] = {}
    for name in request.query_params:
        values = request.query_params.getlist(name)
        is_list = name in _lists(op)
        if len(values) > 1 and not is_list:
            raise InvalidInput(name, "is given more than once")
        found[name] = values if is_list else values[0]
    return found


def routes(role: Role = Role.AGENT) -> list[dict[str, Any]]:
    """{tool, path, methods, effect, summary} of what the role may use."""
    return [
        {
            "tool": op.name,
            "path": f"/api/{op.name}",
            "methods": [*methods(op)],
            "effect": op.effect,
            "summary": op.summary,
        }
        for op in ALL.values()
        if op.remote_role <= role
    ]
