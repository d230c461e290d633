"""What a tool call answers (contract, section 7): all of it in either half, for clients show the model only one."""

import logging
import secrets
from typing import Any

import mcp_types as types

from wvo_mcp.errors import Internal, WvoError
from wvo_mcp.operations.results import compact, fit

MESSAGE_CHARACTERS = 4_000
"""An error may quote what it refuses, and that may be a megabyte."""

_log = logging.getLogger(__name__)


def success(result: dict[str, Any]) -> types.CallToolResult:
    return types.CallToolResult(content=[types.TextContent(text=compact(result))], structured_content=result)


def failure(error: WvoError) -> types.CallToolResult:
    """`CODE: message Hint: hint` for the clients that show text, the whole error for those that show the structure."""
    shown = payload(error)
    text = f"{shown['code']}: {shown['message']} Hint: {shown['hint']}"
    return types.CallToolResult(
        content=[types.TextContent(text=text)], structured_content=fit({"error": shown}), is_error=True
    )


def payload(error: WvoError) -> dict[str, Any]:
    """{code, message, retryable, hint, details} with a message that is at most 4,000 characters long."""
    shown = error.payload()
    shown["message"] = _cut(_encodable(shown["message"]))
    return shown


def defect(tool: str, error: Exception) -> WvoError:
    """What is shown instead of an error that nobody foresaw; the log has it in full under the same reference."""
    ref = secrets.token_hex(4)
    _log.error("%s met a defect, ref %s", tool, ref, exc_info=error)
    return Internal(ref)


def _cut(text: str) -> str:
    return text if len(text) <= MESSAGE_CHARACTERS else text[:MESSAGE_CHARACTERS] + " [...]"


def _encodable(text: str) -> str:
    # A quoted lone surrogate would make the whole answer impossible to send.
    return text.encode(errors="backslashreplace").decode()
