"""What people do on pages, by mouse and by keyboard, alone and two at once, and on a page that is older than the state."""

import pytest
from playwright.sync_api import Locator, expect
from playwright.sync_api import Page as Tab

from tests.browser import hands
from tests.browser.conftest import Opened, Shop

pytestmark = [pytest.mark.requirement("DASH-1", "DASH-2", "DASH-3")]

_MARK = "document.body.dataset.before = 'yes'"
_SAME = "document.body.dataset.before === 'yes'"


def _live(tab: Tab) -> Tab:
    """Marked, so that a reload would be seen."""
    tab.get_by_text("live", exact=True).wait_for()
    tab.evaluate(_MARK)
    return tab


def _control(within: Tab | Locator, operation: str) -> Locator:
    return within.locator(f'form[action="/do/{operation}"]').first


def _row(tab: Tab, shop: Shop, task_id: str) -> Locator:
    return tab.locator(f"#approval-{shop.filled.approvals[task_id]}")


def _confirmed(tab: Tab) -> None:
    tab.locator("#ask").get_by_role("button", name="Do it").click()


def test_a_person_approves_denies_and_answers_without_a_reload(shop: Shop, opened: Opened) -> None:
    tab = _live(opened(shop.at("/approvals"), who=shop.signed_in("ann")))
    approved, denied, answered = (_row(tab, shop, name) for name in ("ASK-1", "ASK-2", "WONDERS"))

    _control(approved, "approve").get_by_role("button").click()
    assert "It cannot be undone: run" in tab.locator("#ask-text").inner_text()
    _confirmed(tab)
    approved.wait_for(state="detached")
    _control(denied, "deny").get_by_label("Reason").fill("not today")
    _control(denied, "deny").get_by_role("button").click()
    denied.wait_for(state="detached")
    _control(answered, "answer").get_by_label("Answer").fill("the first of them")
    _control(answered, "answer").get_by_role("button").click()
    answered.wait_for(state="detached")

    assert tab.evaluate(_SAME)
    tab.goto(shop.at("/approvals?state=all"))
    for row, said in ((approved, "approved by ann"), (denied, "not today"), (answered, "the first of them")):
        assert said in row.inner_text()


def test_a_person_pauses_by_a_dialog_and_resumes(shop: Shop, opened: Opened) -> None:
    tab = _live(opened(shop.at("/"), who=shop.signed_in("ann")))

    tab.get_by_role("button", name="Pause now").click()
    tab.locator("#ask").get_by_role("button", name="Go back").click()
    tab.locator("#ask").wait_for(state="hidden")
    tab.get_by_role("button", name="Pause now").click()
    _confirmed(tab)
    tab.get_by_role("button", name="Resume").click()
    tab.get_by_role("button", name="Pause now").wait_for()

    assert tab.evaluate(_SAME)
    told = [one for one in shop.events() if one[1] in ("work.paused", "work.resumed")]
    assert len(told) == 2, shop.events()[-6:]


def test_a_list_is_gone_through_and_decided_by_keys(shop: Shop, opened: Opened) -> None:
    tab = _live(opened(shop.at("/approvals"), who=shop.signed_in("ann")))
    rows = tab.locator("main [data-row]")
    focused = tab.locator("main [data-row]:focus")

    tab.keyboard.press("j")
    assert focused.get_attribute("id") == rows.nth(0).get_attribute("id")
    tab.keyboard.press("j")
    assert focused.get_attribute("id") == rows.nth(1).get_attribute("id")
    tab.keyboard.press("k")
    assert focused.get_attribute("id") == rows.nth(0).get_attribute("id")
    tab.keyboard.press("?")
    tab.locator("#keys").wait_for(state="visible")
    tab.keyboard.press("Escape")
    tab.locator("#keys").wait_for(state="hidden")

    row = _row(tab, shop, "ASK-3")
    row.evaluate("(one) => { one.tabIndex = -1; one.focus(); }")
    tab.keyboard.press("a")
    _confirmed(tab)
    row.wait_for(state="detached")
    row = _row(tab, shop, "ASK-4")
    row.evaluate("(one) => { one.tabIndex = -1; one.focus(); }")
    tab.keyboard.press("d")  # a reason is required, so the field gets the focus instead of a denial
    reason = _control(row, "deny").get_by_label("Reason")
    assert reason.evaluate("(one) => one === document.activeElement")
    tab.keyboard.type("jdka?")
    tab.keyboard.press("Enter")
    row.wait_for(state="detached")

    tab.goto(shop.at("/tasks"))
    tab.keyboard.press("/")
    assert tab.evaluate("document.activeElement.name") == "query"


def test_enter_opens_what_a_row_is_about(shop: Shop, opened: Opened) -> None:
    """Not the filter by its kind; and where it is about nothing that has a page, what it says is unfolded."""
    tab = opened(shop.at("/events?task_id=HELD"), who=shop.signed_in("ann"), stale=True)
    tab.keyboard.press("j")
    tab.keyboard.press("Enter")
    tab.wait_for_url("**/tasks/HELD")

    event = tab.locator("#live_events [data-row]").first
    event.evaluate("(one) => { one.tabIndex = -1; one.focus(); }")
    tab.keyboard.press("Enter")
    assert event.locator("details").get_attribute("open") is not None
    assert tab.url.endswith("/tasks/HELD")


def test_no_key_stops_a_worker(shop: Shop, opened: Opened) -> None:
    """The list of keys says that d denies."""
    tab = opened(shop.at("/"), who=shop.signed_in("ann"), stale=True)
    row = tab.locator("#run-w-1")
    row.get_by_role("button", name="Stop this worker").wait_for()
    row.evaluate("(one) => { one.tabIndex = -1; one.focus(); }")
    for key in "adjk":
        tab.keyboard.press(key)
        assert not tab.locator("#ask").is_visible(), key


def test_the_slider_goes_through_the_checkpoints_by_keys(shop: Shop, opened: Opened) -> None:
    """One after the other: the page that a key leads to has the focus where the next key is pressed."""
    tab = opened(shop.at("/tasks/HELD/files?checkpoint=now"), who=shop.signed_in("ann"))
    slider = tab.get_by_role("slider", name="Checkpoint")
    hands.reach(tab, slider)
    for number in (2, 1):
        tab.keyboard.press("ArrowLeft")
        tab.wait_for_url(f"**/files?checkpoint={number}")
        tab.get_by_role("heading", name=f"Checkpoint {number}").wait_for()
        expect(slider).to_be_focused()
        assert tab.locator(".slider output").inner_text().startswith(f"{number} ")
        assert f"+{number - 1} <img" in tab.locator(".diff").inner_text()


@pytest.mark.parametrize("address", ["/", "/tasks/HELD"])
def test_tab_reaches_every_control_and_shows_where_it_is(shop: Shop, opened: Opened, address: str) -> None:
    tab = opened(shop.at(address), who=shop.signed_in("ann"), stale=True)
    wanted = tab.evaluate(
        "[...document.querySelectorAll('a, button, input:not([type=hidden]), select, textarea, summary')]"
        ".filter((one) => one.checkVisibility()).map((one, at) => { one.dataset.at = at; return at; })"
    )
    reached: set[int] = set()
    for _ in range(len(wanted) + 30):
        tab.keyboard.press("Tab")
        at, shown = tab.evaluate(
            "(() => { const one = document.activeElement, look = getComputedStyle(one);"
            " return [one.dataset.at, look.outlineStyle !== 'none' && look.outlineWidth !== '0px']; })()"
        )
        if at is not None:
            assert shown, f"the focus is not seen on {tab.evaluate('document.activeElement.outerHTML')}"
            reached.add(int(at))
        if len(reached) == len(wanted):
            break

    missing = set(wanted) - reached
    assert missing == set(), [tab.locator(f"[data-at='{at}']").evaluate("one => one.outerHTML") for at in missing]


def test_of_two_who_decide_at_once_one_wins_and_the_other_is_told_who(shop: Shop, opened: Opened) -> None:
    tabs = {
        name: opened(shop.at("/approvals"), who=shop.signed_in(name, "operator"), stale=True) for name in ("bo", "cy")
    }
    for tab in tabs.values():
        _control(_row(tab, shop, "ASK-5"), "approve").evaluate("(form) => form.requestSubmit()")
    for tab in tabs.values():
        _confirmed(tab)
    said = {}
    for name, tab in tabs.items():
        tab.locator("#said p").wait_for()
        said[name] = tab.locator("#said").inner_text()

    winner = next(name for name in said if "Done" in said[name])
    (loser,) = set(said) - {winner}
    assert "Nothing was done" in said[loser]
    assert f"by {winner}" in said[loser]


def test_a_page_that_is_older_than_the_state_acts_on_nothing(shop: Shop, opened: Opened) -> None:
    tab = opened(shop.at("/tasks/FAILS-3"), who=shop.signed_in("ann"), stale=True)
    shop.server.command("update-task", "FAILS-3", "--priority", "critical")

    tab.get_by_role("button", name="Retry", exact=True).click()

    tab.locator("#said .problem", has_text="has changed since this page was read").wait_for()
    assert shop.status("FAILS-3") == "failed"
    tab.goto(shop.at("/tasks/FAILS-3"))
    tab.get_by_role("button", name="Retry", exact=True).click()
    tab.locator("#said .done").wait_for()
    assert shop.status("FAILS-3") == "pending"
