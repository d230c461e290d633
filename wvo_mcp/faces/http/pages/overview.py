"""What needs a person, and what goes on."""

from contextlib import suppress

from wvo_mcp.errors import WvoError
from wvo_mcp.faces.http.pages.deciding import in_full
from wvo_mcp.faces.http.pages.page import Data, Page, Visit

_IN_FULL = 5


async def _overview(visit: Visit) -> Data:
    """The result of `attention`, its entries with those of `merge_show`, and in `shown` those of `approval_show`."""
    skip = visit.number("skip", 0, 10_000) or None
    seen = await visit.ask("attention", limit=visit.number("limit", 20, 100), skip=skip)
    asked = [one["approval"] for one in seen["needs"] if one.get("approval")]
    entries = [one["entry"] for one in seen["needs"] if one.get("entry")]
    for entry in entries[:_IN_FULL]:
        with suppress(WvoError):  # the need itself is shown all the same
            entry["shown"] = await visit.ask("merge_show", entry_id=entry["entry_id"])
    return {**seen, "shown": await in_full(visit, asked, _IN_FULL)}


OVERVIEW = Page("/", "overview.html", "Overview", _overview, nav="Overview", query=frozenset({"limit", "skip"}))
