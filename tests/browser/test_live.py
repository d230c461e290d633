"""What people see of what happens, as it happens."""

import signal

import pytest

from tests.browser.conftest import Opened
from tests.browser.server import PageServer

pytestmark = [pytest.mark.requirement("DASH-1", "DASH-4")]


def test_what_happens_is_seen_in_every_open_tab(served: PageServer, opened: Opened) -> None:
    tabs = [opened(f"{served.address}/events") for _ in range(3)]
    for tab in tabs:
        tab.get_by_text("live", exact=True).wait_for()

    served.command("add", "A new thing", "--id", "NEW-1")

    for tab in tabs:
        tab.locator("[data-row]", has_text="NEW-1").wait_for()


def test_tabs_are_right_again_after_the_server_was_killed_and_started(served: PageServer, opened: Opened) -> None:
    tab = opened(f"{served.address}/events")
    tab.get_by_text("live", exact=True).wait_for()
    served.stop(signal.SIGKILL)
    tab.get_by_text("reconnecting").wait_for()
    served.command("add", "While it was away", "--id", "AWAY-1")
    served.start()

    tab.locator("[data-row]", has_text="AWAY-1").wait_for()
    tab.get_by_text("live", exact=True).wait_for()
