"""What people see of what happens, as it happens."""

import contextlib
import http.client
import json
import signal
import threading
import time

import pytest
from playwright.sync_api import Page as Tab

from tests.browser.conftest import Opened, Shop
from tests.support.scale import FULL

pytestmark = [pytest.mark.requirement("DASH-1", "DASH-4")]


SETTLED_SECONDS = 60.0
"""How long what takes a second may take on a machine that does much else."""
SEEN_SECONDS = 1.0 if FULL else 10.0
"""How soon each open tab shows what a worker did. The full size is run on a machine that does nothing else."""
RECOVERED_SECONDS = 5.0 if FULL else 60.0
"""How soon all are right again after a restart, its own time included."""
_CLIENTS = 47
_WHEN_SEEN = """
(text) => new Promise((done) => {
  const look = () => document.body.textContent.includes(text) && done(Date.now());
  new MutationObserver(look).observe(document.body, { childList: true, subtree: true, characterData: true });
  look();
})
"""


class Listener(threading.Thread):
    """A client of the events as JSON: when it is cut off it goes on after the last that it has."""

    def __init__(self, port: int, after: int) -> None:
        super().__init__(daemon=True)
        self.port, self.last = port, after
        self.got: list[tuple[int, str]] = []
        self.at: dict[int, float] = {}
        self.news = threading.Condition()
        self._over = threading.Event()
        self.open = threading.Event()

    def run(self) -> None:
        while not self._over.is_set():
            with contextlib.suppress(OSError, http.client.HTTPException):
                self._read()
            self.open.clear()
            self._over.wait(0.1)  # it lets the server start

    def _read(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=SETTLED_SECONDS)
        try:
            connection.request("GET", "/stream", headers={"Last-Event-ID": str(self.last)})
            answer = connection.getresponse()
            assert answer.status == 200, answer.read()
            self.open.set()
            while (line := answer.readline()) and not self._over.is_set():
                if line.startswith(b"data: {") and (event := json.loads(line[6:])).get("seq"):
                    with self.news:
                        self.got.append((event["seq"], event["kind"]))
                        self.last = event["seq"]
                        self.at[self.last] = time.time()
                        self.news.notify_all()
        finally:
            connection.close()

    def until(self, seq: int) -> bool:
        with self.news:
            return self.news.wait_for(lambda: self.last >= seq, SETTLED_SECONDS)

    def end(self) -> None:
        self._over.set()


def test_an_act_is_seen_in_every_open_tab_within_a_second(shop: Shop, opened: Opened) -> None:
    """Measured in the pages, from the time that the store wrote."""
    tabs = [opened(shop.at("/events"), who=shop.signed_in("ann"))]
    tabs += [opened(shop.at(address), like=tabs[0]) for address in ("/", "/tasks?status=pending")]
    for tab in tabs:
        tab.get_by_text("live", exact=True).wait_for()
        tab.evaluate(f"() => {{ window.seen = ({_WHEN_SEEN})('SEEN-1'); }}")

    shop.server.command("add", "A new thing", "--id", "SEEN-1", "--priority", "critical")

    happened = shop.happened("SEEN-1")
    late = [tab.evaluate("window.seen") / 1_000 - happened for tab in tabs]
    assert max(late) <= SEEN_SECONDS, late


def test_that_a_page_is_live_is_said_once_and_not_with_each_change(shop: Shop, opened: Opened) -> None:
    """A screen reader says what is written into a status, also where it was the same before."""
    tab = opened(shop.at("/events"), who=shop.signed_in("ann"))
    tab.get_by_text("live", exact=True).wait_for()
    tab.evaluate(
        "() => { window.said = []; const all = { childList: true, subtree: true, characterData: true };"
        " const noted = new MutationObserver((news) => window.said.push(...news.map((one) => one.target.textContent)));"
        " document.querySelectorAll('[role=status]').forEach((one) => noted.observe(one, all)); }"
    )
    for number in range(3):
        shop.server.command("add", "Said", "--id", f"SAID-{number}")
        tab.get_by_text(f"SAID-{number}").first.wait_for()
    assert tab.evaluate("window.said") == []

    shop.server.stop(signal.SIGKILL)
    tab.get_by_text("reconnecting", exact=True).wait_for()
    shop.server.start()
    tab.get_by_text("live", exact=True).wait_for()
    assert tab.evaluate("window.said") == ["reconnecting", "live"]


def test_tabs_and_clients_are_right_again_after_a_restart_and_miss_nothing(shop: Shop, opened: Opened) -> None:
    begin = shop.events()[-1][0]
    listeners = [Listener(shop.server.port, begin) for _ in range(_CLIENTS)]
    tabs = [opened(shop.at("/events"), who=shop.signed_in("ann"))]
    tabs += [opened(shop.at(address), like=tabs[0]) for address in ("/", "/tasks?status=pending")]
    try:
        for one in listeners:
            one.start()
        for one in listeners:
            assert one.open.wait(SETTLED_SECONDS)
        for tab in tabs:
            tab.get_by_text("live", exact=True).wait_for()
        shop.server.command("add", "Before it goes", "--id", "BEFORE-1", "--priority", "critical")
        shop.server.stop(signal.SIGKILL)
        shop.server.command("add", "While it is away", "--id", "AWAY-1", "--priority", "critical")
        away = shop.events()[-1][0]
        for tab in tabs:
            tab.evaluate(f"() => {{ window.seen = ({_WHEN_SEEN})('AWAY-1'); }}")
        began = time.time()
        shop.server.start()
        for tab in tabs:
            tab.get_by_text("AWAY-1").first.wait_for()
            tab.get_by_text("live", exact=True).wait_for()
        assert all([one.until(away) for one in listeners])
        right = [tab.evaluate("window.seen") / 1_000 - began for tab in tabs]
        right += [one.at[away] - began for one in listeners]
        assert max(right) <= RECOVERED_SECONDS, sorted(right)
        shop.server.command("add", "After it came back", "--id", "BACK-1", "--priority", "critical")
        for tab in tabs:
            tab.get_by_text("BACK-1").first.wait_for()

        last = shop.events()[-1][0]
        assert all([one.until(last) for one in listeners])
        wanted = [event for event in shop.events(begin) if event[0] <= last]
        for one in listeners:
            assert [event for event in one.got if event[0] <= last] == wanted
    finally:
        for one in listeners:
            one.end()


def test_a_tab_that_slept_for_an_hour_shows_the_present_when_it_wakes(shop: Shop, opened: Opened) -> None:
    """Frozen by the browser, and cut off meanwhile, as a computer that sleeps: its clock goes on, its timers do not; more
    happens than a page shows."""
    tab = opened(shop.at("/login"), who=shop.signed_in("ann"))
    tab.clock.install()
    tab.goto(shop.at("/events"))
    tab.get_by_text("live", exact=True).wait_for()
    browser = tab.context.new_cdp_session(tab)
    browser.send("Page.setWebLifecycleState", {"state": "frozen"})
    shop.server.stop(signal.SIGKILL)
    shop.server.command(
        "create-tasks", "--tasks", json.dumps([{"id": f"Z-{n}", "title": f"Z {n}"} for n in range(100)])
    )
    shop.server.start()

    browser.send("Page.setWebLifecycleState", {"state": "active"})
    tab.clock.fast_forward("01:00:00")

    tab.locator("[data-row]", has_text="Z-99").wait_for()
    tab.get_by_text("live", exact=True).wait_for()
    tab.locator("main time").first.get_by_text("1 h ago").wait_for()
    _right(shop, tab)
    shop.server.command(
        "create-tasks", "--tasks", json.dumps([{"id": f"Y-{n}", "title": f"Y {n}"} for n in range(100)])
    )
    tab.locator("[data-row]", has_text="Y-99").wait_for()
    _right(shop, tab)


def _right(shop: Shop, tab: Tab) -> None:
    """It shows the newest events, each once, in their order."""
    newest = [str(seq) for seq, _ in shop.events()][::-1]
    tab.locator(f"#event-{newest[0]}").wait_for()
    shown = tab.locator("main [data-row] .seq").all_inner_texts()
    assert shown == newest[: len(shown)]
