"""The dashboard of a collector that asks for a token: missing, wrong, right."""

from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from support.browser import Watched, running_dashboard
from support.collector import running_collector

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser")]

TOKEN = "read-token-0123456789"


def test_a_page_names_the_token_it_needs_and_continues_once_it_is_right(
    tab: Page, own_port: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "token"
    file.write_text("a-wrong-token-0123456789")
    (tmp_path / "dashboard").mkdir()
    monkeypatch.setenv("SAGASCOPE_TOKEN_FILE", str(file))
    with (
        running_collector(tmp_path, environment={"SAGASCOPE_READ_TOKEN": TOKEN}) as collector,
        running_dashboard(collector.api, tmp_path / "dashboard", port=own_port) as address,
    ):
        watched = Watched(address, tab)
        page = watched.open("/")
        expect(page.locator(".error-state")).to_contain_text("The collector asks for a token")
        expect(page.locator(".error-state")).to_contain_text("--token-file")
        file.unlink()
        expect(page.locator(".error-state")).to_contain_text("cannot be read", timeout=30_000)
        file.write_text(TOKEN)
        expect(page.locator(".error-state")).to_have_count(0, timeout=30_000)
        page.goto("about:blank")
    assert watched.console_errors == []
