"""What a tool call answers (contract, section 7): all of it in either half, for clients show the model only one.

A `CallToolResult` in its wire form: the SDK checks it once more anyway, and building the model costs a fifth of a call.
"""

from typing import Any

from pydantic_core import to_json

from wvo_mcp.errors import WvoError
from wvo_mcp.operations.results import payload


def success(result: dict[str, Any]) -> dict[str, Any]:
    return _answer(to_json(result).decode(), result, is_error=False)


def failure(error: WvoError) -> dict[str, Any]:
    """`CODE: message Hint: hint` for the clients that show text, the whole error for those that show the structure."""
    shown = payload(error)
    text = f"{shown['code']}: {shown['message']} Hint: {shown['hint']}"
    return _answer(text, {"error": shown}, is_error=True)


def _answer(text: str, structure: dict[str, Any], *, is_error: bool) -> dict[str, Any]:
    content = [{"type": "text", "text": text}]
    # The older protocols know no resultType; the SDK leaves it out of their answers.
    return {"resultType": "complete", "content": content, "structuredContent": structure, "isError": is_error}
