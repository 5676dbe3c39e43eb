"""Take the pictures of `docs/dashboard.md` from the demo: `python tests/dashboard/take_screenshots.py`."""

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests"))

from playwright.sync_api import Browser, Page  # noqa: E402

from support.browser import PHONE, Watched, at_a_desk, running_browser  # noqa: E402
from support.demo import RunningDemo, running_demo  # noqa: E402
from support.samples import wait_until  # noqa: E402

IMAGES = ROOT / "docs" / "images"
STUCK = "/saga?name=payment&id=8492"

PICTURES = {
    "triage": ("/", "light"),
    "transactions": ("/transactions?status=running", "light"),
    "saga-8492": (STUCK, "light"),
    "timeline-8497": ("/saga?name=payment&id=8497", "dark"),
    "flows": ("/flows", "light"),
    "flow": ("/flow?name=payment&window=1h", "light"),
    "compare": ("/compare?name=payment&id=8492", "light"),
    "services": ("/services", "dark"),
    "health": ("/health", "light"),
}
"""Name: page and theme."""


def main() -> None:
    """Play the demo until all its faults are found, then take every picture."""
    IMAGES.mkdir(exist_ok=True)
    with TemporaryDirectory() as folder, running_demo(Path(folder)) as demo, running_browser() as browser:
        wait_until(lambda: _found(demo) >= 4, "the demo's faults were not found", 120)
        for name, (path, scheme) in PICTURES.items():
            _take(browser, demo, name, path, color_scheme=scheme)
        _take(browser, demo, "saga-8492-phone", STUCK, color_scheme="dark", device_scale_factor=1.5, **PHONE)


def _found(demo: RunningDemo) -> int:
    return len(demo.get("/api/v1/sagas", attention="any")["items"])


def _take(browser: Browser, demo: RunningDemo, name: str, path: str, **how: object) -> None:
    context = at_a_desk(browser, timezone_id="UTC", **how)
    page = Watched(demo.addresses.dashboard.url, context.new_page()).open(path)
    page.wait_for_load_state("networkidle")
    if name.startswith("timeline"):
        page.locator(".timeline").screenshot(path=IMAGES / f"{name}.png")
    else:
        _whole(page, name)
    print(f"docs/images/{name}.png")
    context.close()


def _whole(page: Page, name: str) -> None:
    height = min(int(page.evaluate("document.querySelector('[data-testid=stMain]').scrollHeight")), 1250)
    page.set_viewport_size({"width": (page.viewport_size or {})["width"], "height": max(height, 600)})
    page.screenshot(path=IMAGES / f"{name}.png")


if __name__ == "__main__":
    main()
