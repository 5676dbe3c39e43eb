"""The keys: `/` and `?` from anywhere but a field, shown in a real browser."""

import pytest
from playwright.sync_api import Page, expect

from support.browser import Watched, violations

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("dashboard")]

SAGA = "/saga?name=payment&id=8492"


def keys(page: Page) -> None:
    """Waits until the page listens to keys, which it does a moment after it is drawn."""
    page.locator("dialog.keys").wait_for(state="attached")


def test_a_question_mark_shows_the_keys_and_escape_gives_the_focus_back(watched: Watched) -> None:
    page = watched.open(SAGA)
    keys(page)
    page.get_by_role("button", name="Copy as Markdown").focus()
    page.keyboard.press("?")
    dialog = page.get_by_role("dialog", name="Keyboard")
    expect(dialog).to_be_visible()
    for text in ("Go to the search field", "Show these keys", "Fit the whole timeline", "Escape"):
        expect(dialog).to_contain_text(text)
    expect(dialog.get_by_role("button", name="Close")).to_be_focused()
    assert violations(page) == []
    page.keyboard.press("/")
    expect(page.get_by_label("Find a transaction")).not_to_be_focused()
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    expect(page.get_by_role("button", name="Copy as Markdown")).to_be_focused()


def test_a_question_mark_in_a_field_is_a_character(watched: Watched) -> None:
    page = watched.open(SAGA)
    keys(page)
    page.get_by_role("button", name="Copy as Markdown").focus()
    page.keyboard.press("/")
    field = page.get_by_label("Find a transaction")
    expect(field).to_be_focused()
    page.keyboard.type("8?/")
    expect(field).to_have_value("8?/")
    expect(page.get_by_role("dialog")).to_have_count(0)


def test_the_timeline_leads_to_the_keys_too(watched: Watched) -> None:
    page = watched.open(SAGA)
    keys(page)
    button = page.locator(".timeline").get_by_role("button", name="Keyboard")
    button.click()
    page.get_by_role("dialog", name="Keyboard").get_by_role("button", name="Close").click()
    expect(page.get_by_role("dialog")).to_have_count(0)
    expect(button).to_be_focused()
