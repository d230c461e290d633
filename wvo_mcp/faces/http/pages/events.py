"""The audit trail as a page: newest first, by task and kind."""

from wvo_mcp.faces.http.pages.page import Data, Page, Visit

_PAGE = 50
KINDS = (
    "task.created", "task.updated", "task.claimed", "task.checkpoint", "task.submitted", "task.completed", "task.returned",
    "task.failed", "task.failed_attempt", "task.blocked", "task.unblocked", "task.released", "task.cancelled", "task.reopened",
    "lease.expired", "merge.queued", "merge.parked", "merge.landed", "merge.reverted", "worker.stop_asked",
)  # fmt: skip
"""What people look for most; any other can be typed."""


async def _events(visit: Visit) -> Data:
    """{events: newest first, older: give it as `before`, or null, kinds: those that are offered}. By task and by kind an index
    finds them; by agent none does, so that is no filter."""
    found = await visit.ask(
        "events",
        task_id=visit.filter("task_id"),
        kind=visit.filter("kind"),
        before=visit.filter("before"),
        limit=_PAGE,
        last=True,
    )
    events = found["events"][::-1]
    return {"events": events, "older": found.get("older"), "kinds": KINDS}


EVENTS = Page("/events", "events.html", "Events", _events, nav="Events", query=frozenset({"task_id", "kind", "before"}))
