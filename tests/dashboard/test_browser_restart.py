"""A collector that goes away and comes back, as the reader of an open page sees it."""

from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from support import staged
from support.browser import Watched, running_dashboard
from support.collector import RunningCollector, running_collector

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser")]


def places(collector: RunningCollector) -> dict[str, str]:
    return {
        "otlp_grpc": collector.otlp_grpc,
        "otlp_http": collector.otlp_http.removeprefix("http://"),
        "api": collector.api.removeprefix("http://"),
    }


def test_an_open_page_keeps_what_it_knew_and_goes_on_by_itself(tab: Page, own_port: int, tmp_path: Path) -> None:
    before, after, folder = (tmp_path / name for name in ("before", "after", "dashboard"))
    for each in (before, after, folder):
        each.mkdir()
    with running_collector(before) as first, running_dashboard(first.api, folder, port=own_port) as address:
        staged.lost(first)
        watched = Watched(address, tab)
        page = watched.open("/saga?name=payment&id=8492")
        expect(page.locator(".headline")).to_contain_text("Stuck in ledger.record")
        where, db = places(first), first.db
        first.stop()
        expect(page.locator(".notice")).to_contain_text("The collector does not answer", timeout=20_000)
        expect(page.locator(".headline")).to_contain_text("Stuck in ledger.record")
        with page.expect_download() as download:
            page.get_by_role("button", name="Save as one HTML file").click()
        assert "Stuck in ledger.record" in Path(download.value.path()).read_text(encoding="utf-8")
        watched.go("/transactions", "Transactions")
        page.get_by_role("button", name="Download all as CSV").click()
        expect(page.get_by_role("button", name="No collector answers at")).to_be_visible()
        watched.go("/saga?name=payment&id=8492", "8492")
        with running_collector(after, db=db, addresses=where):
            expect(page.locator(".notice")).to_have_count(0, timeout=30_000)
            expect(page.locator(".headline")).to_contain_text("Stuck in ledger.record")
        page.goto("about:blank")
    assert watched.console_errors == []
