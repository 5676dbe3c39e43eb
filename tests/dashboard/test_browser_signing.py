"""Signing in at a provider and out again, in a real browser; what the provider says is believed only when it fits."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect

from support.browser import at_a_desk, running_dashboard
from support.collector import RunningCollector, running_collector
from support.payments import DONE, Tried, saga, send, soon

pytest.importorskip("authlib", reason="Authlib, which logs in, is not installed")
from support.oidc import CLIENT, SECRET, Provider, running_provider  # after the check: it needs Authlib's parts

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser")]

REFUSED = "The login failed"


@pytest.fixture(scope="module")
def collector() -> Iterator[RunningCollector]:
    with running_collector() as running:
        failing = [Tried("ledger.record", "ledger", each + 0.3, each + 0.5, "timed out") for each in range(4)]
        for number in range(6):
            send(running, *saga(f"p-{number}", (DONE[0], *failing), ago=100 + number, ended=False))
        soon(lambda: bool(_incidents(running)))
        yield running


@pytest.fixture(scope="module")
def provider() -> Iterator[Provider]:
    with running_provider() as running:
        yield running
        assert running.protocol_errors == []


@pytest.fixture(scope="module")
def address(
    collector: RunningCollector, own_port: int, provider: Provider, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("signing")
    _ask_for_a_login(folder, own_port, provider)
    with running_dashboard(collector.api, folder, port=own_port) as address:
        yield address


@pytest.fixture
def page(tab: Page) -> Iterator[Page]:
    """A page of a reader who is not logged in; what the browser has loaded for another one stays with it."""
    tab.context.clear_cookies()
    yield tab
    tab.goto("about:blank")


def _incidents(running: RunningCollector) -> list[Any]:
    items = httpx.get(f"{running.api}/api/v1/incidents", timeout=10, trust_env=False).json()["items"]
    return list(items)


def _ask_for_a_login(folder: Path, port: int, provider: Provider) -> None:
    words = {
        "redirect_uri": f"http://127.0.0.1:{port}/oauth2callback",
        "cookie_secret": "of a test, and long enough to sign",
        "client_id": CLIENT,
        "client_secret": SECRET,
        "server_metadata_url": f"{provider.url}/.well-known/openid-configuration",
    }
    (folder / ".streamlit").mkdir()
    lines = ["[auth]", *(f'{name} = "{word}"' for name, word in words.items())]
    (folder / ".streamlit" / "secrets.toml").write_text("\n".join(lines))


def _log_out(page: Page) -> None:
    page.get_by_role("button", name="Log out").click()
    expect(page.locator(".sagascope-elements h1", has_text="Log in")).to_have_text("Log in")


def test_who_signed_in_acknowledges_by_their_name_and_signs_out(
    page: Page, address: str, collector: RunningCollector, provider: Provider
) -> None:
    key, left = _incidents(collector)[0]["key"], provider.left
    page.goto(address)
    page.get_by_role("button", name="Log in").click()
    expect(page.get_by_label("Find a transaction")).to_be_visible()
    signed_in = [each for each in page.context.cookies() if each["name"].startswith("_streamlit_user")]
    assert signed_in
    assert all(each["httpOnly"] and each["sameSite"] in {"Lax", "Strict"} for each in signed_in), signed_in

    page.goto(f"{address}/incident?key={key}")
    expect(page.get_by_label("Your name")).to_have_value("Ada Lovelace")
    expect(page.get_by_label("Your name")).to_be_disabled()
    page.get_by_role("button", name="Acknowledge").click()
    expect(page.locator(".history")).to_contain_text("acknowledged by Ada Lovelace")

    _log_out(page)
    expect(page.locator(".sagascope-elements")).not_to_contain_text(REFUSED)
    expect(page.get_by_label("Find a transaction")).to_have_count(0)
    assert provider.left == left + 1


def test_two_sessions_do_not_mix(
    browser: Browser,
    page: Page,
    address: str,
    collector: RunningCollector,
    provider: Provider,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    incident = f"{address}/incident?key={_incidents(collector)[0]['key']}"
    page.goto(address)
    page.get_by_role("button", name="Log in").click()
    expect(page.get_by_label("Find a transaction")).to_be_visible()
    monkeypatch.setattr(provider, "claims", {"sub": "2", "name": "Grace Hopper", "email": "grace@example.com"})
    context = at_a_desk(browser)
    other = context.new_page()
    other.goto(address)
    other.get_by_role("button", name="Log in").click()
    expect(other.get_by_label("Find a transaction")).to_be_visible()
    for shown, name in ((page, "Ada Lovelace"), (other, "Grace Hopper")):
        shown.goto(incident)
        expect(shown.get_by_label("Your name")).to_have_value(name)
    _log_out(other)
    page.reload()
    expect(page.get_by_label("Your name")).to_have_value("Ada Lovelace")
    context.close()


LIES: list[tuple[dict[str, Any], str]] = [
    ({"claims": {"iss": "http://another.example"}}, REFUSED),
    ({"claims": {"nonce": "of another login"}}, REFUSED),
    ({"claims": {"aud": "another client"}}, REFUSED),
    ({"claims": {"exp": 1_700_000_000}}, REFUSED),
    ({"denies": True}, REFUSED),
    ({"away": True}, "does not answer"),
]


def test_a_failed_login_is_reported_and_can_be_retried(page: Page, address: str, provider: Provider) -> None:
    page.goto(address)
    log_in = page.get_by_role("button", name="Log in")
    for said, told in LIES:
        with pytest.MonkeyPatch.context() as lying:
            for name, value in said.items():
                lying.setattr(provider, name, value)
            with page.expect_navigation(url="**/?login=*"):
                log_in.click()
            expect(page.locator(".sagascope-elements")).to_contain_text(told)
            expect(page.get_by_label("Find a transaction")).to_have_count(0)
        log_in = page.get_by_role("button", name="Try again")
    log_in.click()
    expect(page.get_by_label("Find a transaction")).to_be_visible()
    expect(page).not_to_have_url(re.compile("login="))


def test_a_stranger_to_the_login_is_refused(page: Page, address: str) -> None:
    page.goto(f"{address}/oauth2callback?code=of+a+test&state=made-up")
    expect(page.locator(".sagascope-elements")).to_contain_text(REFUSED)
