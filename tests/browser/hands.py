"""How a person works a control: with the mouse alone, or without it."""

from collections.abc import Mapping

from playwright.sync_api import Locator
from playwright.sync_api import Page as Tab

_MOST_STEPS = 60
_ON = "(one) => one === document.activeElement"
_BESIDE = """
(one) => {
  const near = one.closest("[data-row], section") ?? document.querySelector("main");
  near.tabIndex = -1;
  near.focus();
}
"""


def reach(tab: Tab, wanted: Locator) -> None:
    """By Tab, from the row or the section that it is in: that all of a page is reached from its beginning is tested once."""
    wanted.evaluate(_BESIDE)
    for _ in range(_MOST_STEPS):
        tab.keyboard.press("Tab")
        if wanted.evaluate(_ON):
            return
    raise AssertionError(f"Tab does not reach {wanted.evaluate('(one) => one.outerHTML')[:300]}")


def press(tab: Tab, wanted: Locator, *, keys: bool) -> None:
    if not keys:
        wanted.click()
        return
    reach(tab, wanted)
    tab.keyboard.press("Enter")


def fill(tab: Tab, form: Locator, fields: Mapping[str, str], *, keys: bool) -> None:
    for label, text in fields.items():
        field = form.get_by_label(label)
        chosen = field.evaluate("(one) => one.localName === 'select'")
        if keys:
            reach(tab, field)
            tab.keyboard.type(text)
        elif chosen:
            field.select_option(text)
        else:
            field.fill(text)


def confirm(tab: Tab, *, keys: bool) -> None:
    """In the dialog, which begins on its safe button."""
    yes = tab.locator("#ask").get_by_role("button", name="Do it")
    yes.wait_for()
    if not keys:
        yes.click()
        return
    assert not yes.evaluate(_ON), "Enter alone would do what cannot be undone"
    for _ in range(3):
        tab.keyboard.press("Tab")
        if yes.evaluate(_ON):
            tab.keyboard.press("Enter")
            return
    raise AssertionError("Tab does not reach the dialog's button")
