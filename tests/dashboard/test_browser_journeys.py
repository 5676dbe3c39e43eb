"""What people do with the dashboard, in a real browser against a live collector."""

import csv
import re
from pathlib import Path
from urllib.parse import urlencode

import pytest
from playwright.sync_api import Browser, Page, expect

from support import staged
from support.browser import PHONE, Grid, Watched, at_a_desk, running_dashboard
from support.collector import RunningCollector, running_collector

from .conftest import HOSTILE

NEEDING = "Transactions that need attention"

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("dashboard")]


def test_from_the_start_page_to_the_verdict_with_one_field_and_one_key(watched: Watched) -> None:
    page = watched.load("/")
    field = page.get_by_role("textbox", name="Find a transaction")
    expect(field).to_be_focused()
    field.fill("8492")
    field.press("Enter")
    expect(page.locator(".headline")).to_contain_text("Stuck in ledger.record")
    expect(page).to_have_url(re.compile(r"/saga\?name=payment&id=8492"))
    expect(page.locator(".bar.k-action")).to_have_count(3)
    expect(page.locator(".tl-name strong")).to_have_text(["orchestrator", "fraud", "wallet", "ledger"])
    watched.keep("saga-light")


def test_the_way_back_leads_where_the_reader_was(watched: Watched) -> None:
    page = watched.open("/transactions?status=running")
    Grid(page, "Transactions").choose("8492")
    expect(page.locator(".headline")).to_contain_text("Stuck in ledger.record")
    page.go_back()
    expect(page).to_have_url(re.compile(r"/transactions\?status=running$"))
    expect(Grid(page, "Transactions").rows("8492")).to_be_attached()
    page.go_forward()
    expect(page.locator(".headline")).to_contain_text("Stuck in ledger.record")


def test_the_overview_leads_to_the_worst(watched: Watched) -> None:
    page = watched.open("/")
    table = Grid(page, NEEDING)
    expect(table.rows("8533")).to_be_attached()
    ids = table.texts("Transaction")
    assert ids.index("8492") < ids.index("8533")
    expect(page.locator(".overview-head")).to_contain_text("€100.00 committed")
    watched.keep("overview-light")
    table.choose("8492")
    expect(page.locator("h1")).to_contain_text("8492")


def test_a_deep_link_opens_the_saga(watched: Watched) -> None:
    page = watched.load("/saga?name=payment&id=8492")
    expect(page.locator(".headline")).to_contain_text("Stuck in ledger.record")
    expect(page).to_have_title("8492 · Sagascope")


def test_times_are_the_readers(watched: Watched) -> None:
    page = watched.open("/saga?name=payment&id=8492")
    moment = page.locator(".facts time").first
    utc = moment.get_attribute("datetime")
    shown = page.evaluate("(m) => new Date(m).toLocaleTimeString('en-GB', {timeZone: 'Europe/Berlin'})", utc)
    expect(moment).to_contain_text(shown)
    assert utc in (moment.get_attribute("title") or "")


def test_evidence_leads_to_its_place_in_the_timeline(watched: Watched) -> None:
    page = watched.open("/saga?name=payment&id=8492")
    expect(page.locator(".bar.k-action")).to_have_count(3)
    page.locator(".evidence-list button", has_text="started ledger.record").click()
    expect(page.locator(".bar.selected")).to_have_attribute("aria-label", re.compile("^ledger.record"))
    expect(page.locator(".tl-card h3")).to_have_text("ledger.record")


def test_the_timeline_is_worked_with_the_keyboard(watched: Watched) -> None:
    page = watched.open("/saga?name=payment&id=8533")
    bars = page.locator(".bar:not(.k-wait)")
    expect(bars.first).to_be_visible()
    bars.first.focus()
    for key in ("ArrowRight", "ArrowRight"):
        page.keyboard.press(key)
    expect(page.locator(".bar:focus")).to_have_attribute("aria-label", re.compile("attempt 1"))
    page.keyboard.press("Enter")
    expect(page.locator(".tl-card")).to_contain_text("the wallet's database is busy")
    page.keyboard.press("End")
    expect(page.locator(".bar:focus")).to_have_attribute("aria-label", re.compile("attempt 4"))
    page.keyboard.press("Escape")
    expect(page.locator(".tl-card")).to_have_count(0)


def test_the_timeline_has_a_form_of_words(watched: Watched) -> None:
    page = watched.open("/saga?name=payment&id=8492")
    page.get_by_text("The timeline as text").click()
    lines = page.locator(".tl-text li")
    expect(lines.last).to_contain_text(re.compile(r"ledger\.record in ledger.*in progress.*has not reported since"))


def test_a_squeezed_stretch_opens_at_a_click(watched: Watched) -> None:
    page = watched.open("/saga?name=payment&id=8533")
    stretch = page.get_by_role("button", name=re.compile("Nothing happened for"))
    expect(stretch.first).to_be_visible()
    before = stretch.count()
    stretch.first.click()
    expect(page.get_by_role("button", name=re.compile("^Collapse these"))).to_have_count(1)
    expect(stretch).to_have_count(before - 1)


def test_what_cannot_apply_is_not_offered(watched: Watched) -> None:
    page = watched.open("/transactions?q=nothing-has-this")
    expect(page.get_by_text("Nothing found for")).to_be_visible()
    expect(page.get_by_role("button", name="Download all as CSV")).to_be_hidden()
    page = watched.go("/transactions", "Transactions")
    expect(page.get_by_role("button", name="Download all as CSV")).to_be_visible()
    page = watched.go("/saga?name=payment&id=nothing-has-this", "No such transaction")
    expect(page.get_by_role("button", name="Try now")).to_be_visible()
    expect(page.get_by_role("button", name="Save as one HTML file")).to_be_hidden()


def test_two_timelines_lie_over_each_other_with_their_differences(watched: Watched) -> None:
    page = watched.open("/compare?name=payment&id=8492")
    chart = page.get_by_label("Both timelines", exact=True)
    expect(
        chart.get_by_text(re.compile(r"^ledger\.record: in progress \(typical: done\), open for 1\d min"))
    ).to_be_attached()
    expect(chart.get_by_text("shipping.book: not reached")).to_be_attached()
    expect(chart.locator("[aria-label='shipping.book: not reached']")).to_be_attached()
    expect(chart.locator("[aria-label^='In progress, ']")).to_be_attached()
    expect(chart.get_by_text("10 min", exact=True)).to_be_attached()  # compressed, as it takes so much longer
    page.get_by_role("radio", name="Even").click()
    expect(chart.get_by_text("1 s", exact=True)).to_have_count(0)
    watched.keep("compare")


def test_a_part_of_the_timeline_is_brushed_and_shown_alone(watched: Watched) -> None:
    page = watched.open("/saga?name=payment&id=9000")
    strip = page.locator(".tl-overview")
    expect(page.locator(".tl-window")).to_be_hidden()
    box = strip.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 10, box["y"] + 9)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.3, box["y"] + 9)
    page.mouse.up()
    expect(page.locator(".tl-window")).to_be_visible()
    expect(page.locator(".bar", has_text="notification.send")).to_be_hidden()
    page.get_by_role("button", name="Fit the whole timeline").click()
    expect(page.locator(".bar", has_text="notification.send")).to_be_visible()


def test_news_comes_by_itself_and_leaves_the_reader_in_peace(watched: Watched, collector: RunningCollector) -> None:
    payment = staged.retried(collector, "8600")
    page = watched.open("/saga?name=payment&id=8600")
    page.get_by_text("The timeline as text").click()
    page.locator(".bar.k-action").nth(1).click()
    select(page, ".customer p")
    page.evaluate("window.before = document.querySelector('.headline'); scroller().scrollTop = 240;")
    payment.step("wallet.debit", 17, 17.5, attempt=5, error="still busy")
    expect(page.locator(".headline")).to_contain_text("5 failed attempts", timeout=15_000)
    assert page.evaluate("window.before === document.querySelector('.headline')")
    assert page.evaluate("getSelection().toString().length > 10")
    assert page.evaluate("scroller().scrollTop") == 240
    assert page.evaluate("document.querySelector('.tl-text').open")
    expect(page.locator(".bar.selected")).to_be_focused()


def select(page: Page, what: str) -> None:
    page.evaluate(
        """(what) => {
          window.scroller = () => document.querySelector('[data-testid=stMain]');
          const range = document.createRange();
          range.selectNodeContents(document.querySelector(what));
          getSelection().removeAllRanges();
          getSelection().addRange(range);
        }""",
        what,
    )


def test_a_search_without_result_gives_the_reason(watched: Watched) -> None:
    page = watched.open("/")
    field = page.get_by_role("textbox", name="Find a transaction")
    field.fill("zzz")
    field.press("Enter")
    expect(page.locator(".empty-state")).to_have_text("Nothing found for “zzz”: no record like it was received.")
    page.locator("h1").click()
    page.keyboard.press("/")
    expect(field).to_be_focused()


def test_nothing_received_is_ever_interpreted(watched: Watched) -> None:
    page = watched.open("/")
    Grid(page, NEEDING).choose("hostile")
    expect(page.locator("h1")).to_contain_text("<script>window.hacked=1</script>")
    expect(page.locator("h1")).to_contain_text(r"\x1b[31m\u202e<script>")
    for number in range(page.locator(".bar").count()):
        page.locator(".bar").nth(number).click(force=True)
    for tab, table in (("Logs", "Log lines"), ("Spans", "Spans")):
        page.get_by_role("tab", name=tab).click()
        expect(Grid(page, table).rows().first).to_be_attached(timeout=30_000)
    assert page.evaluate("window.hacked") is None
    assert page.locator("a[href^='javascript']").count() == 0
    assert (
        page.locator(".sagascope-elements img, .sagascope-elements script, .timeline img, .timeline script").count()
        == 0
    )
    watched.keep("hostile")
    hostile = urlencode({"name": HOSTILE})
    places = {
        "/flows": "Flows",
        f"/flow?{hostile}": "<script>",
        "/services": "Services",
        "/health": "Data health",
        f"/compare?{hostile}&id=hostile": "Compare",
    }
    for path, title in places.items():
        watched.go(path, title)
        assert page.evaluate("window.hacked") is None
        assert page.locator("a[href^='javascript'], .sagascope-elements img, .sagascope-elements script").count() == 0


def test_the_list_is_downloaded_as_csv_with_its_filters(watched: Watched, tmp_path: Path) -> None:
    page = watched.open("/transactions?attention=any")
    table = Grid(page, "Transactions")
    expect(table.rows("8492")).to_contain_text(re.compile(r"\d+ min"))
    with page.expect_download() as download:
        page.get_by_role("button", name="Download all as CSV").click()
    assert download.value.suggested_filename == "transactions.csv"
    assert download.value.url.startswith("blob:")  # a refresh must not delete it before the browser has it
    download.value.save_as(tmp_path / "transactions.csv")
    rows = list(csv.DictReader((tmp_path / "transactions.csv").read_text(encoding="utf-8").splitlines()))
    assert len(rows) == table.rows().count()
    assert {row["attention"] for row in rows if row["id"] == "8492"} == {"instance_lost"}


def test_every_screen_fits_a_phone(browser: Browser, dashboard: str) -> None:
    context = at_a_desk(browser, **PHONE)
    watched = Watched(dashboard, context.new_page())
    screens = {
        "/": "need",
        "/transactions": "Transactions",
        "/incidents": "Incidents",
        "/flows": "Flows",
        "/services": "Services",
        "/health": "Data health",
        "/flow?name=payment": "payment",
        "/compare?name=payment&id=8492": "beside",
        "/saga?name=payment&id=8492": "8492",
    }
    for path, title in screens.items():
        page = watched.go(path, title)
        expect(page.get_by_test_id("stSkeleton")).to_have_count(0)
        assert page.evaluate("document.querySelector('[data-testid=stMain]').scrollWidth") <= 390
    context.close()
    assert watched.console_errors == []


def test_the_first_look_after_embedding(tab: Page, own_port: int, tmp_path: Path) -> None:
    """Nothing is there; then the first transaction comes, and the page shows it, and what its service could send."""
    with running_collector(tmp_path) as fresh, running_dashboard(fresh.api, tmp_path, port=own_port) as address:
        watched = Watched(address, tab)
        page = watched.open("/")
        expect(page.locator(".no-attention")).to_contain_text("No transaction has been received yet")
        staged.completed(fresh, "first-1")
        expect(page.locator(".counts a", has_text="completed")).to_contain_text("1", timeout=30_000)
        page.locator(".counts a", has_text="completed").click()
        Grid(page, "Transactions").choose("first-1")
        expect(page.locator(".headline")).to_contain_text("Completed")
        watched.go("/health", "Data health")
        expect(Grid(page, "Senders").rows("orchestrator")).to_be_attached()
        page.get_by_text(re.compile(r"^No heartbeats are sent\. \(\d services\)$")).click()
        expect(page.get_by_text('sagascope.configure(service_name="ledger")')).to_be_visible()
        watched.keep("first-look")
        page.goto("about:blank")
        assert watched.console_errors == []
