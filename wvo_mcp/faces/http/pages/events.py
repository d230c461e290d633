"""The audit trail as a page: newest first, by task and kind."""

from wvo_mcp.faces.http.pages.page import Data, Page, Visit

_PAGE = 50


async def _events(visit: Visit) -> Data:
    """{events: newest first, older: give it as `before`, or null}."""
    found = await visit.ask(
        "events",
        task_id=visit.filter("task_id"),
        kind=visit.filter("kind"),
        before=visit.filter("before"),
        limit=_PAGE,
        last=True,
    )
    events = found["events"][::-1]
    return {"events": events, "older": events[-1]["seq"] if len(events) == _PAGE else None}


EVENTS = Page("/events", "events.html", "Events", _events, nav="Events", query=frozenset({"task_id", "kind", "before"}))
