"""The pages, in the order of the navigation."""

from collections.abc import Sequence

from wvo_mcp.faces.http.pages.board import BOARD
from wvo_mcp.faces.http.pages.deciding import ALERTS, APPROVALS
from wvo_mcp.faces.http.pages.events import EVENTS
from wvo_mcp.faces.http.pages.merging import ENTRY, MERGE
from wvo_mcp.faces.http.pages.overview import OVERVIEW
from wvo_mcp.faces.http.pages.page import Page
from wvo_mcp.faces.http.pages.plan import FORECAST, GRAPH, PLAN
from wvo_mcp.faces.http.pages.providers import PROVIDERS

PAGES: Sequence[Page] = (OVERVIEW, BOARD, MERGE, ENTRY, APPROVALS, ALERTS, PROVIDERS, PLAN, GRAPH, FORECAST, EVENTS)

__all__ = ["PAGES", "Page"]
