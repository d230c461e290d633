"""What tests in a real browser share: Chromium, a server of the page, and axe."""

import json
import os
import shutil
import sqlite3
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import datetime
from typing import Any

import anyio
import pytest
from playwright.sync_api import Browser, Page, Route, sync_playwright

from tests.browser.full import Filled, fill
from tests.browser.server import PageServer
from tests.support.workspace import REPOSITORY

AXE = REPOSITORY / ".cache" / "browser" / "node_modules" / "axe-core" / "axe.min.js"
_VIOLATIONS = """
async (asked) => {
  const found = await axe.run(document, { runOnly: asked, resultTypes: ["violations"] });
  return found.violations.flatMap((one) => one.nodes.map((node) =>
    `${one.id}: ${node.target} ${node.html.slice(0, 160)} ${(node.failureSummary ?? "").slice(0, 300)}`));
}
"""
"""What passed stays in the page: it is much, and nobody reads it."""
SIZES = {"wide": (1280, 900), "phone": (375, 740)}


def _chromium() -> str:
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if found and AXE.exists():
        return found
    told = [
        line for line in os.environ.get("WVO_TEST_MISSING", "").split("\n") if line.startswith(("chromium:", "axe"))
    ]
    reason = told[0] if told else "Chromium or axe is missing: ./scripts/test installs them"
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="module")
def chromium() -> Generator[Browser]:
    """Not for the session: as long as it is there playwright's event loop runs in this thread, and asynchronous tests of
    other modules have theirs."""
    program = _chromium()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-dev-shm-usage"])
        yield browser
        browser.close()


def _refuse(route: Route) -> None:
    route.abort()


Opened = Callable[..., Page]


@pytest.fixture
def opened(chromium: Browser) -> Generator[Opened]:
    """Opens an address in a context of its own: `opened(address, size="phone", dark=True, script=False)`. `who`: the cookies of
    somebody who signed in; `stale`: without the stream, so it stays as it was read. What goes wrong in the page, and any text
    that ran as a script, fails the test."""
    contexts: list[Any] = []
    wrong: list[str] = []

    def open_page(
        address: str,
        *,
        size: str = "wide",
        dark: bool = False,
        script: bool = True,
        like: Page | None = None,
        who: Any = None,
        stale: bool = False,
    ) -> Page:
        if like is not None:
            context = like.context
        else:
            width, height = SIZES[size]
            context = chromium.new_context(
                viewport={"width": width, "height": height},
                color_scheme="dark" if dark else "light",
                java_script_enabled=script,
                storage_state=who,
            )
            context.set_default_timeout(30_000)
            contexts.append(context)
        page = context.new_page()
        if stale:
            page.route("**/stream?*", _refuse)
        page.on("dialog", lambda dialog: wrong.append(f"{page.url}: a dialog says {dialog.message}"))
        page.on("pageerror", lambda error: wrong.append(f"{page.url}: {error}"))
        page.on(
            "console", lambda message: wrong.append(message.text) if "Content Security Policy" in message.text else None
        )
        page.goto(address)
        return page

    yield open_page
    for context in contexts:
        wrong += [f"{page.url}: a text ran" for page in context.pages if page.evaluate("'__xss' in window")]
        context.close()
    assert wrong == []


def violations(page: Page, rules: Sequence[str] | None = None) -> list[str]:
    """What axe finds of levels A and AA, or by these rules of it, a line each."""
    page.evaluate(AXE.read_text())
    tags = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]
    asked = {"type": "tag", "values": tags} if rules is None else {"type": "rule", "values": [*rules]}
    return page.evaluate(_VIOLATIONS, asked)


class Shop:
    """A server on a project that has something of everything, and the cookies of who signed in there."""

    def __init__(self, server: PageServer, filled: Filled, browser: Browser) -> None:
        self.server, self.filled, self._browser = server, filled, browser
        self._cookies: dict[str, Any] = {}

    def at(self, address: str) -> str:
        return self.server.address + address

    def signed_in(self, name: str, role: str = "admin") -> Any:
        """With a token of that name."""
        if name not in self._cookies:
            context = self._browser.new_context()
            page = context.new_page()
            page.goto(self.at("/login"))
            page.get_by_label("Token").fill(self.server.token(name, role))
            page.get_by_role("button", name="Sign in").click()
            page.get_by_role("button", name="Sign out").wait_for()
            self._cookies[name] = context.storage_state()
            context.close()
        return self._cookies[name]

    def events(self, after: int = 0) -> list[tuple[int, str]]:
        """(seq, kind) of what the store has."""
        with closing(sqlite3.connect(self.server.root / "state" / "state.db")) as store:
            return store.execute("SELECT seq, kind FROM events WHERE seq > ? ORDER BY seq", (after,)).fetchall()

    def told(self, after: int, kind: str, task_id: str | None) -> list[tuple[str, dict[str, Any]]]:
        """(who, data) of the events of this kind."""
        with closing(sqlite3.connect(self.server.root / "state" / "state.db")) as store:
            rows = store.execute(
                "SELECT agent_id, data FROM events WHERE seq > ? AND kind = ? AND task_id IS ? ORDER BY seq",
                (after, kind, task_id),
            ).fetchall()
        return [(who, json.loads(data)) for who, data in rows]

    def value(self, query: str, *given: Any) -> Any:
        """Of the first row of what the store has."""
        with closing(sqlite3.connect(self.server.root / "state" / "state.db")) as store:
            return store.execute(query, given).fetchone()[0]

    def happened(self, task_id: str) -> float:
        """When the first event of the task was, in seconds."""
        with closing(sqlite3.connect(self.server.root / "state" / "state.db")) as store:
            rows = store.execute("SELECT at FROM events WHERE task_id = ? ORDER BY seq", (task_id,)).fetchall()
        return datetime.fromisoformat(rows[0][0]).timestamp()

    def status(self, task_id: str) -> str:
        return json.loads(self.server.command("get-task", task_id, "--json"))["task"]["status"]


@pytest.fixture(scope="module")
def shop(chromium: Browser, tmp_path_factory: pytest.TempPathFactory) -> Generator[Shop]:
    folder = tmp_path_factory.mktemp("full")
    root = folder / "shop"
    (root / "state").mkdir(parents=True)
    with ThreadPoolExecutor(1) as apart:  # playwright has an event loop in this thread
        filled = apart.submit(anyio.run, fill, root).result()
    server = PageServer(root, folder / "home", options=["--no-run"]).start()
    yield Shop(server, filled, chromium)
    server.stop()


__all__ = ["Opened", "Shop", "violations"]
