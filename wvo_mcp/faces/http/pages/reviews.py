"""Reviews: who is asked what, what was said, and what followed."""

from wvo_mcp.faces.http.pages.page import Data, Page, Visit

_PAGE = 50


async def _reviews(visit: Visit) -> Data:
    if (task_id := visit.filter("task_id")) is not None:
        return await visit.ask("review_status", task_id=task_id)
    return await visit.ask("reviews", limit=_PAGE, cursor=visit.filter("cursor"))


async def _review(visit: Visit) -> Data:
    """{review, title, text, why: of its task}"""
    found = await visit.ask("review_file", review_id=visit.path["review_id"])
    return {**found, "why": await visit.ask("why", task_id=found["review"]["task_id"])}


REVIEWS = Page("/reviews", "reviews.html", "Reviews", _reviews, nav="Reviews", query=frozenset({"task_id", "cursor"}))
REVIEW = Page("/reviews/{review_id}", "review.html", "Review", _review)
