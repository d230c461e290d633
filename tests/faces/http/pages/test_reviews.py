"""The pages of reviews: who is asked what, what was said, what followed, and what was shown word for word."""

import pytest

from tests.operations.test_reviews import BOB, DOUBT, Office
from tests.support.web import controls, operations, visited
from tests.support.yard import Yard
from wvo_mcp.domain.lease import Role
from wvo_mcp.domain.rules import Review, Rules

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("DASH-1", "DASH-2", "REV-2")]


@pytest.fixture
async def office(yard: Yard) -> Office:
    yard.rules.rules = Rules(review=Review.REQUIRED)
    return await Office(yard).opened(title="Price rules")


async def test_without_reviews_the_page_says_how_to_ask_for_one(office: Office) -> None:
    async with visited(office.yard.services) as visitor:
        html = await visitor.page("/reviews")
    async with visited(office.yard.services, Role.VIEWER) as viewer:
        assert operations(await viewer.page("/reviews")) == []

    assert "wvo-mcp review TASK" in html
    assert controls(html) == ["Review now"]


async def test_a_review_opens_what_was_shown_and_answered(office: Office) -> None:
    await office.complete()

    async with visited(office.yard.services) as visitor:
        asked = await visitor.page("/reviews/R-1")
        await office.review(DOUBT, BOB)
        listed, one = await visitor.page("/reviews"), await visitor.page("/reviews/R-1")
        missing = await visitor.get("/reviews/R-9")

    assert ("Not on this host" in asked, controls(asked)) == (True, ["Pass it", "Stop it"])
    for html in (listed, one):
        assert "One case is missing." in html
        assert "Empty input fails." in html
    assert "Criterion 1: Empty input works" in one
    assert 'href="/reviews/R-1"' in listed
    assert missing.status_code == 404


async def test_a_person_asks_for_a_review_and_judges_in_place_of_the_reviewers(office: Office) -> None:
    await office.complete()

    async with visited(office.yard.services) as visitor:
        asked = await visitor.do("review", task_id="T1", question="Is it fast?")
        passed = await visitor.do("review", task_id="T1", passed="I tried it", back="/reviews/R-1")
        html = await visitor.page("/reviews?task_id=T1")

    assert (asked.status_code, passed.status_code) == (303, 303)
    assert ("pat passed it: I tried it" in html, "Is it fast?" in html) == (True, True)
