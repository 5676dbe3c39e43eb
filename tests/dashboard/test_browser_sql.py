"""SQL in the dashboard: only where the collector answers it, and with the rights of the reader."""

import csv
import re
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from support.browser import Grid, Watched, running_dashboard
from support.collector import running_collector

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser")]

TOKEN, OPERATORS_TOKEN = "read-token-0123456789", "change-token-0123456789"


def ask(page: Page, query: str) -> None:
    field = page.get_by_label("Query", exact=True)
    field.fill(query)
    field.press("Control+Enter")


def test_a_query_is_answered_as_table_chart_and_file(watched: Watched, tmp_path: Path) -> None:
    page = watched.open("/")
    page.get_by_role("link", name="SQL", exact=True).click()
    ask(
        page,
        "SELECT status, count(*) AS sagas, -1.50 AS less FROM sagas WHERE name = 'payment' GROUP BY ALL ORDER BY ALL",
    )
    table = Grid(page, "Result")
    expect(table.rows("compensated")).to_be_attached()
    expect(page.get_by_text(re.compile("^3 rows, "))).to_be_visible()
    expect(page.get_by_label("sagas by status", exact=True).locator(".mark-rect.role-mark path")).to_have_count(3)
    expect(page).to_have_url(re.compile(r"/sql\?query=SELECT"))
    with page.expect_download() as download:
        page.get_by_role("button", name="Download the result as CSV").click()
    download.value.save_as(tmp_path / "result.csv")
    lines = list(csv.reader((tmp_path / "result.csv").read_text(encoding="utf-8").splitlines()))
    assert [lines[0], lines[1][0], lines[1][2]] == [["status", "sagas", "less"], "compensated", "-1.50"]
    watched.keep("sql")


def test_an_example_is_a_line_over_time(watched: Watched) -> None:
    page = watched.open("/sql")
    page.get_by_label("Example").click()
    page.get_by_role("option", name="How long does each step take, by hour?").click()
    expect(page.get_by_label("Query", exact=True)).to_have_value(re.compile("^SELECT saga_name, step, date_trunc"))
    page.get_by_role("button", name="Run").click()
    expect(Grid(page, "Result").rows("wallet.debit").first).to_be_attached()
    expect(page.get_by_label("attempts by hour (UTC)", exact=True).locator(".mark-symbol path").first).to_be_attached()
    page.get_by_role("radio", name="p95").click()
    expect(page.get_by_label("p95 by hour (UTC)", exact=True)).to_be_visible()


def test_an_error_is_the_one_of_the_api(watched: Watched) -> None:
    page = watched.open("/sql")
    for query, reason in (
        ("DROP TABLE sagas", "This query is refused: it is not one SELECT statement."),
        ("SELECT nothing FROM sagas", "This query cannot be run."),
        ("SELECT * FROM read_csv('/etc/passwd')", "refused"),
    ):
        ask(page, query)
        expect(page.get_by_role("alert")).to_contain_text(reason)


def test_what_was_received_stays_text(watched: Watched) -> None:
    page = watched.open("/sql")
    ask(page, "SELECT name, name AS name, 1 AS number FROM sagas WHERE id = 'hostile'")
    expect(Grid(page, "Result").rows(r"\x1b[31m\u202e<script>")).to_be_attached()
    assert page.evaluate("window.hacked") is None
    assert Grid(page, "Result").root.locator("thead th").all_inner_texts()[:2] == ["name", "name (2)"]


def test_a_reader_needs_a_token_of_their_own(
    tab: Page, own_port: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The dashboard's own token shows the other pages, and permits no query."""
    (tmp_path / "token").write_text(OPERATORS_TOKEN)
    (tmp_path / "dashboard").mkdir()
    tokens = {"SAGASCOPE_READ_TOKEN": TOKEN, "SAGASCOPE_CHANGE_TOKEN": OPERATORS_TOKEN}
    monkeypatch.setenv("SAGASCOPE_TOKEN_FILE", str(tmp_path / "token"))
    with (
        running_collector(tmp_path, environment=tokens) as collector,
        running_dashboard(collector.api, tmp_path / "dashboard", port=own_port) as address,
    ):
        watched = Watched(address, tab)
        page = watched.open("/")
        page.get_by_role("link", name="SQL", exact=True).click()
        field = page.get_by_role("textbox", name="Your token")
        expect(page.get_by_label("Query", exact=True)).to_have_count(0)
        field.fill("a-wrong-token-0123456789")
        field.press("Enter")
        expect(page.get_by_role("alert")).to_contain_text("The collector does not accept this token.")
        field.fill(TOKEN)
        field.press("Enter")
        ask(page, "SELECT 41 + 1 AS answer")
        expect(Grid(page, "Result").rows("42")).to_be_attached()
        expect(watched.load("/sql").get_by_role("textbox", name="Your token")).to_be_visible()
        page.goto("about:blank")
    assert watched.console_errors == []


def test_a_reader_elsewhere_cannot_use_a_collector_without_tokens(watched: Watched) -> None:
    watched.page.set_extra_http_headers({"X-Forwarded-For": "192.0.2.7"})
    page = watched.load("/sql")
    expect(page.locator(".error-state")).to_contain_text("requires no token")
    expect(page.get_by_role("link", name="SQL", exact=True)).to_have_count(0)
    page.set_extra_http_headers({})
    page.goto("about:blank")
