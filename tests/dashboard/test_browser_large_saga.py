"""A transaction of 200 steps with many attempts each stays readable: shown in a real browser."""

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect

from support import staged
from support.browser import Watched, running_dashboard
from support.collector import RunningCollector, running_collector

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser")]

LARGE = "/saga?name=fulfilment&id=large"


@pytest.fixture(scope="module")
def collector() -> Iterator[RunningCollector]:
    """Its own: other tests know what the shared one holds."""
    with running_collector() as running:
        staged.large(running, attempts=7, below=250)
        yield running


@pytest.fixture(scope="module")
def dashboard(collector: RunningCollector, own_port: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with running_dashboard(collector.api, tmp_path_factory.mktemp("large"), port=own_port) as address:
        yield address


@pytest.fixture
def page(watched: Watched) -> Page:
    """The page of the large transaction, as it is at first: each test leaves it so."""
    if LARGE not in watched.page.url:
        watched.open(LARGE)
    expect(watched.page.get_by_label("Filter steps")).to_have_value("")
    expect(watched.page.locator(".bar.folded")).to_have_count(180)
    return watched.page


def filter_steps(page: Page, text: str) -> None:
    page.get_by_label("Filter steps").fill(text)
    page.keyboard.press("Enter")


def test_the_timeline_starts_within_the_first_screen(page: Page) -> None:
    expect(page.locator(".headline")).to_contain_text("service-3.step-179 keeps failing")
    lane = page.locator(".tl-lane").first
    expect(lane).to_be_in_viewport()
    expect(page.locator(".tl-name", has_text="service-3")).to_have_count(1)


def test_the_plan_is_short_and_opens_at_a_click(page: Page) -> None:
    groups = page.locator(".plan-groups li")
    expect(groups).to_have_text(
        [
            "178 done",
            "service-2.step-178: done",
            "service-3.step-179: retrying",
            "service-4.step-180: not started",
            "19 not started",
        ]
    )
    expect(page.locator(".plan-step").first).to_be_hidden()
    page.get_by_text("All 200 steps").click()
    expect(page.locator(".plan-step")).to_have_count(200)
    expect(page.locator(".plan-step").first).to_be_visible()
    page.get_by_text("All 200 steps").click()


LOSE_NEXT_CHOICE = """() => {
  const send = WebSocket.prototype.send;
  WebSocket.prototype.send = function (message) {
    if (!new TextDecoder().decode(message).includes("choice")) return send.call(this, message);
    WebSocket.prototype.send = send;
    window.lost = true;
  };
}"""


def test_repeated_attempts_are_one_bar_and_one_row_that_unfold_though_the_choice_is_lost_once(page: Page) -> None:
    expect(page.locator(".bar.k-action")).to_have_count(179 * 4 + 3)  # first, folded, last failure, success
    filter_steps(page, "step-179")
    folded, attempts = page.locator(".bar.folded"), page.locator(".bar.k-action")
    expect(folded).to_have_count(1)
    expect(folded).to_have_attribute("aria-label", re.compile("^service-3.step-179, attempts 2 to 6: same error in"))
    folded.click()
    expect(attempts).to_have_count(7)
    expect(page.locator(".bar:focus")).to_have_attribute("aria-label", re.compile("attempt 2 "))
    page.get_by_role("button", name="Fold attempts").click()
    expect(attempts).to_have_count(3)

    expect(page.get_by_role("tab", name="Attempts (7)")).to_be_visible()
    rows = page.locator(".st-key-saga-attempts tbody tr")
    expect(rows).to_have_count(3)
    rows.nth(1).get_by_role("button", name="attempts 2 to 6: same error").click()
    expect(rows).to_have_count(7)
    expect(attempts).to_have_count(7)
    rows.first.get_by_role("button", name="fold").click()
    expect(rows).to_have_count(3)

    page.evaluate(LOSE_NEXT_CHOICE)
    folded.click()
    expect(attempts).to_have_count(7)  # it was sent again
    assert page.evaluate("window.lost")
    page.wait_for_timeout(4_000)  # and is not handled again
    expect(attempts).to_have_count(7)
    page.get_by_role("button", name="Fold attempts").click()
    filter_steps(page, "")


def test_evidence_leads_to_attempts_that_are_folded(page: Page) -> None:
    page.locator(".evidence-list button", has_text="(attempt 1)").first.click()
    expect(page.locator(".bar.selected")).to_have_attribute("aria-label", re.compile("^service-3.step-179"))


def test_a_filter_leaves_the_steps_that_contain_it_and_stays(page: Page) -> None:
    filter_steps(page, "SERVICE-5")
    expect(page.locator(".tl-collapse")).to_have_text(["service-5"])
    expect(page.get_by_text("All 25 steps")).to_be_visible()
    filter_steps(page, "no such step")
    expect(page.locator(".bar.k-action")).to_have_count(0)
    filter_steps(page, "")


def test_lanes_are_collapsed_one_by_one_and_together(page: Page) -> None:
    lane = page.locator(".tl-lane", has=page.get_by_role("button", name="service-3", exact=True))
    name = lane.get_by_role("button", name="service-3", exact=True)
    name.click()
    expect(name).to_have_attribute("aria-expanded", "false")
    expect(lane.locator(".bar-text").first).to_be_hidden()
    page.get_by_role("button", name="Expand lanes").click()
    expect(name).to_have_attribute("aria-expanded", "true")
    page.get_by_role("button", name="Collapse lanes").click()
    expect(page.locator(".tl-collapse[aria-expanded=false]")).to_have_count(9)
    page.get_by_role("button", name="Expand lanes").click()


def test_the_critical_path_is_marked(page: Page) -> None:
    expect(page.locator(".tl-legend")).to_contain_text("critical path")
    expect(page.locator(".bar.critical.k-action").first).to_have_attribute(
        "aria-label", re.compile("on the critical path")
    )


def test_spans_come_when_they_are_asked_for(page: Page) -> None:
    expect(page.locator(".bar.k-span")).to_have_count(0)
    expect(page.locator(".tl-footer")).to_contain_text("more spans are not shown")
    page.get_by_role("button", name="All spans").click()
    expect(page.locator(".bar.k-span")).to_have_count(250)
    expect(page.locator(".tl-footer")).not_to_contain_text("more spans are not shown")
    page.get_by_role("button", name="All spans").click()
    expect(page.locator(".bar.k-span")).to_have_count(0)
