"""Errors as every face shows them: small enough to send, and a reference instead of an unexpected exception."""

import logging
import secrets
from typing import Any, cast

from wvo_mcp.domain.redaction import redact, redacted
from wvo_mcp.errors import Internal, WvoError
from wvo_mcp.operations.results import MAX_CHARACTERS, compact

MESSAGE_CHARACTERS = 2_500
DETAIL_CHARACTERS = 500
DETAIL_ENTRIES = 50
"""An error may quote what it refuses, and that may be a megabyte."""
_LONGEST_KEY = 4_000
_ROOM = 100
"""For what is wrapped around an error."""

_log = logging.getLogger(__name__)


def payload(error: WvoError) -> dict[str, Any]:
    """{code, message, retryable, hint, details}, at most 20,000 characters as compact JSON, without secrets that it quotes."""
    shown = error.payload()
    shown["message"] = _cut(shown["message"], MESSAGE_CHARACTERS)
    shown["details"] = redacted(_few(shown["details"]))
    for kinds in ((dict, list), (object,)):  # the largest first
        if len(compact(shown)) > MAX_CHARACTERS - _ROOM:
            shown["details"] = {name: part for name, part in shown["details"].items() if not isinstance(part, kinds)}
    return shown


def defect(tool: str, error: Exception) -> WvoError:
    """What is shown instead of an unexpected exception; the log has it in full under the same reference."""
    ref = secrets.token_hex(4)
    _log.error("%s met a defect, ref %s", tool, ref, exc_info=error)
    return Internal(ref)


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
    # What is cut is cut from the redacted text: half a key looks like nothing.
    shown = redact(text[: most + _LONGEST_KEY])
    if len(shown) > most or len(text) > most + _LONGEST_KEY:
        shown = shown[:most] + " [...]"
    # A quoted lone surrogate would make the whole answer impossible to send.
    return shown.encode(errors="backslashreplace").decode()
