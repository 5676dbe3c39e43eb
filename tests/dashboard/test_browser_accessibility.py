"""axe-core finds nothing on any screen, in both themes."""

import pytest
from playwright.sync_api import expect

from support.browser import Watched, violations

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("dashboard")]

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


def test_every_screen_can_be_used_by_everyone(watched: Watched) -> None:
    for path, title in SCREENS.items():
        page = watched.go(path, title)
        expect(page.get_by_test_id("stSkeleton")).to_have_count(0)
        assert (path, violations(page)) == (path, [])
