"""Take the pictures of `docs/dashboard.md` from the demo: `python tests/dashboard/take_screenshots.py`."""

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests"))

from playwright.sync_api import Browser, Page, expect  # noqa: E402

from support.browser import PHONE, Watched, at_a_desk, running_browser  # noqa: E402
from support.demo import RunningDemo, running_demo  # noqa: E402
from support.samples import wait_until  # noqa: E402

MAX_PIXELS = 1800
"""Height of the tallest picture."""

IMAGES = ROOT / "docs" / "images"
STUCK = "/saga?name=payment&id=8492"

PICTURES = {
    "overview": ("/?window=15m", "light"),
    "transactions": ("/transactions?status=running", "light"),
    "saga-8492": (STUCK, "light"),
    "timeline-8497": ("/saga?name=payment&id=8497", "dark"),
    "flows": ("/flows", "light"),
    "flow": ("/flow?name=payment&window=15m", "light"),
    "compare": ("/compare?name=payment&id=8492", "light"),
    "services": ("/services", "dark"),
    "health": ("/health", "light"),
    "sql": ("/sql", "light"),
}
"""Name: page and theme."""


def main() -> None:
    """Play the demo until all its faults are found, then take every picture, or those that are named."""
    IMAGES.mkdir(exist_ok=True)
    with TemporaryDirectory() as folder, running_demo(Path(folder)) as demo, running_browser() as browser:
        wait_until(lambda: _found(demo) >= 4, "the demo's faults were not found", 120)
        for name, (path, scheme) in PICTURES.items():
            if name in (sys.argv[1:] or PICTURES):
                _take(browser, demo, name, path, color_scheme=scheme)
        if not sys.argv[1:]:
            _take(browser, demo, "saga-8492-phone", STUCK, color_scheme="dark", device_scale_factor=1.5, **PHONE)


def _found(demo: RunningDemo) -> int:
    return len(demo.get("/api/v1/sagas", attention="any")["items"])


def _take(browser: Browser, demo: RunningDemo, name: str, path: str, **how: object) -> None:
    context = at_a_desk(browser, timezone_id="UTC", **how)
    page = Watched(demo.addresses.dashboard.url, context.new_page()).open(path)
    page.wait_for_load_state("networkidle")
    if name == "sql":
        _ask(page, "Which steps are retried?")
    if name == "flow":
        page.get_by_role("region", name="Transitions").wait_for()
    _await_charts(page)
    if name.startswith("timeline"):
        page.locator(".timeline").screenshot(path=IMAGES / f"{name}.png")
    else:
        _whole(page, name)
    print(f"docs/images/{name}.png")
    context.close()


def _ask(page: Page, example: str) -> None:
    page.get_by_label("Example").click()
    page.get_by_role("option", name=example).click()
    page.wait_for_timeout(1000)
    page.get_by_role("button", name="Run").click()
    page.get_by_role("region", name="Result").wait_for()


def _await_charts(page: Page) -> None:
    """Waits until each chart is drawn: Streamlit loads what draws them when the first is shown."""
    expect(page.get_by_test_id("stSkeleton")).to_have_count(0)
    page.wait_for_timeout(500)


def _whole(page: Page, name: str) -> None:
    height = min(int(page.evaluate("document.querySelector('[data-testid=stMain]').scrollHeight")), MAX_PIXELS)
    page.set_viewport_size({"width": (page.viewport_size or {})["width"], "height": max(height, 600)})
    _await_charts(page)
    page.screenshot(path=IMAGES / f"{name}.png")


if __name__ == "__main__":
    main()
