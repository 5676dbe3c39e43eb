"""axe-core finds nothing on any screen, in both themes."""

from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from support.browser import Watched, at_a_desk

axe = pytest.importorskip("axe_playwright_python", reason="axe-playwright-python is not installed")

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("dashboard")]

RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
SCREENS = {
    "/transactions?status=running": "Transactions",
    "/incidents": "Incidents",
    "/flows": "Flows",
    "/flow?name=payment": "payment",
    "/services": "Services",
    "/health": "Data health",
    "/sql": "SQL",
    "/compare?name=payment&id=8492": "beside",
    "/saga?name=payment&id=8492": "8492",
    "/saga?name=payment&id=8533": "8533",
    "/": "need",
}


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_screen_can_be_used_by_everyone(browser: Browser, dashboard: str, scheme: str) -> None:
    script = Path(axe.__file__).with_name("axe.min.js").read_text()
    context = at_a_desk(browser, color_scheme=scheme)
    watched = Watched(dashboard, context.new_page())
    watched.open("/").evaluate(script)
    for path, title in SCREENS.items():
        page = watched.go(path, title)
        expect(page.get_by_test_id("stSkeleton")).to_have_count(0)
        found = page.evaluate("(rules) => axe.run(document, { runOnly: rules })", RULES)
        assert [(wrong["id"], [node["target"] for node in wrong["nodes"]]) for wrong in found["violations"]] == []
    context.close()
