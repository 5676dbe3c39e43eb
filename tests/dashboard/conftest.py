"""One collector with staged payments, one dashboard that reads it, one browser, for all tests of this folder."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, BrowserContext, Page

from support import staged
from support.browser import Watched, at_a_desk, free_port, running_browser, running_dashboard
from support.collector import RunningCollector, running_collector
from support.payments import soon

HOSTILE = (
    "\x1b[31m\u202e<script>window.hacked=1</script><img src=x onerror=window.hacked=2> [x](javascript:alert(3)) **b**"
)


@pytest.fixture(scope="session")
def collector(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningCollector]:
    """Four payments: lost, retried, compensated, completed; and one whose every text is hostile."""
    with running_collector(tmp_path_factory.mktemp("collector")) as running:
        staged.lost(running)
        staged.retried(running)
        staged.compensated(running)
        staged.completed(running, "9000")
        staged.hostile(running, HOSTILE)
        soon(lambda: _diagnosed(running) == {"8492": "instance_lost", "8533": "retrying", "8499": None, "9000": None})
        yield running


def _diagnosed(running: RunningCollector) -> dict[str, str | None]:
    items = httpx.get(f"{running.api}/api/v1/sagas", timeout=10, trust_env=False).json()["items"]
    return {
        saga["id"]: saga["attention"]
        for saga in items
        if saga["id"].isdigit() and (saga["ended_at"] or saga["attention"])
    }


@pytest.fixture(scope="session")
def dashboard(collector: RunningCollector, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a dashboard process."""
    folder: Path = tmp_path_factory.mktemp("dashboard")
    with running_dashboard(collector.api, folder) as address:
        yield address


@pytest.fixture(scope="session")
def own_port() -> int:
    """The port of dashboards that modules start for collectors of their own: the browser keeps what it has loaded."""
    return free_port()


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """Headless Chromium. Not for the whole session: while its driver runs, no other test may have an event loop."""
    with running_browser() as running:
        yield running


@pytest.fixture(scope="package")
def desk(browser: Browser) -> BrowserContext:
    """A browser at a desk in Berlin; it keeps what it has loaded once."""
    return at_a_desk(browser)


@pytest.fixture(scope="package")
def tab(desk: BrowserContext) -> Page:
    """The page that tests share: a new one costs a second of processor time."""
    return desk.new_page()


@pytest.fixture(scope="module")
def _module_watched(tab: Page, dashboard: str) -> Iterator[Watched]:
    yield Watched(dashboard, tab)
    tab.goto("about:blank")


@pytest.fixture
def watched(_module_watched: Watched, request: pytest.FixtureRequest) -> Iterator[Watched]:
    """The page at the desk, as the module's last test left it; a new session after a test that failed.

    At the end nothing may have gone wrong on it, or left for another host.
    """
    failed = request.session.testsfailed
    _module_watched.console_errors.clear()
    _module_watched.foreign.clear()
    yield _module_watched
    if request.session.testsfailed > failed:
        _module_watched.page.goto("about:blank")
    assert _module_watched.console_errors == []
    assert _module_watched.foreign == []
