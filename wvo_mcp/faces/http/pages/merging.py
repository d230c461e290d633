"""The merge lane, and one entry of it."""

from wvo_mcp.faces.http.pages.page import Data, Page, Visit


async def _lane(visit: Visit) -> Data:
    return await visit.ask("merge_queue", ended=visit.number("ended", 10, 100), cursor=visit.filter("cursor"))


async def _entry(visit: Visit) -> Data:
    return await visit.ask("merge_show", entry_id=visit.path["entry_id"])


MERGE = Page("/merge", "merge.html", "Merge lane", _lane, nav="Merge", query=frozenset({"ended", "cursor"}))
ENTRY = Page("/merge/{entry_id}", "merge_entry.html", "merge entry", _entry)
