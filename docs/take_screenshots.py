"""Take the pictures that the documents show, from a demo that plays: `make demo`, then `make screenshots`.

All that they show is the demo's: invented shops, amounts and ids.
"""

import shutil
import sys
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

IMAGES = Path(__file__).parent / "images"
SWITCHES = ("--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-sync")
STUCK = "Stuck in ledger.record"


def take(page: Page, url: str) -> None:
    """Find 8492 as a person does, and keep the page as it is then."""
    page.goto(url)
    field = page.get_by_role("textbox").first
    field.fill("8492")
    field.press("Enter")
    page.get_by_text(STUCK).first.wait_for()
    page.get_by_text("notification.send").first.wait_for()
    page.wait_for_timeout(1_500)
    page.screenshot(path=IMAGES / "saga-8492.png")


def main(url: str) -> None:
    """Overwrite the pictures; the dashboard of a demo answers at `url`."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=SWITCHES)
        take(browser.new_page(viewport={"width": 1280, "height": 1240}), url)
        browser.close()


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:8501")
