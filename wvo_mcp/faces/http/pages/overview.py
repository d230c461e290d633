"""What needs a person, and what goes on."""

from wvo_mcp.faces.http.pages.page import Data, Page, Visit


async def _overview(visit: Visit) -> Data:
    return await visit.ask("status")


OVERVIEW = Page("/", "overview.html", "Overview", _overview, nav="Overview")
