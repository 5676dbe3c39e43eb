"""Who is told of an incident, and when."""

from dataclasses import replace
from decimal import Decimal

import pytest

from sagascope_collector.alerting.decisions import Event, Known, news
from sagascope_collector.alerting.matching import SECOND, recipients
from sagascope_collector.alerting.rules import USUAL, Alerts
from sagascope_collector.incidents import Incident, Scope, State
from sagascope_collector.storage import AlertState, AmountAtRisk

NOW = 1_000 * SECOND
INCIDENT = Incident(
    key="i1",
    environment="prod",
    name="payment",
    step="ledger.record",
    service="ledger",
    phase="forward",
    reason="retrying",
    fingerprint="",
    error="",
    count=5,
    since=NOW - 60 * SECOND,
    latest_at=NOW,
    examples=("1",),
    recommended_actions={"resume": 5, "compensate": 0, "verify_first": 0},
    stakes=(AmountAtRisk("EUR", Decimal(60), Decimal(40)),),
    opened_at=NOW,
    changed_at=NOW,
    peak=5,
)
ONE = {"webhooks": [{"name": "pager", "url": "http://127.0.0.1:1/"}]}


def alerts(**said: object) -> Alerts:
    return Alerts.model_validate({**ONE, "rules": [{"name": "any"}], **said})


def after(alerts: Alerts, *incidents: Incident, known: Known | None = None) -> list[Event | None]:
    """The events of looks at an incident, one a second."""
    state, events = dict(known or {}), []
    for second, incident in enumerate(incidents):
        for item in news(alerts, incident, state, NOW + second * SECOND):
            state[item.told.webhook, item.told.incident] = item.told
            if item.event:
                events.append(item.event)
    return events


OVER = replace(INCIDENT, state=State.RESOLVED, count=0)


def test_one_look_after_another_tells_once() -> None:
    assert after(alerts(), INCIDENT, INCIDENT, INCIDENT) == [Event.OPENED]


def test_growth_is_told_at_each_step_once_also_when_it_shrinks_between() -> None:
    sizes = (5, 9, 10, 50, 8, 12, 100, 5_000)
    assert after(alerts(), *(replace(INCIDENT, count=size) for size in sizes)) == [
        Event.OPENED,
        Event.GROWN,
        Event.GROWN,
        Event.GROWN,
    ]


def test_an_incident_that_opens_large_is_not_grown_too() -> None:
    assert after(alerts(), replace(INCIDENT, count=500), replace(INCIDENT, count=600)) == [Event.OPENED]


def test_an_end_is_told_when_it_has_lasted() -> None:
    assert after(alerts(over_after="3s"), INCIDENT, OVER, OVER, OVER) == [Event.OPENED]
    assert after(alerts(over_after="3s"), INCIDENT, OVER, OVER, OVER, OVER, OVER) == [Event.OPENED, Event.OVER]


def test_what_returns_soon_was_not_over() -> None:
    looks = (INCIDENT, OVER, OVER, INCIDENT, OVER, OVER, INCIDENT)
    assert after(alerts(over_after="3s"), *looks) == [Event.OPENED]


def test_what_returns_late_is_told_anew() -> None:
    assert after(alerts(over_after="0s"), INCIDENT, OVER, INCIDENT, OVER) == [Event.OPENED, Event.OVER] * 2


def test_an_end_is_told_to_whom_the_beginning_was_only() -> None:
    assert after(alerts(over_after="0s"), OVER, OVER) == []


def test_an_end_is_told_although_no_rule_holds_any_more() -> None:
    small = replace(INCIDENT, count=1)
    assert after(alerts(rules=[{"name": "many", "sagas": 5}], over_after="0s"), INCIDENT, small, OVER) == [
        Event.OPENED,
        Event.OVER,
    ]


def test_what_was_told_before_a_restart_is_not_told_again() -> None:
    known = {("pager", "i1"): AlertState("pager", "i1", 1, 0, is_over=False, over_since=None)}
    assert after(alerts(), INCIDENT, known=known) == []


@pytest.mark.parametrize(
    ("rule", "holds"),
    [
        ({}, True),
        ({"sagas": 5}, True),
        ({"sagas": 6}, False),
        ({"standing": "1m"}, True),
        ({"standing": "61s"}, False),
        ({"amount_at_risk": {"EUR": "100"}}, True),
        ({"amount_at_risk": {"EUR": "100.01", "USD": "0"}}, False),
        ({"amount_at_risk": {"EUR": "100.01", "USD": "0"}, "sagas": 1}, False),
        ({"match": {"name": ["refund", "payment"]}}, True),
        ({"match": {"name": ["refund"]}}, False),
        ({"match": {"scope": ["systemic"]}}, False),
        ({"match": {"environment": ["prod"], "reason": ["retrying"], "step": ["ledger.record"]}}, True),
        ({"match": {"environment": [""]}}, False),
        ({"match": {"service": ["wallet"]}}, False),
        ({"match": {"phase": ["compensation"]}}, False),
    ],
)
def test_a_rule_holds_when_all_that_it_says_does(rule: dict[str, object], holds: bool) -> None:
    said = alerts(rules=[{"name": "it", **rule}])
    assert recipients(said, INCIDENT, NOW) == ({"pager": "it"} if holds else {})


def test_what_fails_again_and_again_stands_since_it_opened() -> None:
    lasting = alerts(rules=[{"name": "lasts", "standing": "5m"}])
    latest_failure = replace(INCIDENT, since=NOW - SECOND, opened_at=NOW - 300 * SECOND)
    assert recipients(lasting, latest_failure, NOW) == {"pager": "lasts"}


def test_the_first_rule_that_holds_names_itself_to_each_webhook() -> None:
    webhooks = [{"name": name, "url": "http://127.0.0.1:1/"} for name in ("pager", "chat", "mail")]
    rules = [{"name": "one", "tell": ["chat"]}, {"name": "two", "tell": ["chat", "pager"]}, {"name": "no", "sagas": 99}]
    assert recipients(alerts(webhooks=webhooks, rules=rules), INCIDENT, NOW) == {"chat": "one", "pager": "two"}


@pytest.mark.parametrize(
    ("incident", "is_told"),
    [
        (INCIDENT, False),
        (replace(INCIDENT, count=10), True),
        (replace(INCIDENT, count=3, scope=Scope.SYSTEMIC), True),
        (replace(INCIDENT, count=1, reason="applied_twice"), True),
        (replace(INCIDENT, count=1, since=NOW - 300 * SECOND), True),
    ],
)
def test_the_usual_rules(incident: Incident, is_told: bool) -> None:
    assert bool(recipients(Alerts.model_validate({**ONE, "rules": USUAL}), incident, NOW)) is is_told
