"""Three in the morning: many stuck for one cause and one for another, in a real browser against a live collector."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from support.browser import Watched, at_a_desk, running_dashboard
from support.collector import RunningCollector, running_collector
from support.payments import DONE, Tried, saga, send, soon

axe = pytest.importorskip("axe_playwright_python", reason="axe-playwright-python is not installed")

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("dashboard")]

MANY = 312
ALONE = 5
EUROS = {"saga.amount": "50.00", "saga.currency": "EUR"}
DEBITED = Tried("wallet.debit", "wallet", 0.1, 0.2, attributes=EUROS)


def failing(number: int) -> tuple[Tried, ...]:
    error = f"connect to 10.0.0.{number % 250}:5432 timed out"
    return (DONE[0], DEBITED, *(Tried("ledger.record", "ledger", each + 0.3, each + 0.5, error) for each in range(4)))


@pytest.fixture(scope="module")
def collector() -> Iterator[RunningCollector]:
    with running_collector() as running:
        requests = [
            each
            for number in range(MANY)
            for each in saga(f"p-{number}", failing(number), ago=100 + number / 10, ended=False, root=EUROS)
        ]
        send(running, *requests)
        for number in range(1, ALONE + 1):
            own = [Tried(f"other.{number}", "shipping", each + 0.3, each + 0.5, "no such port") for each in range(4)]
            send(running, *saga(f"alone-{number}", (DONE[0], *own), ago=60, ended=False))
        yield running


@pytest.fixture
def watched(browser: Browser, collector: RunningCollector, tmp_path: Path) -> Iterator[Watched]:
    with running_dashboard(collector.api, tmp_path) as address:
        context = at_a_desk(browser)
        page = Watched(address, context.new_page())
        yield page
        context.close()
        assert page.wrongs == []
        assert page.foreign == []


def test_one_row_for_all_that_stand_still_for_one_cause(watched: Watched) -> None:
    page = watched.open("/")
    row = page.locator(".attention-row.incident")
    expect(row).to_contain_text(f"{MANY} payment", timeout=60_000)
    expect(row).to_contain_text("timed out")
    expect(row).to_contain_text("€15,600.00 committed")
    expect(page.locator(".attention-row")).to_have_count(1 + ALONE)
    expect(page.locator(".attention-row", has_text="alone-1")).to_be_visible()
    expect(page.locator("h1")).to_have_text(f"{MANY + ALONE} transactions need attention")
    watched.keep("incidents-light")

    row.locator("a").first.click()
    expect(page.locator("h1")).to_contain_text(f"{MANY} payment transactions are stuck at ledger.record")
    page.evaluate(Path(axe.__file__).with_name("axe.min.js").read_text())
    found = page.evaluate("axe.run(document, { runOnly: ['wcag2a', 'wcag2aa', 'wcag21aa', 'wcag22aa'] })")
    assert [(wrong["id"], [node["target"] for node in wrong["nodes"]]) for wrong in found["violations"]] == []

    page.get_by_label("Your name").fill("Anna")
    page.get_by_label("Note").fill("The ledger's network is down. <b>Not a tag</b>")
    page.get_by_role("button", name="Acknowledge").click()
    expect(page.locator(".history")).to_contain_text("acknowledged by Anna")
    expect(page.locator(".history")).to_contain_text("<b>Not a tag</b>")
    watched.keep("incident-light")

    page.get_by_role("link", name="All affected transactions").click()
    expect(page).to_have_url(re.compile(r"/transactions\?incident="))
    expect(page.locator(".list tbody tr")).to_have_count(50)
    soon(lambda: page.locator(".list tbody tr", has_text="p-").count() == 50)


def test_what_is_new_announces_itself_and_moves_nothing(watched: Watched, collector: RunningCollector) -> None:
    page = watched.open("/")
    expect(page.locator(".attention-row").first).to_be_visible()
    drawn = page.locator(".attention-row .title").all_inner_texts()
    places = [page.locator(".attention-row").nth(each).bounding_box() for each in range(len(drawn))]
    refused = [Tried("notification.send", "mail", each + 0.3, each + 0.5, "mailbox full") for each in range(4)]
    send(collector, *saga("late-1", (DONE[0], *refused), ago=50, ended=False))

    news = page.locator(".st-key-triage-news")
    expect(news).to_contain_text("1 more transaction needs attention", timeout=30_000)
    watched.keep("triage-news")
    assert page.locator(".attention-row .title").all_inner_texts() == drawn
    assert [page.locator(".attention-row").nth(each).bounding_box() for each in range(len(drawn))] == places
    page.evaluate(Path(axe.__file__).with_name("axe.min.js").read_text())
    found = page.evaluate("axe.run(document, { runOnly: ['wcag2a', 'wcag2aa', 'wcag21aa', 'wcag22aa'] })")
    assert [(wrong["id"], [node["target"] for node in wrong["nodes"]]) for wrong in found["violations"]] == []

    news.get_by_role("button", name="Show").click()
    expect(page.locator(".attention-row", has_text="late-1")).to_be_visible()
    expect(news).to_have_count(0)
