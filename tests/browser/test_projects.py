"""The page that names the projects of one server, as a person sees it."""

from collections.abc import Iterator

import httpx2
import pytest

from tests.browser.conftest import Opened, violations
from tests.support.serving import Served

pytestmark = [pytest.mark.sqlite, pytest.mark.requirement("CORE-15")]


@pytest.fixture(scope="module")
def several(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    tmp_path = tmp_path_factory.mktemp("several")
    roots = {name: tmp_path / name for name in ("shop", "billing")}
    for root in roots.values():
        root.mkdir()
    with Served(tmp_path / "home", projects=roots) as server:
        tasks = [{"id": f"S{number}", "title": f"Part {number}"} for number in range(3)]
        made = httpx2.post(f"{server.base}/p/shop/api/create_tasks", json={"tasks": tasks})
        assert made.status_code == 200
        note = {"to": "person", "body": "May the old basket go?", "kind": "question"}
        assert httpx2.post(f"{server.base}/p/shop/api/message_send", json=note).status_code == 200
        yield server


@pytest.mark.parametrize(("size", "dark"), [("wide", False), ("phone", True)])
def test_the_projects_are_read_without_sideways_scrolling(
    several: Served, opened: Opened, size: str, dark: bool
) -> None:
    page = opened(several.base, size=size, dark=dark)
    assert page.locator("h2").all_inner_texts() == ["shop", "billing"]
    assert page.get_by_text("1 needs you").is_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= page.viewport_size["width"]  # type: ignore[index]
    assert violations(page) == []


def test_without_scripts_a_project_is_reached_and_its_pages_follow(several: Served, opened: Opened) -> None:
    page = opened(several.base, script=False)
    page.get_by_role("heading", name="shop").get_by_role("link").click()
    page.wait_for_url(f"{several.base}/p/shop/")
    page.get_by_role("link", name="Events", exact=True).click()
    page.wait_for_url(f"{several.base}/p/shop/events")
    page.get_by_text("S1").first.wait_for()


def test_a_page_of_a_project_is_live(several: Served, opened: Opened) -> None:
    page = opened(f"{several.base}/p/shop/events")
    more = {"tasks": [{"id": "NEW", "title": "Another"}]}
    assert httpx2.post(f"{several.base}/p/shop/api/create_tasks", json=more).status_code == 200
    page.get_by_text("NEW").first.wait_for()
