"""Results and errors as HTTP has them."""

from collections.abc import Mapping
from typing import Any

from starlette.responses import Response

from wvo_mcp.errors import WvoError
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
_PARTICULAR = {"TooLarge": 413, "TooSlow": 408, "WrongMethod": 405, "WrongMedia": 415}
"""Where HTTP has a word for what to us is a wrong input."""


def shown(value: Mapping[str, Any], status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    text = compact(value).encode(errors="backslashreplace")
    return Response(text, status, {**(headers or {}), "cache-control": "no-store"}, "application/json")


def answer(error: WvoError) -> Response:
    """{"error": {code, message, retryable, hint, details}}, as every face shows it."""
    status = _PARTICULAR.get(type(error).__name__) or STATUS.get(error.code, 500)
    headers: dict[str, str] = {}
    if status == 503:
        headers["retry-after"] = "1"
    if status == 405:
        headers["allow"] = str(error.details.get("allowed", ""))
    if status in (408, 413):
        headers["connection"] = "close"  # the rest of it is not read
    return shown({"error": payload(error)}, status, headers)
