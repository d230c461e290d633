"""The pages, in the order of the navigation."""

from collections.abc import Sequence

from wvo_mcp.faces.http.pages.board import BOARD
from wvo_mcp.faces.http.pages.deciding import ALERTS, APPROVALS
from wvo_mcp.faces.http.pages.events import EVENTS
from wvo_mcp.faces.http.pages.overview import OVERVIEW
from wvo_mcp.faces.http.pages.page import Page

PAGES: Sequence[Page] = (OVERVIEW, BOARD, APPROVALS, ALERTS, EVENTS)

__all__ = ["PAGES", "Page"]
