"""Looking at a page as a person would: what it says on the console, whether it scrolls sideways, whether all can use it.

Decides what every page must hold in a browser; knows no page.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from propmgr.config import PROJECT

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

AXE = PROJECT / "assets" / "axe.min.js"
#: Telephones, laptops, desks (UI.md).
WIDTHS = (360, 390, 1280, 1440)
#: Nothing of Chromium's own may reach for the net.
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]
#: WCAG 2.2 AA.
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
_VIEW_HEIGHT = 844


@dataclass
class Look:
    """One page as it was seen at one width."""

    status: int
    title: str
    #: What the console said, without Chromium's own report of the page's status.
    console: list[str] = field(default_factory=list)
    #: Requests that failed or left the house.
    strays: list[str] = field(default_factory=list)
    #: Pixels by which the page is wider than the window.
    overhang: int = 0
    #: Rules of accessibility that are broken, with the elements.
    barriers: list[str] = field(default_factory=list)
    #: Smallest side of a thing to press, on a telephone.
    smallest_target: float = 0.0


class Eyes:
    """A browser that looks at pages."""

    def __init__(self, browser: Browser) -> None:
        self._browser = browser

    @contextmanager
    def page(self, width: int, language: str = "zh-CN") -> Iterator[Page]:
        """An empty page of that width, for a person who reads that language."""
        context = self._browser.new_context(viewport={"width": width, "height": _VIEW_HEIGHT}, locale=language)
        try:
            yield context.new_page()
        finally:
            context.close()

    def look(self, address: str, width: int, language: str = "zh-CN", picture: Path | None = None) -> Look:
        """Open the address and report. `picture` is where the whole page is drawn."""
        with self.page(width, language) as page:
            seen, said, strays = Look(0, ""), [], []
            page.on("console", lambda message: said.append((message.text, (message.location or {}).get("url"))))
            page.on("pageerror", lambda error: said.append((str(error), None)))
            page.on("requestfailed", lambda request: strays.append(request.url))
            page.on("request", lambda request: _is_ours(request.url, address) or strays.append(request.url))
            answer = page.goto(address, wait_until="networkidle")
            assert answer is not None
            seen.status, seen.title = answer.status, page.title()
            expected = f"the server responded with a status of {answer.status}" if answer.status >= 400 else None
            seen.console = [text for text, where in said if not (expected and where == address and expected in text)]
            seen.strays = strays
            seen.overhang = page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
            seen.smallest_target = page.evaluate(_SMALLEST_TARGET)
            seen.barriers = _barriers(page)
            if picture is not None:
                page.screenshot(path=picture, full_page=True)
            return seen


_SMALLEST_TARGET = """Math.min(...[...document.querySelectorAll('main a, button, input:not([type=hidden]), select')]
    .map(e => e.getBoundingClientRect()).filter(b => b.width > 0).map(b => Math.min(b.width, b.height)), 999)"""


@contextmanager
def open_eyes(chromium: Path) -> Iterator[Eyes]:
    """Start Chromium and close it afterwards."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=str(chromium), args=ARGUMENTS)
        try:
            yield Eyes(browser)
        finally:
            browser.close()


def _is_ours(url: str, address: str) -> bool:
    return url.split("/")[:3] == address.split("/")[:3]


def _barriers(page: Page) -> list[str]:
    if not AXE.is_file():
        pytest.skip(f"{AXE.relative_to(PROJECT)} is missing: run scripts/setup")
    page.evaluate(AXE.read_text("utf-8"))
    found: dict[str, Any] = page.evaluate(
        "rules => axe.run(document, {runOnly: {type: 'tag', values: rules}, resultTypes: ['violations']})", RULES
    )
    return [f"{broken['id']}: {[node['html'][:120] for node in broken['nodes']]}" for broken in found["violations"]]
