"""What every page keeps to, whichever it is."""

import re

import pytest

from tests.support.bench import Bench, a_task
from tests.support.web import ADMIN, CSRF, OPERATOR, PRINCIPALS, READER, visiting
from wvo_mcp.domain.access import Principal
from wvo_mcp.faces.http.pages import PAGES, Page

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("DASH-1", "DASH-2")]

PLAIN = [page for page in PAGES if "{" not in page.address]
HOSTILE = '<script>alert(1)</script>\x1b[31m\u202e\' onload="x" @@csrf@@ <!--/row-->'


@pytest.mark.parametrize("principal", PRINCIPALS, ids=lambda one: one.name)
@pytest.mark.parametrize("page", PLAIN, ids=lambda page: page.address)
async def test_each_page_reads_without_a_script_on_an_empty_store(
    bench: Bench, page: Page, principal: Principal
) -> None:
    async with visiting(bench, principal) as client:
        html = await client.get(page.address)
        data = await client.get("/index.json" if page.address == "/" else f"{page.address}.json")

    assert html.status_code == 200, html.text
    assert html.headers["content-type"].startswith("text/html")
    assert f"<h1>{page.title}</h1>" in re.sub(r"\s*\n\s*", "", html.text)
    assert "@@" not in html.text
    assert data.status_code == 200
    assert isinstance(data.json(), dict)


async def test_nothing_of_a_page_is_loaded_from_elsewhere_or_stands_inline(bench: Bench) -> None:
    async with visiting(bench, ADMIN) as client:
        for page in PLAIN:
            text = (await client.get(page.address)).text
            loaded = re.findall(r'(?:src|href|action|hx-post)="([^"]*)"', text)
            assert loaded
            assert all(one.startswith(("/", "#")) and not one.startswith("//") for one in loaded), loaded
            assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\sstyle=|\son\w+=", text)
            for one in {one for one in loaded if one.startswith("/static/")}:
                got = await client.get(one)
                assert got.status_code == 200
                assert "immutable" in got.headers["cache-control"]


async def test_what_agents_wrote_is_shown_and_cannot_act(bench: Bench) -> None:
    await bench.create(a_task("T1", title=HOSTILE, description=HOSTILE))
    await bench.claim(task_id="T1")
    await bench.call("block_task", task_id="T1", reason=HOSTILE)
    async with visiting(bench, ADMIN) as client:
        for page in PLAIN:
            text = (await client.get(page.address)).text
            assert "<script>alert" not in text
            assert "\x1b" not in text and "\u202e" not in text
            assert ' onload="x"' not in text


async def test_a_filter_that_a_page_does_not_have_is_named(bench: Bench) -> None:
    async with visiting(bench) as client:
        html = await client.get("/alerts?colour=red", headers={"accept": "text/html"})
        data = await client.get("/alerts.json?colour=red")

    assert (html.status_code, data.status_code) == (400, 400)
    assert "colour" in html.text
    assert data.json()["error"]["details"]["field"] == "colour"


async def test_what_is_not_there_is_a_page_to_people_and_json_to_programs(bench: Bench) -> None:
    async with visiting(bench) as client:
        for path in (
            "/nothing",
            "/static/../site.py",
            "/static/%2e%2e/%2e%2e/guard.py",
            "/static/vendor/",
            "/tasks/../x/y",
        ):
            html = await client.get(path, headers={"accept": "text/html"})
            data = await client.get(path)
            assert (html.status_code, data.status_code) == (404, 404), path
            assert "<h1>" in html.text
            assert data.json()["error"]["code"] == "not_found"


async def test_controls_are_offered_to_those_who_may_use_them(bench: Bench) -> None:
    await bench.create(a_task("T1", requires_approval=True))

    async with visiting(bench, READER) as client:
        assert "/do/approve" not in (await client.get("/approvals")).text
    async with visiting(bench, OPERATOR) as client:
        shown = (await client.get("/approvals")).text
    assert "/do/approve" in shown
    assert f'name="csrf" value="{CSRF}"' in shown
