"""What a transaction is made of: log lines, spans, calls, branches of its plan. Shown in a real browser."""

import re
from collections.abc import Iterator

import httpx
import pytest
from playwright.sync_api import Page, expect

from support import staged
from support.browser import Grid, Watched, running_dashboard
from support.collector import RunningCollector, running_collector
from support.payments import soon

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser")]


@pytest.fixture(scope="module")
def collector() -> Iterator[RunningCollector]:
    """Its own: other tests know what the shared one holds."""
    with running_collector() as running:
        staged.logged(running)
        staged.branched(running)
        yield running


@pytest.fixture(scope="module")
def dashboard(collector: RunningCollector, own_port: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    logs, jaeger = "Logs of a step=https://logs.example/{service}?q={step}", "Jaeger=https://j.example/{trace_id}"
    links = (f"--link={logs}", f"--link={jaeger}")
    with running_dashboard(collector.api, tmp_path_factory.mktemp("records"), *links, port=own_port) as address:
        yield address


@pytest.fixture
def page(watched: Watched) -> Page:
    return watched.open("/saga?name=payment&id=logged")


def test_from_filtered_log_lines_to_a_span_and_to_the_timeline(page: Page) -> None:
    page.get_by_role("tab", name="Logs (3)").click()  # the start record of the transaction itself is none
    table = Grid(page, "Log lines")
    expect(table.rows()).to_have_count(3)
    page.get_by_role("radio", name="Errors", exact=True).click()
    expect(table.rows()).to_have_count(1)
    expect(table.rows("the audit trail")).to_have_count(1)
    page.get_by_role("radio", name="All", exact=True).click()
    field = page.get_by_label("Filter lines")
    field.fill("POOL")
    field.press("Enter")
    expect(table.rows()).to_have_count(1)
    table.choose("nearly full")
    expect(page.locator(".record")).to_contain_text("pool.size")
    expect(page.locator(".record h3")).to_have_text("the pool is nearly full")
    page.get_by_role("button", name="Show its span").click()
    shown = page.locator(".st-key-saga-span .record")
    expect(shown.locator("h3")).to_have_text("INSERT wallet_entries")
    expect(shown).to_contain_text("INSERT INTO entries")
    shown.get_by_role("button", name="Show on the timeline").click()
    expect(page.locator(".tl-card h3")).to_have_text("INSERT wallet_entries")


def test_the_open_tab_stays_when_more_is_received(watched: Watched, collector: RunningCollector) -> None:
    payment = staged.logged(collector, "growing")
    page = watched.open("/saga?name=payment&id=growing")
    page.get_by_role("tab", name="Logs (3)").click()
    table = Grid(page, "Log lines")
    table.choose("nearly full")
    payment.log("wallet", "the pool has room again", 0.95)
    expect(page.get_by_role("tab", name="Logs (4)")).to_have_attribute("aria-selected", "true")
    expect(table.rows()).to_have_count(4)
    expect(page.locator(".record h3")).to_have_text("the pool is nearly full")


def test_spans_are_a_tree_that_is_filtered_with_what_is_above(page: Page) -> None:
    page.get_by_role("tab", name="Spans (4)").click()
    table = Grid(page, "Spans")
    expect(table.rows()).to_have_count(4)
    page.keyboard.press("ArrowLeft")
    expect(page.get_by_role("tab", name="Logs (3)")).to_have_attribute("aria-selected", "true")
    expect(table.root).to_have_count(0)
    page.keyboard.press("ArrowRight")
    expect(table.rows()).to_have_count(4)
    assert [cell.strip() for cell in table.texts("Span")] == [
        "payment",
        "└ fraud.check",
        "└ wallet.debit",
        "└ INSERT wallet_entries",
    ]
    field = page.get_by_label("Filter spans")
    field.fill("insert into")
    field.press("Enter")
    expect(table.rows()).to_have_count(3)
    table.choose("wallet.debit")
    expect(page.locator(".record h3")).to_have_text("wallet.debit")
    expect(page.locator(".record")).to_contain_text("saga.step.name")


def test_calls_are_arrows_between_services(page: Page) -> None:
    page.get_by_role("radio", name="Sequence").click()
    expect(page.locator(".sq-heads strong")).to_have_text(["orchestrator", "fraud", "wallet"])
    expect(page.locator(".bar")).to_have_count(0)
    arrow = page.get_by_role("button", name="call from orchestrator to wallet: wallet.debit, succeeded, took 1 s")
    box = arrow.locator("svg").bounding_box()
    heads = [head.bounding_box() for head in page.locator(".sq-heads strong").all()]
    assert box is not None
    middles = [head["x"] + head["width"] / 2 for head in heads if head]
    assert abs(box["x"] - middles[0]) < 2
    assert abs(box["x"] + box["width"] - middles[2]) < 2
    arrow.click()
    expect(page.locator(".st-key-saga-sequence-span h3")).to_have_text("wallet.debit")
    page.get_by_role("radio", name="Timeline").click()
    expect(page.locator(".bar.k-action")).to_have_count(2)


def test_the_plan_shows_branches_loops_and_children(watched: Watched) -> None:
    page = watched.open("/saga?name=booking&id=trip")
    steps = {
        name: page.locator(".plan-step").filter(has=page.get_by_text(name, exact=True))
        for name in ("quote", "room.hold", "flight.book", "ticket.issue")
    }
    places = {name: step.bounding_box() or {} for name, step in steps.items()}
    assert places["room.hold"]["x"] == places["flight.book"]["x"] > places["quote"]["x"]
    assert places["flight.book"]["y"] > places["room.hold"]["y"] == places["quote"]["y"]
    expect(steps["ticket.issue"]).to_contain_text("after room.book and flight.book")
    page.get_by_text("3 items: 2 done, 1 failed").click()
    expect(page.locator(".repetitions li")).to_have_text(["room 101: done", "room 102: done", "room 103: failed"])
    expect(steps["flight.book"].get_by_role("link", name="flight-77")).to_have_attribute("href", "/saga?id=flight-77")


def test_links_to_other_tools_are_on_the_pages_whose_values_they_need(
    watched: Watched, collector: RunningCollector
) -> None:
    page = watched.open("/saga?name=booking&id=trip")
    logs, jaeger = (page.get_by_role("link", name=f"Open in {name}") for name in ("Logs of a step", "Jaeger"))
    expect(logs).to_have_attribute("href", "https://logs.example/room?q=room.book")
    expect(jaeger).to_have_attribute("href", re.compile(r"^https://j\.example/[0-9a-f]{32}$"))
    key = soon(lambda: incident_key(collector))
    watched.go(f"/incident?key={key}", "stuck at room.book")
    expect(logs).to_have_attribute("href", "https://logs.example/room?q=room.book")
    expect(jaeger).to_have_count(0)


def incident_key(collector: RunningCollector) -> str | None:
    items = httpx.get(f"{collector.api}/api/v1/incidents", timeout=10, trust_env=False).json()["items"]
    return next((item["key"] for item in items if item["name"] == "booking"), None)
