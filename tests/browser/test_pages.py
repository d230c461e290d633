"""Every page of a full project: for people who see little, have a small screen, use no script; and nothing that agents wrote
acts."""

from itertools import pairwise

import pytest
from playwright.sync_api import Page as Tab

from tests.browser.conftest import Opened, Shop, violations
from tests.browser.full import FILE
from tests.support.scale import FULL
from wvo_mcp.faces.http.pages import PAGES

pytestmark = [pytest.mark.requirement("DASH-1", "DASH-2")]

PATTERNS = [page.address for page in PAGES]
FURTHER = ["/workers/w-1?log=raw", "/tasks/HELD/files?checkpoint=2&since=1", "/tasks?view=epic", "/approvals?state=all"]
LOOKS = [("wide", False), ("phone", True), *([("wide", True), ("phone", False)] if FULL else [])]
WIDTHS = "[document.documentElement.scrollWidth, innerWidth]"


def _addresses(shop: Shop) -> list[str]:
    return [*shop.filled.addresses(PATTERNS), *FURTHER, "/login"]


def _widest(tab: Tab) -> str:
    """What stands out at the side."""
    return tab.evaluate(
        "[...document.querySelectorAll('body *')].filter(e => e.getBoundingClientRect().right > innerWidth + 1)"
        ".slice(0, 5).map(e => e.outerHTML.slice(0, 160)).join(' | ')"
    )


@pytest.mark.timeout(900 if FULL else 300)
@pytest.mark.parametrize(("size", "dark"), LOOKS)
def test_nobody_is_kept_out_and_nothing_stands_out_at_the_side(
    shop: Shop, opened: Opened, size: str, dark: bool
) -> None:
    """What does not depend on colours and sizes is looked at once; with the full size, everything in each look."""
    rules = None if FULL or size == "phone" else ["color-contrast"]
    tab = opened(shop.at("/"), size=size, dark=dark, who=shop.signed_in("ann"), stale=True)
    found: list[str] = []
    for address in _addresses(shop):
        tab.goto(shop.at(address))
        found += [f"{address}: {one}" for one in violations(tab, rules)]
        width, window = tab.evaluate(WIDTHS)
        if width > window:
            found.append(f"{address}: {width} px wide: {_widest(tab)}")

    assert found == []


def test_every_page_reads_without_a_script_and_who_only_reads_has_no_control(shop: Shop, opened: Opened) -> None:
    tab = opened(shop.at("/"), script=False, who=shop.signed_in("vic", "viewer"))
    for address in shop.filled.addresses(PATTERNS):
        answer = tab.goto(shop.at(address))

        assert answer is not None and answer.status == 200, address
        assert tab.locator("main h1").inner_text(), address
        assert tab.locator("main").inner_text().count("\n") > 1, address
        assert tab.locator('form[action^="/do/"]').count() == 0, address


def test_without_a_script_what_cannot_be_undone_is_asked_by_a_page(shop: Shop, opened: Opened) -> None:
    tab = opened(shop.at("/tasks/LOOSE"), script=False, who=shop.signed_in("ann"))
    control = tab.locator('form[action="/do/cancel"]')
    control.get_by_label("Reason").fill("nobody wants it")
    control.get_by_role("button").click()

    tab.get_by_role("heading", name="Cancel?").wait_for()
    assert "nobody wants it" in tab.locator("main").inner_text()
    assert shop.status("LOOSE") == "in_progress"
    tab.get_by_role("button", name="Do it").click()

    tab.get_by_text("Done: cancel").wait_for()
    assert tab.url.startswith(shop.at("/tasks/LOOSE"))
    tab.locator("#live_state .chip.is-cancelled").wait_for()
    assert shop.status("LOOSE") == "cancelled"


def test_a_link_signs_in_once_by_a_button_and_its_person_signs_out(shop: Shop, opened: Opened) -> None:
    link = shop.server.sign_in_link()
    tab = opened(link, script=False)
    tab.get_by_role("button", name="Sign in").click()
    tab.get_by_role("button", name="Sign out").click()
    tab.get_by_role("link", name="Sign in").wait_for()
    assert tab.locator("form.control").count() == 0

    tab.goto(link)
    tab.get_by_role("button", name="Sign in").click()
    tab.get_by_role("alert").wait_for()


def test_what_agents_wrote_is_shown_as_text_and_runs_nowhere(shop: Shop, opened: Opened) -> None:
    """That nothing ran is checked for each tab when it closes."""
    tab = opened(shop.at("/"), who=shop.signed_in("ann"), stale=True)
    for address in _addresses(shop):
        tab.goto(shop.at(address))
        tab.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
        assert tab.locator("main img, main script").count() == 0, address
        assert tab.evaluate("/[\\u001b\\u202e]/.test(document.documentElement.outerHTML)") is False, address
        assert tab.evaluate("'__xss' in window") is False, address

    for address, place in (
        ("/tasks/HELD", "h1"),
        ("/workers/w-1", "#live_log pre"),
        ("/workers/w-1?log=raw", "#live_log pre"),
        ("/tasks/HELD/files", "#live_diff .diff"),
        (f"/merge/{shop.filled.entry}", "#live_diff .diff"),
        ("/approvals", "#approval-" + shop.filled.approvals["ASK-6"]),
        ("/alerts", "#live_alerts"),
    ):
        tab.goto(shop.at(address))
        text = tab.locator(place).inner_text()
        assert "<script>window.__xss=1</script>" in text, address
        assert "\\e[31m" in text or "\\u001b[31m" in text, f"{address}: {text[:300]!r}"
    tab.goto(shop.at("/tasks/HELD/files"))
    assert FILE in tab.locator("#live_diff .diff").inner_text()


def test_the_lines_of_a_diff_follow_each_other_without_a_gap(shop: Shop, opened: Opened) -> None:
    """As they are seen, and as they are read out or copied."""
    tab = opened(shop.at("/tasks/RESTS/files?checkpoint=2"), size="phone", who=shop.signed_in("ann"), stale=True)
    diff = tab.locator(".diff")
    text = diff.inner_text().rstrip("\n").split("\n")
    assert text[-2:] == ["-first", "+second"]
    assert "" not in text
    lines = [line.bounding_box() for line in diff.locator("span").all()]
    steps = [below["y"] - above["y"] for above, below in pairwise(lines) if above and below]
    assert len(steps) == len(text) - 1
    height = diff.evaluate("(one) => parseFloat(getComputedStyle(one).lineHeight)")
    assert steps == pytest.approx([height] * len(steps), abs=0.5)
