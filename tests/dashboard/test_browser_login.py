"""Where a login is asked for, nothing is shown before."""

from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from support.browser import Watched, running_dashboard
from support.collector import RunningCollector

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("dashboard")]

ASKED = """
[auth]
redirect_uri = "http://127.0.0.1/oauth2callback"
cookie_secret = "of a test"
client_id = "sagascope"
client_secret = "of a test"
server_metadata_url = "http://127.0.0.1:9/.well-known/openid-configuration"
"""


def test_nothing_is_shown_before_the_login(
    tab: Page, own_port: int, collector: RunningCollector, tmp_path: Path
) -> None:
    (tmp_path / ".streamlit").mkdir()
    (tmp_path / ".streamlit" / "secrets.toml").write_text(ASKED)
    with running_dashboard(collector.api, tmp_path, port=own_port) as address:
        watched = Watched(address, tab)
        for path in ("/", "/saga?name=payment&id=8492"):
            page = watched.load(path)
            expect(page.locator(".sagascope-elements h1")).to_have_text("Log in")
            expect(page.locator(".brand")).to_have_count(0)
            expect(page.get_by_label("Find a transaction")).to_have_count(0)
        tab.goto("about:blank")
