"""Pages about what people decide and look after: approvals and alerts."""

from collections.abc import Sequence
from typing import Any

from wvo_mcp.errors import WvoError
from wvo_mcp.faces.http.pages.page import Data, Page, Visit

_IN_FULL = 10


async def in_full(visit: Visit, approvals: Sequence[Data], most: int = _IN_FULL) -> Data:
    """By approval, of the first that are open: why it is asked, what it would let land, the use of the budget, the whole of a
    long question."""
    wanted = [one["approval_id"] for one in approvals if one["state"] == "pending" and _is_more(one)]
    return {known: await _shown(visit, known) for known in wanted[:most]}


def _is_more(one: Data) -> bool:
    return one["kind"] in ("merge", "budget", "command") or "question" in one or "approval-status" in one["about"]


async def _shown(visit: Visit, approval_id: str) -> Any:
    try:
        return await visit.ask("approval_show", approval_id=approval_id)
    except WvoError as error:  # the approval itself is shown all the same
        return {"problem": error.message}


async def _approvals(visit: Visit) -> Data:
    """The result of `approvals`, and in `shown` those of `approval_show`."""
    found = await visit.ask(
        "approvals",
        state=visit.filter("state") or "open",
        cursor=visit.filter("cursor"),
        limit=visit.number("limit", 50, 100),
    )
    return {**found, "shown": await in_full(visit, found["approvals"])}


async def _alerts(visit: Visit) -> Data:
    return await visit.ask(
        "alerts",
        state=visit.filter("state") or "open",
        kind=visit.filter("kind"),
        severity=visit.filter("severity"),
        cursor=visit.filter("cursor"),
        limit=visit.number("limit", 50, 100),
    )


APPROVALS = Page(
    "/approvals",
    "approvals.html",
    "Approvals",
    _approvals,
    nav="Approvals",
    query=frozenset({"state", "cursor", "limit"}),
)
ALERTS = Page(
    "/alerts",
    "alerts.html",
    "Alerts",
    _alerts,
    nav="Alerts",
    query=frozenset({"state", "kind", "severity", "cursor", "limit"}),
)
