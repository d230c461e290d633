"""What needs a person, and what goes on."""

from wvo_mcp.faces.http.pages.deciding import in_full
from wvo_mcp.faces.http.pages.page import Data, Page, Visit

_IN_FULL = 5


async def _overview(visit: Visit) -> Data:
    """The result of `attention`, and in `shown` those of `approval_show`."""
    seen = await visit.ask("attention", limit=visit.number("limit", 20, 100))
    asked = [one["approval"] for one in seen["needs"] if one.get("approval")]
    return {**seen, "shown": await in_full(visit, asked, _IN_FULL)}


OVERVIEW = Page("/", "overview.html", "Overview", _overview, nav="Overview", query=frozenset({"limit"}))
