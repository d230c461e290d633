"""What a tool call answers (contract, section 7): all of it in either half, for clients show the model only one.

A `CallToolResult` in its wire form: the SDK checks it once more anyway, and building the model costs a fifth of a call.
"""

import logging
import secrets
from typing import Any, cast

from pydantic_core import to_json

from wvo_mcp.errors import Internal, WvoError
from wvo_mcp.operations.results import MAX_CHARACTERS, compact

MESSAGE_CHARACTERS = 2_500
DETAIL_CHARACTERS = 500
DETAIL_ENTRIES = 50
"""An error may quote what it refuses, and that may be a megabyte."""
_ROOM = 100
"""For what is wrapped around an error."""

_log = logging.getLogger(__name__)


def success(result: dict[str, Any]) -> dict[str, Any]:
    return _answer(to_json(result).decode(), result, is_error=False)


def failure(error: WvoError) -> dict[str, Any]:
    """`CODE: message Hint: hint` for the clients that show text, the whole error for those that show the structure."""
    shown = payload(error)
    text = f"{shown['code']}: {shown['message']} Hint: {shown['hint']}"
    return _answer(text, {"error": shown}, is_error=True)


def payload(error: WvoError) -> dict[str, Any]:
    """{code, message, retryable, hint, details}, at most 20,000 characters as compact JSON."""
    shown = error.payload()
    shown["message"] = _cut(shown["message"], MESSAGE_CHARACTERS)
    shown["details"] = _few(shown["details"])
    for kinds in ((dict, list), (object,)):  # the largest first
        if len(compact(shown)) > MAX_CHARACTERS - _ROOM:
            shown["details"] = {name: part for name, part in shown["details"].items() if not isinstance(part, kinds)}
    return shown


def defect(tool: str, error: Exception) -> WvoError:
    """What is shown instead of an error that nobody foresaw; the log has it in full under the same reference."""
    ref = secrets.token_hex(4)
    _log.error("%s met a defect, ref %s", tool, ref, exc_info=error)
    return Internal(ref)


def _answer(text: str, structure: dict[str, Any], *, is_error: bool) -> dict[str, Any]:
    content = [{"type": "text", "text": text}]
    # The older protocols know no resultType; the SDK leaves it out of their answers.
    return {"resultType": "complete", "content": content, "structuredContent": structure, "isError": is_error}


def _few(value: Any) -> Any:
    """The same, with its texts cut, and its lists and objects after 50 entries."""
    if isinstance(value, str):
        return _cut(value, DETAIL_CHARACTERS)
    if isinstance(value, list):
        return [_few(part) for part in cast("list[Any]", value)[:DETAIL_ENTRIES]]
    if isinstance(value, dict):
        entries = list(cast("dict[str, Any]", value).items())[:DETAIL_ENTRIES]
        return {_cut(name, DETAIL_CHARACTERS): _few(part) for name, part in entries}
    return value


def _cut(text: str, most: int) -> str:
    shown = text if len(text) <= most else text[:most] + " [...]"
    # A quoted lone surrogate would make the whole answer impossible to send.
    return shown.encode(errors="backslashreplace").decode()
