"""A real dashboard process and a headless Chromium that watches what the page does."""

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Locator, Page, Request, expect, sync_playwright

from ensure_debian import BROWSERS
from support import preloaded

SWITCHES = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
START_WITHIN = 60.0

expect.set_options(timeout=30_000)  # a busy machine draws slowly
ARTEFACTS = Path(__file__).parents[2] / "artefacts"

PROBES = ("/_stcore/health", "/_stcore/host-config")
"""What Streamlit asks for below a page's own path first, and is answered 404; its client then asks at the root."""


@contextmanager
def running_dashboard(
    url: str,
    folder: Path,
    *options: str,
    port: int | None = None,
    host: str = "127.0.0.1",
    environment: Mapping[str, str] | None = None,
) -> Iterator[str]:
    """Serve the dashboard for the collector at `url` with further options and variables; its address on loopback."""
    port, log = port or free_port(), folder / "dashboard.log"
    address = f"127.0.0.1:{port}"
    words = ["sagascope_dashboard", "--address", f"{host}:{port}", "--url", url, *options]
    process = preloaded.spawn(*words, output=log, environment=environment, folder=folder)
    try:
        _wait_untilis_healthy(f"http://{address}", process, log)
        yield f"http://{address}"
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def free_port() -> int:
    """A free port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_untilis_healthy(address: str, process: preloaded.Spawned, log: Path) -> None:
    deadline = time.monotonic() + START_WITHIN
    while not is_healthy(address):
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"The dashboard did not start:\n{log.read_text()}")
        time.sleep(0.05)


def is_healthy(address: str) -> bool:
    """Whether a dashboard answers at an address."""
    try:
        return httpx.get(f"{address}/_stcore/health", timeout=5, trust_env=False).is_success
    except httpx.HTTPError:
        return False


@contextmanager
def running_browser() -> Iterator[Browser]:
    """Headless Chromium; where there is none the test is skipped, and says so."""
    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        pytest.skip(f"no browser here: none of {', '.join(BROWSERS)} is installed")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=list(SWITCHES))
        try:
            yield browser
        finally:
            browser.close()


FOLLOW_LINK = """(path) => {
  const link = document.querySelector(".brand").parentElement.appendChild(document.createElement("a"));
  link.href = path;
  link.click();
  link.remove();
}"""

HAS_RUN = """(before) => {
  const { pageRun } = document.querySelector("[data-page-run]")?.dataset ?? {};
  const isRunning = document.querySelector("[data-testid=stApp]")?.dataset.testScriptState !== "notRunning";
  return document.querySelector(".sagascope-elements h1") && pageRun !== before && !isRunning;
}"""
"""Whether a run of the script other than the one before has ended."""


@dataclass
class Watched:
    """A page of the dashboard at `address`, and what went wrong on it or left for another host."""

    address: str
    page: Page
    console_errors: list[str] = field(default_factory=list)
    foreign: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.on("console", self._on_console)
        self.page.on("pageerror", lambda error: self.console_errors.append(str(error)))
        self.page.on("request", self._asked)

    def load(self, path: str) -> Page:
        """Load a page, which begins a session, and wait until it has run."""
        self.page.goto(self.address + path)
        self._wait_for_run("")
        return self.page

    def open(self, path: str) -> Page:
        """Follow a link within the dashboard, and wait until its page has run; load it if no page is open."""
        if not self.page.url.startswith(self.address):
            return self.load(path)
        before = self.page.locator("[data-page-run]").get_attribute("data-page-run") or ""
        self.page.evaluate(FOLLOW_LINK, path)
        self._wait_for_run(before)
        return self.page

    def go(self, path: str, title: str) -> Page:
        """Open a page as `open` does, and wait for its heading."""
        self.open(path).locator(".sagascope-elements h1", has_text=title).wait_for(timeout=30_000)
        return self.page

    def _wait_for_run(self, before: str) -> None:
        self.page.wait_for_function(HAS_RUN, arg=before, polling=50, timeout=60_000)

    def keep(self, name: str) -> None:
        """A screenshot of the whole page among the run's artefacts."""
        ARTEFACTS.mkdir(exist_ok=True)
        size = self.page.viewport_size
        assert size is not None
        height = self.page.evaluate("document.querySelector('[data-testid=stMain]').scrollHeight")
        self.page.set_viewport_size({"width": size["width"], "height": min(int(height) + 20, 6000)})
        self.page.screenshot(path=ARTEFACTS / f"{name}.png")
        self.page.set_viewport_size(size)

    def _on_console(self, message: ConsoleMessage) -> None:
        asked = urlsplit(message.location.get("url", "")).path
        if message.type == "error" and not (asked.endswith(PROBES) and asked not in PROBES):
            self.console_errors.append(f"{message.text} {message.location}")

    def _asked(self, request: Request) -> None:
        host = urlsplit(self.address).netloc
        if not request.url.startswith(("data:", "blob:")) and urlsplit(request.url).netloc != host:
            self.foreign.append(request.url)


AXE_RULES = ("wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice")

FIND_VIOLATIONS = """async (rules) => {
  const { violations } = await axe.run(document, { runOnly: rules, resultTypes: ["violations"] });
  return violations.map(({ id, nodes }) => [id, nodes.map(({ target }) => target)]);
}"""


def violations(page: Page) -> list[Any]:
    """What axe-core finds on the page, in both themes: rules, with the elements that break them."""
    axe = pytest.importorskip("axe_playwright_python", reason="axe-playwright-python is not installed")
    if not page.evaluate("'axe' in window"):
        page.evaluate(Path(axe.__file__).with_name("axe.min.js").read_text())
    found = page.evaluate(FIND_VIOLATIONS, AXE_RULES)
    with dark(page):
        return found + page.evaluate(FIND_VIOLATIONS, ["color-contrast"])


@contextmanager
def dark(page: Page) -> Iterator[None]:
    """The page in the dark theme."""
    app = page.get_by_test_id("stApp")
    page.emulate_media(color_scheme="dark")
    expect(app).to_have_css("color-scheme", "dark")
    yield
    page.emulate_media(color_scheme="light")
    expect(app).to_have_css("color-scheme", "light")


ROW_PIXELS = 38
"""Height of a row of a table; as in the dashboard's `components/lists.py`."""


@dataclass(frozen=True)
class Grid:
    """A table of Streamlit: drawn on a canvas, with the visible cells in the accessibility tree."""

    page: Page
    name: str

    @property
    def root(self) -> Locator:
        """The whole table."""
        return self.page.get_by_role("region", name=self.name, exact=True)

    def rows(self, text: str = "") -> Locator:
        """The visible rows that contain a text."""
        return self.root.locator("tbody tr", has_text=text)

    def texts(self, column: str) -> list[str]:
        """The visible cells of a column."""
        expect(self.root.locator("thead th", has_text=column).first).to_be_attached()
        titles = [each.rstrip(" ↑↓") for each in self.root.locator("thead th").all_inner_texts()]
        return self.root.locator(f"tbody tr td:nth-child({titles.index(column) + 1})").all_inner_texts()

    def choose(self, text: str) -> None:
        """Select the first row that contains a text."""
        expect(self.rows(text).first).to_be_attached()
        self._wait_until_still()
        number = int(self.rows(text).first.get_attribute("aria-rowindex") or 0) - 1
        self.click(15, number * ROW_PIXELS + ROW_PIXELS / 2)

    def _wait_until_still(self) -> None:
        """Charts above it that are drawn late must not move it away from the pointer."""
        deadline, before = time.monotonic() + 30, None
        while (now := self.root.bounding_box()) != before and time.monotonic() < deadline:
            before = now
            self.page.wait_for_timeout(500)

    def click(self, x: float, y: float) -> None:
        """Click at a place in the table, which is not scrolled."""
        self.root.locator(".dvn-scroller").click(position={"x": x, "y": y})


def bars(page: Page, name: str) -> Locator:
    """The bars of the chart of this name."""
    return page.get_by_label(name, exact=True).locator(".mark-rect.role-mark path")


def at_a_desk(browser: Browser, **how: Any) -> BrowserContext:
    """A session of its own; `how` are Playwright's options, for example ``color_scheme="dark"``."""
    desk = {"viewport": {"width": 1280, "height": 900}, "timezone_id": "Europe/Berlin"}
    still = {"reduced_motion": "reduce"}  # else the bars of steps in progress are drawn anew all the time
    return browser.new_context(**desk | still | how)


PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
