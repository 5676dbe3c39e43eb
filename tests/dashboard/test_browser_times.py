"""Times are the reader's everywhere, sentences included, and UTC at a click: shown in a real browser in Berlin."""

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import httpx
import pytest
from playwright.sync_api import BrowserContext, Page, expect

from support.browser import Grid, Watched
from support.collector import RunningCollector

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("dashboard")]

SAGA = "/saga?name=payment&id=8492"


@pytest.fixture
def since(collector: RunningCollector) -> datetime:
    """When the payment stopped, in UTC."""
    saga = httpx.get(f"{collector.api}/api/v1/sagas/payment/8492", timeout=10, trust_env=False).json()
    return datetime.fromisoformat(saga["since"])


def berlin(moment: datetime) -> str:
    return f"{moment.astimezone(ZoneInfo('Europe/Berlin')):%H:%M:%S}"


def utc(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%H:%M:%S}"


def switch(page: Page) -> None:
    page.get_by_role("switch", name="UTC").click()


def test_sentences_are_in_the_readers_zone_and_in_utc_at_a_click(watched: Watched, since: datetime) -> None:
    page = watched.open(SAGA)
    headline, evidence = page.locator(".headline"), page.locator(".evidence-list")
    expect(headline).to_contain_text(berlin(since))
    expect(headline).not_to_contain_text(re.compile(r"\d\dZ"))
    expect(evidence).to_contain_text(berlin(since))
    bar = page.locator(".bar[aria-label*='has not reported since']")
    expect(bar).to_have_attribute("aria-label", re.compile(f"since {berlin(since)[:2]}:"))
    switch(page)
    expect(headline).to_contain_text(utc(since))
    expect(headline).not_to_contain_text(berlin(since))
    expect(evidence).to_contain_text(utc(since))
    expect(bar).to_have_attribute("aria-label", re.compile(f"since {utc(since + timedelta(seconds=3))[:2]}:"))
    switch(page)
    expect(headline).to_contain_text(berlin(since))


def test_the_choice_holds_on_every_page_once_it_is_loaded_again_and_in_a_new_tab(
    watched: Watched, desk: BrowserContext, since: datetime
) -> None:
    page = watched.open("/transactions?status=running&name=payment")
    table, headline = Grid(page, "Transactions"), page.locator(".headline")
    offset = f"{since.astimezone(ZoneInfo('Europe/Berlin')):%z}"[:3]
    expect(table.rows("8492")).to_contain_text(offset)
    switch(page)
    expect(table.rows("8492")).not_to_contain_text(offset)
    table.choose("8492")
    expect(headline).to_contain_text(utc(since))
    page.reload()
    expect(headline).to_contain_text(utc(since))
    tab = desk.new_page()
    tab.goto(watched.address + SAGA)
    expect(tab.locator(".headline")).to_contain_text(utc(since))
    switch(tab)
    expect(tab.locator(".headline")).to_contain_text(berlin(since))
    tab.close()
    page.reload()
    expect(headline).to_contain_text(berlin(since))
    assert "sagascope_utc" not in {cookie["name"] for cookie in desk.cookies()}


def test_a_saved_page_opens_without_any_network_and_has_the_switch(
    watched: Watched, desk: BrowserContext, since: datetime, tmp_path: Path
) -> None:
    page = watched.open(SAGA)
    with page.expect_download() as download:
        page.get_by_role("button", name="Save as one HTML file").click()
    assert download.value.suggested_filename == "payment-8492.html"
    assert download.value.url.startswith("blob:")  # a refresh must not delete it before the browser has it
    download.value.save_as(tmp_path / "saved.html")
    saved = Watched("file://", desk.new_page())
    saved.page.goto(f"file://{tmp_path}/saved.html")
    headline = saved.page.locator(".headline")
    expect(headline).to_contain_text("Stuck in ledger.record")
    expect(headline).to_contain_text(berlin(since))
    saved.page.get_by_role("button", name="Times in UTC").click()
    expect(headline).to_contain_text(utc(since))
    expect(saved.page.locator(".bar.k-action")).to_have_count(3)
    expect(saved.page.locator(".tl-now")).to_have_text("saved")
    saved.page.close()
    assert saved.console_errors == []
    assert saved.foreign == []
