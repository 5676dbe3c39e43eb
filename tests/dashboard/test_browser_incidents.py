"""Three in the morning: many stuck for one cause and one for another, in a real browser against a live collector."""

import csv
import re
from collections.abc import Iterator

import httpx
import pytest
from playwright.sync_api import expect

from support.browser import Grid, Watched, bars, running_dashboard, violations
from support.collector import RunningCollector, running_collector
from support.payments import DONE, Tried, saga, send, soon

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser")]

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
        soon(lambda: affected(running) == [1] * ALONE + [MANY])
        yield running


def affected(running: RunningCollector) -> list[int]:
    """The number of transactions of each incident."""
    items = httpx.get(f"{running.api}/api/v1/incidents", timeout=30, trust_env=False).json()["items"]
    return sorted(item["count"] for item in items)


@pytest.fixture(scope="module")
def dashboard(collector: RunningCollector, own_port: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with running_dashboard(collector.api, tmp_path_factory.mktemp("incidents"), port=own_port) as address:
        yield address


def test_one_row_for_all_that_stand_still_for_one_cause(watched: Watched) -> None:
    page = watched.open("/")
    incidents, alone = Grid(page, "Incidents"), Grid(page, "Transactions that need attention")
    expect(incidents.rows(str(MANY))).to_contain_text("timed out", timeout=60_000)
    expect(incidents.rows()).to_have_count(1)
    expect(incidents.rows()).to_contain_text("€15,600.00 committed")
    expect(alone.rows()).to_have_count(ALONE)
    expect(alone.rows("alone-1")).to_be_attached()
    expect(page.locator("h1")).to_have_text(f"{MANY + ALONE} transactions need attention")
    expect(page.locator(".overview-head")).to_contain_text("€15,600.00 committed")
    watched.keep("incidents-light")

    incidents.choose(str(MANY))
    expect(page.locator("h1")).to_contain_text(f"{MANY} payment transactions are stuck at ledger.record")
    assert violations(page) == []

    expect(page.get_by_role("button", name="Reopen")).to_have_count(0)
    page.get_by_label("Your name").fill("Anna")
    page.get_by_label("Note").fill("The ledger's network is down. <b>Not a tag</b>")
    page.get_by_role("button", name="Acknowledge").click()
    expect(page.locator(".history")).to_contain_text("acknowledged by Anna")
    expect(page.locator(".history")).to_contain_text("<b>Not a tag</b>")
    watched.keep("incident-light")

    expect(page.get_by_role("button", name="Reopen")).to_be_visible()
    expect(page.get_by_role("button", name="Acknowledge")).to_have_count(0)

    page.get_by_text("Show the ids to copy").click()
    expect(page.get_by_test_id("stCode")).to_contain_text("p-311")
    assert len(page.get_by_test_id("stCode").inner_text().split()) == MANY
    with page.expect_download() as download:
        page.get_by_role("button", name="Download all as CSV").click()
    assert len(list(csv.DictReader(download.value.path().read_text(encoding="utf-8").splitlines()))) == MANY

    page.get_by_role("link", name="All affected transactions").click()
    expect(page).to_have_url(re.compile(r"/transactions\?incident="))
    expect(page.get_by_text(f"{MANY} transactions", exact=True)).to_be_visible()
    expect(Grid(page, "Transactions").rows("p-").first).to_be_attached()


def test_every_incident_is_listed_and_leads_to_its_page(watched: Watched) -> None:
    page = watched.open("/")
    page.get_by_role("link", name="Incidents").click()
    expect(page).to_have_url(re.compile("/incidents$"))
    table = Grid(page, "Incidents")
    expect(table.rows()).to_have_count(1 + ALONE)
    table.choose("other.1")
    expect(page.locator("h1")).to_contain_text("1 payment transaction is stuck at other.1")
    expect(page.get_by_test_id("stVegaLiteChart")).to_be_visible()


def test_a_bar_shows_its_transactions(watched: Watched) -> None:
    page = watched.open("/?window=15m")
    bars(page, "Stopped making progress, by reason").last.click()
    expect(page).to_have_url(re.compile(r"/\?.*attention=[a-z_]+&stuck_since=.*&stuck_until=.*&window=15m"))
    expect(page.get_by_role("link", name=re.compile("^Stuck since before"))).to_be_visible()
    page.get_by_role("link", name="Clear all").click()
    expect(page).to_have_url(re.compile(r"/\?window=15m$"))
    expect(page.get_by_role("link", name="Clear all")).to_have_count(0)
    watched.open("/?window=15m")
    bars(page, "Started, by status").last.click()
    expect(page).to_have_url(re.compile(r"/transactions\?status=running&since=.*&until=.*"))
    expect(Grid(page, "Transactions").rows().first).to_be_attached()


def test_fields_narrow_the_overview_and_are_in_the_address(watched: Watched) -> None:
    page = watched.open("/?amount=100")
    expect(page.locator("h1")).to_have_text("No attention needed")
    watched.go("/?service=shipping", "transactions need attention")
    expect(page.locator("h1")).to_have_text(f"{ALONE} transactions need attention")
    expect(Grid(page, "Incidents").root).to_have_count(0)
    expect(page.get_by_label("Service")).to_have_value("shipping")


def test_what_is_new_announces_itself_and_moves_nothing(watched: Watched, collector: RunningCollector) -> None:
    page = watched.open("/")
    table = Grid(page, "Transactions that need attention")
    expect(table.rows()).to_have_count(ALONE)
    expect(bars(page, "Started, by status").first).to_be_attached()  # above the table
    drawn, place = table.texts("Transaction"), table.root.bounding_box()
    refused = [Tried("notification.send", "mail", each + 0.3, each + 0.5, "mailbox full") for each in range(4)]
    send(collector, *saga("late-1", (DONE[0], *refused), ago=50, ended=False))

    news = page.locator(".st-key-overview-news")
    expect(news).to_contain_text("1 more transaction needs attention", timeout=30_000)
    watched.keep("overview-news")
    assert table.texts("Transaction") == drawn
    assert table.root.bounding_box() == place
    assert violations(page) == []

    news.get_by_role("button", name="Show").click()
    expect(table.rows("late-1")).to_be_attached()
    expect(news).to_have_count(0)
