"""What tests in a real browser share: Chromium, a server of the page, and axe."""

import os
import shutil
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from tests.browser.server import PageServer
from tests.support.workspace import REPOSITORY

AXE = REPOSITORY / ".cache" / "browser" / "node_modules" / "axe-core" / "axe.min.js"
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


@pytest.fixture(scope="session")
def chromium() -> Generator[Browser]:
    program = _chromium()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-dev-shm-usage"])
        yield browser
        browser.close()


Opened = Callable[..., Page]


@pytest.fixture
def opened(chromium: Browser) -> Generator[Opened]:
    """Opens an address in a context of its own: `opened(address, size="phone", dark=True, script=False)`. What goes wrong in
    the page fails the test."""
    contexts: list[Any] = []
    wrong: list[str] = []

    def open_page(
        address: str, *, size: str = "wide", dark: bool = False, script: bool = True, like: Page | None = None
    ) -> Page:
        if like is not None:
            context = like.context
        else:
            width, height = SIZES[size]
            context = chromium.new_context(
                viewport={"width": width, "height": height},
                color_scheme="dark" if dark else "light",
                java_script_enabled=script,
            )
            context.set_default_timeout(30_000)
            contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: wrong.append(f"{page.url}: {error}"))
        page.on(
            "console", lambda message: wrong.append(message.text) if "Content Security Policy" in message.text else None
        )
        page.goto(address)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert wrong == []


def violations(page: Page) -> list[str]:
    """What axe finds of levels A and AA, a line each."""
    page.evaluate(AXE.read_text())
    tags = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]
    found = page.evaluate("tags => axe.run(document, {runOnly: {type: 'tag', values: tags}})", tags)
    return [
        f"{one['id']}: {node['target']} {node['html'][:160]} {node.get('failureSummary', '')[:300]}"
        for one in found["violations"]
        for node in one["nodes"]
    ]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Generator[PageServer]:
    """A server on an empty project."""
    folder = tmp_path_factory.mktemp("served")
    root = folder / "shop"
    root.mkdir()
    server = PageServer(root, folder / "home").start()
    yield server
    server.stop()


__all__ = ["Opened", "Path", "violations"]
