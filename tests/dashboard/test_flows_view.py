import json
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from sagascope_collector.client import schemas
from sagascope_dashboard.formatting import iso
from sagascope_dashboard.screens.flows import duration_ticks, head
from sagascope_dashboard.urls import Filters, FlowAddress
from sagascope_dashboard.viewmodels.flows import Flow, flow, flows

NOW = datetime(2026, 11, 22, 14, 2, 20, tzinfo=UTC)
HOUR = timedelta(hours=1)
ADDRESS = FlowAddress("payment", "production", "24h")


def period(ago: int, succeeded: int, failed: int = 0, retried: int = 0, p95: float | None = 1.0) -> schemas.FlowPeriod:
    at = NOW.replace(minute=0, second=0) - ago * HOUR
    counts = {"succeeded": succeeded, "failed": failed, "retried": retried, "durations": [(1.0, succeeded)]}
    return schemas.FlowPeriod.model_validate({"at": at, "p50": p95, "p95": p95, "p99": p95, **counts})


def step(name: str, *series: schemas.FlowPeriod, **said: object) -> schemas.FlowStep:
    told: dict[str, object] = {"type": "action", "started": 0, "compensated": 0, "in_flight": 0}
    told |= {name: sum(getattr(each, name) for each in series) for name in ("succeeded", "failed", "retried")}
    told |= {"p50": None, "p95": None, "p99": None, "series": list(series)}
    return schemas.FlowStep.model_validate(told | {"step": name} | said)


def known(*steps: schemas.FlowStep, **more: Any) -> schemas.FlowInFull:
    told = {"name": "payment", "period": 3600, "steps": list(steps), "transitions": [], "paths": []}
    return schemas.FlowInFull.model_validate(told | more)


def counting(**by_hours_ago: dict[str, int]) -> Callable[[Filters], schemas.Counts]:
    """Counts transactions by when they started; ``ago_3={"failed": 2}``: two, three hours ago."""
    hours = {NOW.replace(minute=0, second=0) - int(ago[4:]) * HOUR: counts for ago, counts in by_hours_ago.items()}

    def count(of: Filters) -> schemas.Counts:
        matching = {at: each for at, each in hours.items() if not of.since or of.since <= iso(at) < of.until}
        status = sum((Counter(each) for each in matching.values()), Counter[str]())
        told = {"total": status.total(), "status": status, "attention": {}, "amount_at_risk": []}
        series = [{"at": at, "started": each, "attention": {}} for at, each in matching.items()]
        return schemas.Counts.model_validate(told | {"series": series, "since": NOW, "until": NOW, "period": 3600})

    return count


def shown(*steps: schemas.FlowStep, **more: Any) -> Flow:
    return flow(known(*steps, **more), ADDRESS, NOW, counting())


def test_attempts_are_counted_apart_from_transactions() -> None:
    """One transaction of 100 that retries 200 times is one of 100, and 200 of 300 attempts."""
    (row,) = shown(step("wallet.debit", period(1, 100, 200, 200))).steps.rows
    assert (row["Transactions"], row["Attempts"], row["Failed attempts"]) == (100, 300, "200 (67 %)")
    assert "Failed" not in row
    (cell,) = shown(step("wallet.debit", period(1, 100, 200, 200))).cells
    assert (cell.reached, cell.failed, cell.attempts, cell.failed_attempts) == (100, 0, 300, 200)


def test_a_transaction_whose_retries_all_fail_has_failed_once() -> None:
    (cell,) = shown(step("wallet.debit", period(1, 9, 5, 4))).cells
    assert (cell.reached, cell.failed) == (10, 1)
    (late,) = shown(step("wallet.debit", period(1, 0, 5, 5))).cells  # its first attempt was before
    assert (late.reached, late.failed) == (0, 0)


def test_hours_in_which_transactions_fail_are_one_outage() -> None:
    steps = (
        step("fraud.check", period(3, 20)),
        step("wallet.debit", period(5, 20), period(4, 0, 20), period(3, 0, 12, 2), period(2, 20), period(1, 5, 5)),
        step("ledger.record", period(4, 0, 2)),
    )

    count = counting(ago_4={"failed": 20}, ago_3={"compensated": 10}, ago_1={"failed": 6, "completed": 6})
    total, half = flow(known(*steps), ADDRESS, NOW, count).outages
    assert total.text == (
        "All 30 transactions that started then failed or were compensated; all 32 attempts of wallet.debit failed"
    )
    assert (total.is_total, total.until - total.since, total.since.hour) == (True, 2 * HOUR, 10)
    assert half.text == (
        "6 of 12 transactions that started then failed or were compensated; 5 of 10 attempts of wallet.debit failed"
    )
    assert not half.is_total
    assert total.href == (
        "/transactions?name=payment&environment=production&since=2026-11-22T10%3A00%3A00.000Z"
        "&until=2026-11-22T12%3A00%3A00.000Z"
    )


@pytest.mark.parametrize("status", [{"completed": 40}, {"completed": 21, "failed": 19}, {"running": 40}, {}])
def test_attempts_that_fail_are_no_outage_of_transactions_that_do_not(status: dict[str, int]) -> None:
    """All 40 first attempts fail, and all retries succeed in the next period."""
    told = flow(
        known(step("wallet.debit", period(2, 0, 40), period(1, 40, 0, 40))), ADDRESS, NOW, counting(ago_2=status)
    )
    assert told.outages == ()
    assert [(each.reached, each.failed, each.failed_attempts) for each in told.cells] == [(40, 0, 40), (0, 0, 0)]
    assert told.nodes[0].texts[1:3] == ("40 transactions", "40 failed attempts")


def test_late_retries_hide_no_outage() -> None:
    """10 first attempts fail while 40 retries of earlier ones succeed."""
    cells = step("wallet.debit", period(2, 0, 40), period(1, 40, 10, 40))
    (found,) = flow(known(cells), ADDRESS, NOW, counting(ago_2={"completed": 40}, ago_1={"failed": 10})).outages
    assert (found.failed, found.since.hour, found.until.hour) == (10, 13, 14)


def test_without_counts_the_alert_does_not_mention_transactions() -> None:
    assert flow(known(step("wallet.debit", period(1, 0, 40))), ADDRESS, NOW, lambda _: None).outages == ()


def test_the_path_has_failures_and_durations_at_its_steps_and_arrows() -> None:
    transition = {"before": "a", "after": "b", "number": 1440, "p50": 0.2, "p95": 3.0, "p99": None, "series": []}
    told = shown(step("a", period(1, 30, 10), p95=0.5), step("b", type="compensation"), transitions=[transition])
    first, second = told.nodes
    assert (first.texts, first.share) == (("a", "10 of 40 failed", "p95 500 ms"), 0.25)
    assert (second.texts, second.is_dashed) == (("b", "0 transactions"), True)
    assert first.href == "/transactions?name=payment&step=a&environment=production"
    assert [(each.before, each.after, each.text) for each in told.edges] == [("a", "b", "1,440, p95 3 s")]


def test_a_step_that_hangs_in_all_its_transactions_says_how_many() -> None:
    hanging, failing = shown(step("mail.send", in_flight=32), step("b", period(1, 3, 1), in_flight=2)).nodes
    assert hanging.texts == ("mail.send", "32 in flight")
    assert failing.texts[:3] == ("b", "1 of 4 failed", "2 in flight")


def test_the_window_is_in_whole_periods_and_links_keep_the_rest() -> None:
    told = shown()
    assert (told.since, told.until) == (
        NOW.replace(minute=0, second=0) - 24 * HOUR,
        NOW.replace(hour=15, minute=0, second=0),
    )
    built = json.dumps(head(ADDRESS, Filters()))
    assert '{"href": "/flow?name=payment&environment=production&window=15m"}, "last 15m"' in built
    assert built.count("aria-current") == 1


def test_hostile_names_stay_text() -> None:
    told = shown(step("\x1b[31m<b>\u202e", period(1, 1)))
    assert told.steps.rows[0]["Step"] == told.nodes[0].texts[0] == told.cells[0].step == "\\x1b[31m<b>\\u202e"


@pytest.mark.parametrize(
    ("query", "address"),
    [
        ({}, None),
        ({"name": "payment"}, FlowAddress("payment")),
        ({"name": "payment", "window": "for ever"}, FlowAddress("payment")),
        ({"name": "a b/c", "environment": "", "window": "7d"}, FlowAddress("a b/c", "", "7d")),
    ],
)
def test_addresses_are_read(query: dict[str, str], address: FlowAddress | None) -> None:
    assert FlowAddress.parse(query) == address


def test_transitions_are_listed_by_frequency() -> None:
    def transition(before: str, count: int) -> dict[str, object]:
        return {"before": before, "after": "b", "number": count, "p50": 0.2, "p95": 3.0, "p99": None, "series": []}

    first, second = shown(transitions=[transition("\x1b", 3), transition("a", 40)]).transitions.rows
    assert first == {"From the end of": "a", "To the start of": "b", "Transitions": 40, "p50": "200 ms", "p95": "3 s"}
    assert second["From the end of"] == "\\x1b"


def test_paths_show_how_they_differ_and_link_to_their_transactions() -> None:
    def path(*steps: str, **said: object) -> dict[str, object]:
        told: dict[str, object] = {"steps": steps, "sagas": 1, "completed": 0, "is_usual": False, "missing": []}
        told |= {"added": [], "is_reordered": False, "newest": "84 92", "environment": "test"}
        return told | said

    usual = path("a", "b", sagas=198, completed=198, is_usual=True)
    other = path("b", "x", missing=["a"], added=["x\x1b"], is_reordered=True, sagas=2, completed=1)
    told = flow(known(paths=[usual, other]), FlowAddress("payment", "test", "7d"), NOW, counting()).paths
    first, second = told.rows
    assert (first["Differs"], first["Path"], first["Share"], first["Completed"]) == (
        "usual path",
        "a → b",
        "99 %",
        "all",
    )
    assert second["Differs"] == "without a, with x\\x1b in addition, in another order"
    assert (second["Transactions"], second["Share"], second["Completed"]) == (2, "1 %", "50 %")
    assert told.hrefs[1] == "/transactions?name=payment&environment=test&since=7d&path=%5B%22b%22%2C%22x%22%5D"


def test_types_with_most_to_look_after_come_first_and_lead_to_their_pages() -> None:
    def counted(name: str, attention: int, **counts: int) -> schemas.Flow:
        none = {"running": 0, "completed": 0, "compensated": 0, "failed": 0}
        return schemas.Flow(name=name, environment="eu", attention=attention, **(none | counts))

    table = flows(schemas.Flows(items=[counted("a", 0), counted("b", 2, running=3, completed=7)], total=2))
    assert [(row["Type"], row["Need attention"], row["Running"]) for row in table.rows] == [("b", 2, 3), ("a", 0, 0)]
    assert table.hrefs[0] == "/flow?name=b&environment=eu&window=24h"


@pytest.mark.parametrize(
    ("seconds", "ticks"),
    [
        ([0.09, 0.24], [0.05, 0.1, 0.2, 0.5]),
        ([0.004, 0.004], [0.002, 0.005]),
        ([0.8, 7_000], [0.5, 2.0, 10.0, 60.0, 300.0, 1_800.0, 7_200.0]),
        ([], [0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0]),
        ([1e-9, 1e12], None),
    ],
)
def test_an_axis_of_durations_names_times_around_all_of_them(seconds: list[float], ticks: list[float] | None) -> None:
    named = duration_ticks(seconds)
    assert len(named) <= 8
    assert named == sorted(named)
    if ticks is not None:
        assert named == pytest.approx(ticks)
