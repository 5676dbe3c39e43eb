from datetime import UTC, datetime, timedelta

import pytest

from sagascope_collector.client import schemas
from sagascope_dashboard.urls import FlowAddress
from sagascope_dashboard.viewmodels.flows import flow, flows

NOW = datetime(2026, 11, 22, 14, 2, 20, tzinfo=UTC)
HOUR = timedelta(hours=1)
ADDRESS = FlowAddress("payment", "production", "24h")


def period(ago: int, succeeded: int, failed: int = 0, p95: float | None = 1.0) -> schemas.FlowPeriod:
    at = NOW.replace(minute=0, second=0) - ago * HOUR
    return schemas.FlowPeriod(at=at, succeeded=succeeded, failed=failed, p50=p95, p95=p95, p99=p95)


def step(name: str, series: tuple[schemas.FlowPeriod, ...] = (), **said: object) -> schemas.FlowStep:
    told: dict[str, object] = {"type": "action", "started": 0, "succeeded": 0, "failed": 0, "retried": 0}
    told |= {"compensated": 0, "in_flight": 0, "p50": None, "p95": None, "p99": None, "series": list(series)}
    return schemas.FlowStep.model_validate(told | {"step": name} | said)


def known(*steps: schemas.FlowStep) -> schemas.FlowInFull:
    return schemas.FlowInFull(name="payment", period=3600, steps=list(steps), transitions=[], paths=[])


def test_steps_are_compared_with_the_one_started_most() -> None:
    shown = flow(
        known(
            step("wallet.debit", started=1000, succeeded=960, failed=40, retried=38, compensated=9, p50=0.04, p99=75.0),
            step("ledger.record", started=250, succeeded=200, in_flight=50),
            step("wallet.refund", type="compensation", started=3, failed=3),
        ),
        ADDRESS,
        NOW,
    )
    debit, record, refund = shown.steps
    assert (debit.share, record.share, refund.share) == (100.0, 25.0, 0.3)
    assert (debit.failed, debit.retried, debit.compensated) == ("40 (4.0 %)", "38 (3.8 %)", "9 (0.9 %)")
    assert debit.percentiles == ("40 ms", "", "1 min 15 s")
    assert (record.in_flight, record.failed, refund.failed, refund.kind) == (50, "", "3 (100 %)", "compensation")
    assert record.href == "/transactions?name=payment&step=ledger.record&environment=production"


def test_every_part_of_the_window_is_there() -> None:
    shown = flow(known(step("a", (period(23, 10, p95=4.0), period(0, 8, 2, p95=2.0)))), ADDRESS, NOW)
    (told,) = shown.steps
    assert len(told.periods) == 25
    assert [period.height for period in told.periods if period.ended] == [100.0, 50.0]
    assert [period.is_failing for period in told.periods if period.ended] == [False, True]
    assert told.periods[-1].at == NOW.replace(minute=0, second=0)
    assert told.trend == "p95 2 s to 4 s, lately 2 s"


@pytest.mark.parametrize("series", [(), (period(1, 0, 3, p95=None),)])
def test_a_step_in_which_nothing_succeeded_has_no_trend(series: tuple[schemas.FlowPeriod, ...]) -> None:
    (told,) = flow(known(step("a", series)), ADDRESS, NOW).steps
    assert told.trend == "nothing succeeded"


def test_the_window_that_is_looked_at_is_marked_and_others_keep_the_rest() -> None:
    shown = flow(known(), ADDRESS, NOW)
    assert [window.label for window in shown.windows if window.is_selected] == ["24h"]
    assert shown.windows[0].href == "/flow?name=payment&environment=production&window=15m"


def test_hostile_names_stay_text() -> None:
    (told,) = flow(known(step("\x1b[31m<b>\u202e")), ADDRESS, NOW).steps
    assert told.name == "\\x1b[31m<b>\\u202e"


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
    def transition(before: str, count: int) -> schemas.FlowTransition:
        return schemas.FlowTransition(
            before=before, after="b", number=count, p50=0.2, p95=3.0, p99=None, series=[period(1, 2)]
        )

    told = known().model_copy(update={"transitions": [transition("\x1b", 3), transition("a", 40)]})
    first, second = flow(told, ADDRESS, NOW).transitions
    assert (first.before, first.after, first.count, first.percentiles) == ("a", "b", 40, ("200 ms", "3 s", ""))
    assert second.before == "\\x1b"
    assert first.trend == "p95 1 s"


def test_paths_show_how_they_differ_and_link_to_their_transactions() -> None:
    def path(*steps: str, **said: object) -> schemas.FlowPath:
        told: dict[str, object] = {"steps": steps, "sagas": 1, "completed": 0, "is_usual": False, "missing": []}
        told |= {"added": [], "is_reordered": False, "newest": "84 92", "environment": "test"}
        return schemas.FlowPath.model_validate(told | said)

    usual = path("a", "b", sagas=198, completed=198, is_usual=True)
    other = path("b", "x", missing=["a"], added=["x\x1b"], is_reordered=True, sagas=2, completed=1)
    told = known().model_copy(update={"paths": [usual, other]})
    first, second = flow(told, FlowAddress("payment", "test", "7d"), NOW).paths
    assert (first.differs, first.steps, first.share, first.completed) == ((), "a → b", "99 %", "all")
    assert second.differs == ("without a", "with x\\x1b in addition", "in another order")
    assert (second.count, second.share, second.completed) == ("2", "1 %", "50 %")
    assert second.href == ("/transactions?name=payment&environment=test&since=7d&path=%5B%22b%22%2C%22x%22%5D")
    assert second.newest_href.startswith("/saga?")


def test_types_with_most_to_look_after_come_first_and_lead_to_their_sagas() -> None:
    def counted(name: str, attention: int, **counts: int) -> schemas.Flow:
        none = {"running": 0, "completed": 0, "compensated": 0, "failed": 0}
        return schemas.Flow(name=name, environment="eu", attention=attention, **(none | counts))

    calm, busy = counted("a", 0), counted("b", 2, running=3, completed=7)
    first, second = flows(schemas.Flows(items=[calm, busy]))
    assert (first.name, first.total, second.total) == ("b", 10, 0)
    assert [(period.style.label, period.share) for period in first.statuses][:2] == [
        ("Running", 30.0),
        ("Completed", 70.0),
    ]
    assert first.attention_href == "/transactions?attention=any&name=b&environment=eu"
