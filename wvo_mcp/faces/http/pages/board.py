"""All tasks: by status, by epic, by milestone; one column page by page."""

from wvo_mcp.faces.http.pages.page import Data, Page, Visit

_FILTERS = ("view", "status", "epic_id", "milestone_id", "label", "agent_id", "query", "cursor")


async def _board(visit: Visit) -> Data:
    return await visit.ask("board", **{name: visit.filter(name) for name in _FILTERS})


BOARD = Page("/tasks", "board.html", "Tasks", _board, nav="Tasks", query=frozenset(_FILTERS))
