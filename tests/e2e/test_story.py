"""The whole product as a user meets it: everything that was planted is found, and nothing else."""

import re
from collections.abc import Iterator

import psutil
import pytest
from playwright.sync_api import Browser, Page, expect

from sagascope_samples.demo.scenario import FAULT_BY_PAYMENT, PLANTED_FAULTS, ServiceFault
from support import command
from support.browser import PHONE, Grid, Watched, at_a_desk, running_browser
from support.demo import RunningDemo, running_demo
from support.samples import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("demo")]

FOUND_WITHIN = 80.0
STUCK = {planted.payment for planted in PLANTED_FAULTS if planted.expected.attention}
FIELDS = ("status", "attention", "phase", "step", "service")


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningDemo]:
    with running_demo(tmp_path_factory.mktemp("demo")) as playing:
        yield playing


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with running_browser() as chromium:
        yield chromium


@pytest.mark.parametrize("planted", PLANTED_FAULTS, ids=lambda planted: planted.payment)
def test_planted_fault_is_found_with_its_cause(demo: RunningDemo, planted: ServiceFault) -> None:
    expected = {field: getattr(planted.expected, field) for field in FIELDS}

    def found() -> dict[str, str | None]:
        items = demo.get("/api/v1/sagas", q=planted.payment)["items"]
        return {field: items[0][field] for field in FIELDS} if items else {}

    wait_until(lambda: found() == expected, f"found {found()} instead of {expected}", FOUND_WITHIN)
    verdict = demo.saga(planted.payment)["verdict"]
    assert (verdict and verdict["reason"]) == planted.expected.attention
    assert (verdict and verdict["step"]) == planted.expected.step


def test_healthy_payments_need_no_attention(demo: RunningDemo) -> None:
    wait_until(lambda: needing(demo) == STUCK, "not every fault is listed", FOUND_WITHIN)
    healthy = {payment for payment in listed(demo) if int(payment) <= 8505} - FAULT_BY_PAYMENT.keys()
    wait_until(lambda: healthy <= listed(demo, status="completed"), "healthy payments are not completed")


def listed(demo: RunningDemo, **narrowed: str) -> set[str]:
    return {saga["id"] for saga in demo.get("/api/v1/sagas", limit="500", **narrowed)["items"]}


def needing(demo: RunningDemo) -> set[str]:
    return listed(demo, attention="any")


def test_answers_about_payment_8492(demo: RunningDemo) -> None:
    wait_until(lambda: demo.saga("8492")["attention"] == "instance_lost", "not found", FOUND_WITHIN)
    saga = demo.saga("8492")
    assert "ledger" in saga["headline"]
    assert saga["verdict"]["evidence"]
    assert {step["name"]: step["state"] for step in saga["steps"]}["wallet.debit"] == "done"
    assert [entry["state"] for entry in saga["ledger"] if entry["step"] == "wallet.debit"] == ["committed"]
    assert any(log["body"].startswith("Recording payment 8492") for log in saga["logs"])


def test_the_ledger_lives_on_under_another_name(demo: RunningDemo) -> None:
    def ledgers() -> list[bool]:
        services = demo.get("/api/v1/services")["items"]
        return [i["alive"] for service in services if service["service"] == "ledger" for i in service["instances"]]

    wait_until(lambda: sorted(ledgers()) == [False, True], "not one ledger lost and one alive", FOUND_WITHIN)


def test_the_command_line_shows_it_too(demo: RunningDemo) -> None:
    wait_until(lambda: needing(demo) == STUCK, "not every fault is listed", FOUND_WITHIN)
    assert "Stuck in ledger.record" in " ".join(asked(demo, "show", "8492").split())
    assert set(re.findall(r"payment (\d+)", asked(demo, "triage"))) == STUCK


def asked(demo: RunningDemo, *words: str) -> str:
    done = command.run(*words, url=demo.addresses.api.url)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.browser
def test_8492_is_found_on_a_phone_by_typing_it(browser: Browser, demo: RunningDemo) -> None:
    wait_until(lambda: needing(demo) >= {"8492"}, "8492 is not listed", FOUND_WITHIN)
    seen = Watched(demo.addresses.dashboard.url, at_a_desk(browser, **PHONE).new_page())
    seen.open("/")
    finds_8492(seen, demo)
    kept(seen, "demo-8492-phone")


@pytest.mark.browser
def test_the_overview_lists_what_is_stuck_and_nothing_else_and_leads_to_8492(
    browser: Browser, demo: RunningDemo
) -> None:
    wait_until(lambda: needing(demo) == STUCK, "not every fault is listed", FOUND_WITHIN)
    seen = Watched(demo.addresses.dashboard.url, at_a_desk(browser).new_page())
    page = seen.open("/")
    expect(page.locator("body")).to_contain_text("4 transactions need attention", timeout=30_000)
    table = Grid(page, "Transactions that need attention")
    expect(table.rows()).to_have_count(len(STUCK))
    assert set(table.texts("Transaction")) == STUCK
    seen.keep("demo-overview")
    finds_8492(seen, demo)
    shows_the_story(seen.load("/saga?name=payment&id=8492"), demo)  # the link that the demo prints
    kept(seen, "demo-8492-desk")


def finds_8492(seen: Watched, demo: RunningDemo) -> None:
    field = seen.page.get_by_role("textbox").first
    field.fill("8492")
    field.press("Enter")
    shows_the_story(seen.page, demo)
    assert re.search(r"/saga\?.*\bid=8492", seen.page.url)


def shows_the_story(page: Page, demo: RunningDemo) -> None:
    """The headline that the API gives, and a timeline with the lane of every service that took part."""
    body = page.locator("body")
    words = re.escape(demo.saga("8492")["headline"])
    expect(body).to_contain_text(re.compile(re.sub(r"\d\d:\d\d:\d\dZ", r"\\d\\d:\\d\\d:\\d\\d", words)), timeout=30_000)
    expect(body).to_contain_text("Timeline")
    for service in ("orchestrator", "fraud", "wallet", "ledger"):
        expect(body).to_contain_text(service)
    expect(body).to_contain_text("Not started: shipping.book, notification.send.")


def kept(seen: Watched, name: str) -> None:
    """Keep a picture, and let nothing pass that the page did wrong or asked of another host."""
    seen.keep(name)
    seen.page.context.close()
    assert seen.console_errors == []
    assert seen.foreign == []


def test_the_demo_ends_in_order_at_ctrl_c(demo: RunningDemo) -> None:
    """The last test: the demo is over then."""
    parts = demo.parts()
    assert len(parts) == 8
    assert demo.stop() == 0
    assert "Stopping all processes." in demo.output_text()
    assert not psutil.wait_procs(parts, timeout=5)[1]
