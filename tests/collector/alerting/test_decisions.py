"""Which receivers an incident notifies, and when."""

from dataclasses import replace
from decimal import Decimal

import pytest

from sagascope_collector.alerting.messages import headline
from sagascope_collector.alerting.rules import DEFAULT_RULES, Alerts, AlertStates, Event, decide, recipients
from sagascope_collector.durations import NANOSECONDS_PER_SECOND as SECOND
from sagascope_collector.incident_records import AlertState, AmountAtRisk, FailureRate
from sagascope_collector.incidents import Incident, Scope, State
from sagascope_collector.incidents.lifecycle import advance, changed_by_person

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
    amounts=(AmountAtRisk("EUR", Decimal(60), Decimal(40)),),
    opened_at=NOW,
    changed_at=NOW,
    peak=5,
)
ONE = {"receivers": [{"name": "pager", "url": "http://127.0.0.1:1/"}]}


def alerts(**keys: object) -> Alerts:
    return Alerts.model_validate({**ONE, "rules": [{"name": "any"}], **keys})


def after(alerts: Alerts, *incidents: Incident, known: AlertStates | None = None) -> list[Event | None]:
    """The events of looks at an incident, one a second."""
    state, events = dict(known or {}), []
    for second, incident in enumerate(incidents):
        for item in decide(alerts, incident, state, NOW + second * SECOND):
            state[item.state.receiver, item.state.incident] = item.state
            if item.event:
                events.append(item.event)
    return events


RESOLVED = replace(INCIDENT, state=State.RESOLVED, count=0)


def test_an_incident_is_notified_once_however_often_it_is_looked_at() -> None:
    assert after(alerts(), INCIDENT, INCIDENT, INCIDENT) == [Event.OPENED]


def test_growth_is_notified_once_at_each_step_also_when_it_shrinks_between() -> None:
    sizes = (5, 9, 10, 50, 8, 12, 100, 5_000)
    assert after(alerts(), *(replace(INCIDENT, count=size) for size in sizes)) == [
        Event.OPENED,
        Event.GROWN,
        Event.GROWN,
        Event.GROWN,
    ]


def test_an_incident_that_opens_large_is_not_grown_too() -> None:
    assert after(alerts(), replace(INCIDENT, count=500), replace(INCIDENT, count=600)) == [Event.OPENED]


def test_a_failure_rate_that_a_person_accepted_is_not_reported_as_back_at_its_baseline() -> None:
    rate = FailureRate(failed=60, ended=60, baseline=0.01, is_total=True)
    incident = replace(INCIDENT, failure_rate=rate)
    assert "no longer exceeds its baseline" in headline("resolved", replace(incident, state=State.RESOLVED, count=0))
    accepted, _ = changed_by_person(incident, NOW, state=State.RESOLVED, by="anna")
    without_sagas, _ = advance(accepted, None, NOW + 1, None)
    for each in (accepted, without_sagas):
        assert each
        assert headline("resolved", each) == "anna accepted the share of payment sagas that fail as their new baseline."


def test_a_resolution_is_notified_when_it_has_lasted() -> None:
    assert after(alerts(resolve_after="3s"), INCIDENT, RESOLVED, RESOLVED, RESOLVED) == [Event.OPENED]
    assert after(alerts(resolve_after="3s"), INCIDENT, RESOLVED, RESOLVED, RESOLVED, RESOLVED, RESOLVED) == [
        Event.OPENED,
        Event.RESOLVED,
    ]


def test_an_incident_that_returns_soon_was_not_resolved() -> None:
    looks = (INCIDENT, RESOLVED, RESOLVED, INCIDENT, RESOLVED, RESOLVED, INCIDENT)
    assert after(alerts(resolve_after="3s"), *looks) == [Event.OPENED]


def test_an_incident_that_returns_late_is_notified_again() -> None:
    assert (
        after(alerts(resolve_after="0s"), INCIDENT, RESOLVED, INCIDENT, RESOLVED) == [Event.OPENED, Event.RESOLVED] * 2
    )


def test_a_resolution_notifies_only_receivers_that_were_notified_before() -> None:
    assert after(alerts(resolve_after="0s"), RESOLVED, RESOLVED) == []


def test_a_resolution_is_notified_although_no_rule_applies_any_more() -> None:
    small = replace(INCIDENT, count=1)
    assert after(alerts(rules=[{"name": "many", "sagas": 5}], resolve_after="0s"), INCIDENT, small, RESOLVED) == [
        Event.OPENED,
        Event.RESOLVED,
    ]


def test_what_was_notified_before_a_restart_is_not_notified_again() -> None:
    known = {("pager", "i1"): AlertState("pager", "i1", 1, 0, is_resolved=False, resolved_since=None)}
    assert after(alerts(), INCIDENT, known=known) == []


@pytest.mark.parametrize(
    ("rule", "applies"),
    [
        ({}, True),
        ({"sagas": 5}, True),
        ({"sagas": 6}, False),
        ({"for": "1m"}, True),
        ({"for": "61s"}, False),
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
def test_a_rule_applies_when_all_its_conditions_hold(rule: dict[str, object], applies: bool) -> None:
    file = alerts(rules=[{"name": "it", **rule}])
    assert recipients(file, INCIDENT, NOW) == ({"pager": "it"} if applies else {})


def test_an_incident_whose_sagas_keep_failing_lasts_since_it_opened() -> None:
    lasting = alerts(rules=[{"name": "lasts", "for": "5m"}])
    latest_failure = replace(INCIDENT, since=NOW - SECOND, opened_at=NOW - 300 * SECOND)
    assert recipients(lasting, latest_failure, NOW) == {"pager": "lasts"}


def test_each_receiver_is_given_the_first_rule_that_applies() -> None:
    receivers = [{"name": name, "url": "http://127.0.0.1:1/"} for name in ("pager", "chat", "mail")]
    rules = [
        {"name": "one", "receivers": ["chat"]},
        {"name": "two", "receivers": ["chat", "pager"]},
        {"name": "no", "sagas": 99},
    ]
    assert recipients(alerts(receivers=receivers, rules=rules), INCIDENT, NOW) == {"chat": "one", "pager": "two"}


@pytest.mark.parametrize(
    ("incident", "notifies"),
    [
        (INCIDENT, False),
        (replace(INCIDENT, count=10), True),
        (replace(INCIDENT, count=3, scope=Scope.SYSTEMIC), True),
        (replace(INCIDENT, count=1, reason="applied_twice"), True),
        (replace(INCIDENT, count=1, since=NOW - 300 * SECOND), True),
        (replace(INCIDENT, reason="failure_rate"), True),
    ],
)
def test_the_default_rules(incident: Incident, notifies: bool) -> None:
    assert bool(recipients(Alerts.model_validate({**ONE, "rules": DEFAULT_RULES}), incident, NOW)) is notifies
