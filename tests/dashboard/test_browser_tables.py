"""What a reader has done with a table survives its refresh: shown in a real browser, see docs/adr/0014."""

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect

from support import staged
from support.browser import ROW_PIXELS, Grid, Watched, bars, running_dashboard
from support.collector import RunningCollector, running_collector
from support.payments import soon

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser")]


@pytest.fixture(scope="module")
def collector() -> Iterator[RunningCollector]:
    """Its own: other tests know what the shared one holds."""
    with running_collector() as running:
        staged.lost(running)
        staged.retried(running)
        for number in range(20):
            staged.completed(running, f"many-{number:02}")
        yield running


@pytest.fixture(scope="module")
def dashboard(collector: RunningCollector, own_port: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with running_dashboard(collector.api, tmp_path_factory.mktemp("tables"), port=own_port) as address:
        yield address


STATE = """() => ({
  top: document.querySelector('.dvn-scroller').scrollTop,
  left: document.querySelector('.dvn-scroller').scrollLeft,
  focus: document.activeElement.dataset.testid,
  element: window.table === document.querySelector('.dvn-scroller'),
})"""


def refreshed(page: Page, collector: RunningCollector, identity: str, total: int) -> None:
    """Lets one more transaction come, and waits until the page counts it."""
    staged.completed(collector, identity)
    expect(page.get_by_text(f"{total} transactions", exact=True)).to_be_visible(timeout=30_000)


def total(page: Page) -> int:
    shown = page.locator("p", has_text=re.compile(r"^\d+ transactions$"))
    expect(shown).to_be_visible()
    return int(shown.inner_text().split()[0])


def test_scroll_focus_and_hidden_columns_survive_the_refresh(watched: Watched, collector: RunningCollector) -> None:
    page = watched.open("/transactions?name=payment&sort=id")
    table = Grid(page, "Transactions")
    expect(table.rows("8533")).to_be_attached()
    soon(lambda: total(page) == 22)

    table.root.hover()
    page.get_by_role("button", name="Show/hide columns: Transactions").click()
    page.get_by_test_id("stDataFrameColumnVisibilityMenu").get_by_text("Type", exact=True).click()
    page.keyboard.press("Escape")
    expect(table.root.locator("thead th", has_text="Type")).to_have_count(0)
    table.click(300, 3 * ROW_PIXELS)
    page.mouse.wheel(40, 200)
    page.evaluate("window.table = document.querySelector('.dvn-scroller')")
    soon(lambda: page.evaluate(STATE)["top"] == 200)
    before = page.evaluate(STATE)
    assert (before["focus"], before["element"]) == ("data-grid-canvas", True)

    refreshed(page, collector, "zz-last", 23)
    assert page.evaluate(STATE) == before
    expect(table.root.locator("thead th", has_text="Type")).to_have_count(0)


def test_a_choice_leads_to_the_row_that_the_reader_saw(watched: Watched, collector: RunningCollector) -> None:
    """The rows move when a transaction comes; what is chosen is what was shown."""
    page = watched.open("/transactions")
    table = Grid(page, "Transactions")
    expect(table.rows("8533")).to_be_attached()
    before = total(page)
    refreshed(page, collector, "moved-1", before + 1)
    table.choose("8533")
    expect(page.locator("h1")).to_contain_text("8533")


def test_a_title_sorts_everything_and_the_address_keeps_it(watched: Watched) -> None:
    page = watched.open("/transactions")
    table = Grid(page, "Transactions")
    expect(table.rows("8533")).to_be_attached()
    table.click(80, ROW_PIXELS / 2)
    expect(page).to_have_url(re.compile(r"/transactions\?sort=id$"))
    expect(table.root.locator("thead th").first).to_have_text("Transaction ↑")
    assert table.texts("Transaction")[:3] == ["8492", "8533", "many-00"]
    table.click(80, ROW_PIXELS / 2)
    expect(page).to_have_url(re.compile(r"/transactions\?sort=-id$"))
    expect(table.root.locator("thead th").first).to_have_text("Transaction ↓")
    page.get_by_label("Order").click()
    page.get_by_role("option", name="Longest stuck first").click()
    expect(page).to_have_url(re.compile(r"/transactions\?sort=since$"))
    expect(table.rows().first).to_contain_text("8492")


LOSE_NEXT_REQUEST = """(isRunning) =>
  addEventListener("popstate", (event) => {
    event.stopImmediatePropagation();
    if (isRunning) document.querySelector("[data-page-run]").dataset.pageRun = "of the page before";
  }, { capture: true, once: true })"""


@pytest.mark.parametrize("is_running", [False, True], ids=["idle", "while the page runs"])
def test_a_request_that_streamlit_loses_is_repeated(watched: Watched, is_running: bool) -> None:
    page = watched.open("/transactions")
    table = Grid(page, "Transactions")
    expect(table.rows("8533")).to_be_attached()
    page.evaluate(LOSE_NEXT_REQUEST, is_running)
    table.click(80, ROW_PIXELS / 2)
    expect(page).to_have_url(re.compile(r"/transactions\?sort=id$"))
    expect(table.root.locator("thead th").first).to_have_text("Transaction ↑")


def test_a_bar_narrows_the_list_to_its_time_and_status(watched: Watched) -> None:
    page = watched.open("/transactions?since=1h&name=payment")
    expect(Grid(page, "Transactions").rows("8533")).to_be_attached()
    chart = bars(page, "Started, by status")
    chart.and_(page.locator("[aria-label^=Completed]")).last.click()
    expect(page).to_have_url(re.compile(r"/transactions\?status=completed&name=payment&since=2.*Z&until=2.*Z$"))
    expect(Grid(page, "Transactions").rows("8533")).to_have_count(0)
    expect(Grid(page, "Transactions").rows("Completed").first).to_be_attached()  # which ones depends on the minute
    expect(page.get_by_role("link", name=re.compile("^Started before"))).to_be_visible()


def test_the_amount_is_a_field_and_in_the_address(watched: Watched) -> None:
    page = watched.open("/transactions")
    field = page.get_by_label("Amount at risk from")
    field.fill("50")
    field.press("Enter")
    expect(page).to_have_url(re.compile(r"/transactions\?amount=50$"))
    expect(Grid(page, "Transactions").rows()).to_have_count(1)
    expect(page.get_by_text("1 transaction", exact=True)).to_be_visible()
