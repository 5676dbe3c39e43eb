"""One type in the browser: what fails is seen first, attempts are counted apart, and everything leads to its list."""

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import expect

from support import day, staged
from support.browser import Grid, Watched, running_dashboard
from support.collector import RunningCollector, running_collector

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser")]


@pytest.fixture(scope="module")
def collector() -> Iterator[RunningCollector]:
    """Its own, with a day of payments."""
    with running_collector() as running:
        day.post(running, hours=8)
        odd = staged.Payment(running, "odd-1", 60, name="odd")
        odd.step(HOSTILE, 0.1, 0.2, service="odd")
        odd.step("b", 0.3, 0.4)
        odd.close(0.5, "completed")
        yield running


HOSTILE = 'x"];n0 [label=<b>hacked</b>];"\\N&lt;'


@pytest.fixture(scope="module")
def dashboard(collector: RunningCollector, own_port: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with running_dashboard(collector.api, tmp_path_factory.mktemp("flows"), port=own_port) as address:
        yield address


def test_an_hour_in_which_everything_fails_comes_first(watched: Watched) -> None:
    page = watched.open("/flow?name=payment")
    outage = page.get_by_role("alert")
    expect(outage).to_contain_text(
        "All 20 transactions that started then failed or were compensated; all 20 attempts of wallet.debit failed"
    )
    expect(page.locator("[aria-label='wallet.debit: 20 of 20 failed']").first).to_be_attached()
    expect(page.get_by_label("Durations of wallet.debit").get_by_text("all 20 attempts failed")).to_be_attached()
    watched.keep("flow")
    outage.get_by_role("link", name="Show them").click()
    expect(page).to_have_url(re.compile(r"/transactions\?name=payment&since=2.*Z&until=2.*Z$"))
    expect(page.get_by_text("20 transactions", exact=True)).to_be_visible()


def test_a_retry_storm_is_one_transaction(watched: Watched) -> None:
    page = watched.open("/flow?name=payment")
    expect(Grid(page, "Steps").rows("wallet.debit")).to_contain_text("20 (12 %)")
    expect(page.locator("[aria-label^='wallet.debit: 0 of 2']").first).to_be_attached()
    page.get_by_role("radio", name="Attempts").click()
    expect(page.locator(f"[aria-label='wallet.debit: {day.STORM_ATTEMPTS - 1} of 220 failed']")).to_be_attached()


def test_the_path_is_a_graph_whose_steps_lead_to_their_transactions(watched: Watched) -> None:
    page = watched.open("/flow?name=payment")
    graph = page.get_by_test_id("stGraphVizChart")
    expect(graph.locator(".node")).to_have_count(4)
    expect(graph.locator(".edge")).to_have_count(3)
    expect(graph).to_contain_text("20 of 161 failed")
    expect(graph.locator("a").nth(1)).to_have_attribute("href", "/transactions?name=payment&step=wallet.debit")


def test_paths_and_flows_lead_to_their_lists(watched: Watched) -> None:
    page = watched.open("/flows")
    Grid(page, "Flows").choose("payment")
    expect(page).to_have_url(re.compile(r"/flow\?name=payment"))
    Grid(page, "Paths").choose("without fraud.check")
    expect(page).to_have_url(re.compile(r"/transactions\?name=payment&since=24h&path="))


def test_hostile_names_are_text_in_the_graph(watched: Watched) -> None:
    page = watched.open("/flow?name=odd")
    graph = page.get_by_test_id("stGraphVizChart")
    expect(graph.locator(".node")).to_have_count(2)
    expect(graph.locator(".node").first.locator("text").first).to_have_text(HOSTILE)
