"""Pages about what people decide and look after: approvals and alerts."""

from wvo_mcp.faces.http.pages.page import Data, Page, Visit


async def _approvals(visit: Visit) -> Data:
    return await visit.ask("approvals", state=visit.filter("state") or "open", limit=visit.number("limit", 50, 100))


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
    "/approvals", "approvals.html", "Approvals", _approvals, nav="Approvals", query=frozenset({"state", "limit"})
)
ALERTS = Page(
    "/alerts",
    "alerts.html",
    "Alerts",
    _alerts,
    nav="Alerts",
    query=frozenset({"state", "kind", "severity", "cursor", "limit"}),
)
