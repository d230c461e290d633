"""The plan as it is drawn: a graph that is zoomed and unfolded, and plots of what the tables have."""

from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor

import anyio
import pytest
from playwright.sync_api import Page as Tab

from tests.browser import hands
from tests.browser.conftest import Opened, violations
from tests.browser.large import EPICS, fill
from tests.browser.server import PageServer

pytestmark = [pytest.mark.requirement("DASH-1", "DASH-2")]

_PAINTED = """
(canvas) => {
  const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
  const seen = {};
  for (let at = 0; at < data.length; at += 4) {
    if (data[at + 3] > 200) {
      const name = `${data[at]},${data[at + 1]},${data[at + 2]}`;
      seen[name] = (seen[name] ?? 0) + 1;
    }
  }
  return seen;
}
"""
"""How many points of a canvas have which colour."""
_COLOUR = """
(name) => {
  const probe = document.createElement("span");
  probe.style.color = `var(--${name})`;
  document.body.append(probe);
  const found = getComputedStyle(probe).color;
  probe.remove();
  return found.match(/\\d+/g).slice(0, 3).join(",");
}
"""


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Generator[PageServer]:
    folder = tmp_path_factory.mktemp("large")
    root = folder / "large"
    (root / "state").mkdir(parents=True)
    with ThreadPoolExecutor(1) as apart:  # playwright has an event loop in this thread
        apart.submit(anyio.run, fill, root).result()
    server = PageServer(root, folder / "home", options=["--no-run"]).start()
    yield server
    server.stop()


def _view(tab: Tab) -> list[float]:
    """Where it begins, and how much of the graph is seen: x, y, width, height."""
    text = tab.locator("#graph svg").get_attribute("viewBox") or ""
    return [float(number) for number in text.split()]


def _nodes(tab: Tab) -> set[str]:
    return set(tab.locator("#graph a[data-key]").evaluate_all("(all) => all.map((one) => one.dataset.key)"))


def _until(tab: Tab, key: str, there: bool = True) -> None:
    tab.locator(f"#graph a[data-key='{key}']").wait_for(state="attached" if there else "detached")


def test_the_graph_is_zoomed_by_buttons_keys_and_the_wheel(plan: PageServer, opened: Opened) -> None:
    tab = opened(f"{plan.address}/plan?open=E1")
    _until(tab, "E1-7")
    begin = _view(tab)

    for keys in (False, True):
        hands.press(tab, tab.get_by_role("button", name="Zoom in"), keys=keys)
        assert _view(tab)[2] == pytest.approx(begin[2] / 1.3, abs=0.2)
        hands.press(tab, tab.get_by_role("button", name="Zoom out"), keys=keys)
        assert _view(tab) == pytest.approx(begin, abs=0.4)
    tab.get_by_role("button", name="Zoom in").click()
    tab.get_by_role("button", name="Show all").click()
    assert _view(tab) == begin

    hands.reach(tab, tab.locator("#graph svg"))
    for key, changes in (("+", 2), ("ArrowRight", 0), ("ArrowDown", 1)):
        before = _view(tab)
        tab.keyboard.press(key)
        assert _view(tab)[changes] != before[changes], key
    tab.keyboard.press("0")
    assert _view(tab) == begin
    tab.keyboard.press("j")
    assert tab.evaluate("document.activeElement.closest('#graph') !== null")

    tab.locator("#graph").hover()
    tab.mouse.wheel(0, -100)
    tab.wait_for_function(
        "(was) => Number(document.querySelector('#graph svg').getAttribute('viewBox').split(' ')[2]) < was",
        arg=begin[2],
    )


def test_a_large_plan_is_folded_by_epics_and_unfolded_by_mouse_and_by_keys(plan: PageServer, opened: Opened) -> None:
    tab = opened(f"{plan.address}/plan")
    epics = {f"epic:{name}" for name in EPICS}
    _until(tab, "epic:E1")
    assert epics <= _nodes(tab)
    assert not any(key.startswith("E1-") for key in _nodes(tab))

    tab.locator("#graph a[data-key='epic:E1']").click()
    _until(tab, "E1-0")
    assert tab.url.endswith("/plan?open=E1")
    assert {f"E1-{n}" for n in range(EPICS["E1"])} <= _nodes(tab)

    folds = tab.get_by_role("link", name="Fold E1")
    hands.press(tab, folds, keys=True)
    _until(tab, "E1-0", there=False)
    _until(tab, "epic:E1")
    assert tab.url.endswith("/plan")

    node = tab.locator("#graph a[data-key='epic:E1']")
    node.focus()
    tab.keyboard.press("Enter")
    _until(tab, "E1-0")
    tab.go_back()
    _until(tab, "E1-0", there=False)


def test_the_critical_path_is_marked(plan: PageServer, opened: Opened) -> None:
    tab = opened(f"{plan.address}/plan?open=E1")
    _until(tab, "E1-7")
    marked = set(tab.locator("#graph a.node.critical").evaluate_all("(all) => all.map((one) => one.dataset.key)"))
    assert marked == {f"E1-{n}" for n in range(EPICS["E1"])}
    assert tab.locator("#graph .edge.critical").count() == EPICS["E1"] - 1
    widths = [
        float(
            tab.locator(f"#graph a[data-key='{key}'] rect").evaluate(
                "(one) => parseFloat(getComputedStyle(one).strokeWidth)"
            )
        )
        for key in ("E1-0", "epic:E2")
    ]
    assert widths[0] > widths[1]
    assert "critical" in (tab.locator("#graph a[data-key='E1-0'] title").text_content() or "")


@pytest.mark.parametrize(("size", "dark"), [("wide", True), ("phone", False)])
def test_plots_are_drawn_in_the_colours_of_their_legends(
    plan: PageServer, opened: Opened, size: str, dark: bool
) -> None:
    tab = opened(f"{plan.address}/plan?days=2", size=size, dark=dark)
    for unit, series in (("open", ["open"]), ("tasks", ["completed", "added"])):
        box = tab.locator(f"[data-plot][data-unit={unit}]")
        canvas = box.locator("canvas")
        canvas.wait_for()
        assert [text.split()[0] for text in box.locator(".legend span").all_inner_texts()] == series
        painted = canvas.evaluate(_PAINTED)
        for place, name in enumerate(series):
            colour = tab.evaluate(_COLOUR, f"plot-{place + 1}")
            assert painted.get(colour, 0) > 20, f"{name} ({colour}) is not drawn: {painted}"
    _until(tab, "epic:E1")
    assert violations(tab) == []
    assert tab.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_a_forecast_is_made_from_the_page_of_the_plan(plan: PageServer, opened: Opened) -> None:
    tab = opened(f"{plan.address}/plan")
    hands.press(tab, tab.get_by_role("link", name="Make a forecast"), keys=True)
    tab.get_by_role("heading", name="Assumptions").wait_for()
    assert f"{sum(EPICS.values())} open tasks" in tab.locator("main").inner_text()
    assert tab.locator("tbody tr", has_text="E2").locator("time").count() >= 2
