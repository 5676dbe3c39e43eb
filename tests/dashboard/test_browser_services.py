"""Services in the browser: who calls whom, versions, and deployments on the charts of other pages."""

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import expect

from support import day, staged
from support.browser import PHONE, Grid, Watched, running_dashboard
from support.collector import RunningCollector, running_collector

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser")]

DEPLOYED = f"wallet {day.NEW_VERSION}"


@pytest.fixture(scope="module")
def collector() -> Iterator[RunningCollector]:
    """Its own, with a day of payments, and one whose ledger is lost."""
    with running_collector() as running:
        day.post(running, hours=8)
        staged.lost(running)
        yield running


@pytest.fixture(scope="module")
def dashboard(collector: RunningCollector, own_port: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with running_dashboard(collector.api, tmp_path_factory.mktemp("services"), port=own_port) as address:
        yield address


def test_the_map_shows_who_calls_whom_and_what_fails(watched: Watched) -> None:
    page = watched.open("/services")
    page.get_by_role("radio", name="last 24h").click()
    graph = page.get_by_test_id("stGraphVizChart")
    expect(graph.locator(".edge")).to_have_count(5)
    expect(graph.locator(".edge", has_text="10 % failed")).to_have_count(1)
    expect(graph.locator(".node", has_text="ledger")).to_contain_text("1 not reporting, with work in flight")
    expect(graph.locator(".node", has_text="wallet")).to_contain_text(day.NEW_VERSION)
    expect(page.get_by_label("Versions over time").get_by_text(day.NEW_VERSION, exact=True)).to_be_attached()
    watched.keep("services")


def test_on_a_phone_the_map_keeps_a_size_that_can_be_read(watched: Watched) -> None:
    page = watched.open("/services")
    desk = page.viewport_size
    page.set_viewport_size(PHONE["viewport"])
    name = page.get_by_test_id("stGraphVizChart").locator(".node text").first
    expect(name).to_be_attached()
    assert (name.bounding_box() or {"height": 0})["height"] >= 10
    page.set_viewport_size(desk)


def test_a_process_leads_to_what_needs_attention_in_its_service(watched: Watched) -> None:
    page = watched.open("/services")
    Grid(page, "Processes").choose("ledger-8492")
    expect(page).to_have_url(re.compile(r"/transactions\?attention=any&service=ledger$"))


@pytest.mark.parametrize(
    ("path", "charts"),
    [
        ("/?window=24h", ["Stopped making progress, by reason", "Started, by status"]),
        ("/transactions?since=24h", ["Started, by status"]),
        ("/flow?name=payment", ["Started, by status", "Failed, by step: transactions", "Durations of wallet.debit"]),
    ],
)
def test_a_deployment_is_marked_on_charts_over_time(watched: Watched, path: str, charts: list[str]) -> None:
    page = watched.open(path)
    for name in charts:
        expect(page.get_by_label(name, exact=True).get_by_text(DEPLOYED, exact=True).last).to_be_attached()
