"""One JSON-RPC message a line: what a line holds, and the error that a broken one earns."""

from __future__ import annotations

import json

TYPE_CHECKING = False  # typing itself would cost milliseconds
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any, TypeGuard

PARSE_ERROR, INVALID_REQUEST, INTERNAL_ERROR = -32700, -32600, -32603


class BadFrame(ValueError):
    """A line that is no JSON-RPC message; `answer` is the error that it earns."""

    def __init__(self, code: int, problem: str, request_id: str | int | None = None) -> None:
        self.answer = error(request_id, code, problem)


def error(request_id: str | int | None, code: int, message: str) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": request_id, "error": {"code": code, "message": message}}


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


_decode = json.JSONDecoder(parse_constant=_no_constant).decode


def frame(line: bytes | bytearray) -> dict[str, Any] | None:
    """The request or notification in a line; None for what needs no answer (a response, a broken notification).

    Raises BadFrame for what is not JSON in UTF-8 or not JSON-RPC 2.0.
    """
    try:
        message: Any = _decode(line.decode())
    except (ValueError, RecursionError):
        raise BadFrame(PARSE_ERROR, "Parse error: a line is one JSON object in UTF-8.") from None
    if not is_object(message):
        raise BadFrame(INVALID_REQUEST, "Invalid Request: a line is one JSON object; batches are not served.")
    request_id = message.get("id")
    named = isinstance(message.get("method"), str)
    if not named and ("result" in message or "error" in message):
        return None
    if "id" in message and (isinstance(request_id, bool) or not isinstance(request_id, str | int)):
        raise BadFrame(INVALID_REQUEST, "Invalid Request: id must be a string or an integer.")
    if named and message.get("jsonrpc") == "2.0" and isinstance(message.get("params"), dict | None):
        return message
    if named and "id" not in message:
        return None
    raise BadFrame(INVALID_REQUEST, "Invalid Request: jsonrpc, method or params is missing or wrong.", request_id)


def is_object(value: Any) -> TypeGuard[dict[str, Any]]:
    return isinstance(value, dict)


def encode(message: Mapping[str, Any]) -> bytes:
    """One line of compact JSON, without its newline."""
    try:
        return json.dumps(message, separators=(",", ":"), ensure_ascii=False).encode()
    except UnicodeEncodeError:  # a lone surrogate can be escaped, but not encoded
        return json.dumps(message, separators=(",", ":")).encode()
