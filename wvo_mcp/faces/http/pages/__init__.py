"""The pages, in the order of the navigation."""

from collections.abc import Sequence

from wvo_mcp.faces.http.pages.deciding import ALERTS, APPROVALS
from wvo_mcp.faces.http.pages.events import EVENTS
from wvo_mcp.faces.http.pages.overview import OVERVIEW
from wvo_mcp.faces.http.pages.page import Page
from wvo_mcp.faces.http.pages.reviews import REVIEW, REVIEWS
from wvo_mcp.faces.http.pages.task import FILES, TASK
from wvo_mcp.faces.http.pages.workers import RECOVERIES, WORKER, WORKERS

PAGES: Sequence[Page] = (
    OVERVIEW,
    TASK,
    FILES,
    WORKERS,
    WORKER,
    RECOVERIES,
    REVIEWS,
    REVIEW,
    APPROVALS,
    ALERTS,
    EVENTS,
)

__all__ = ["PAGES", "Page"]
