"""An incident opens by itself, is resolved when its sagas have left, and returns with them."""

from dataclasses import replace
from decimal import Decimal

import pytest

from sagascope_collector.durations import NANOSECONDS_PER_SECOND as SECOND
from sagascope_collector.incident_records import AmountAtRisk, IncidentChange, IncidentGroup
from sagascope_collector.incidents.lifecycle import (
    RESOLVE_AFTER_NS,
    Incident,
    Scope,
    State,
    advance,
    changed_by_person,
    dump,
    load,
    scope,
)

GROUP = IncidentGroup(
    key="i1",
    environment="prod",
    name="payment",
    step="ledger.record",
    service="ledger",
    phase="forward",
    reason="retrying",
    fingerprint="Timeout",
    error="Timeout: 5 s",
    count=3,
    since=10,
    middle=20,
    latest_at=30,
    joined_at=40,
    examples=("1", "2", "3"),
    recommended_actions={"resume": 3, "compensate": 0, "verify_first": 0},
    amounts=(AmountAtRisk("EUR", Decimal("50.00"), Decimal(0)),),
)
NOW = 100 * SECOND


def opened() -> Incident:
    incident, _ = advance(None, GROUP, NOW, None)
    assert incident
    return incident


def closed() -> Incident:
    empty, _ = advance(opened(), None, NOW, None)
    incident, _ = advance(empty, None, NOW + RESOLVE_AFTER_NS, None)
    assert incident
    return incident


def test_a_group_opens_an_incident() -> None:
    incident, change = advance(None, GROUP, NOW, None)
    assert incident
    assert (incident.state, incident.count, incident.peak, incident.opened_at) == (State.OPEN, 3, 3, NOW)
    assert change == IncidentChange("i1", NOW, "opened", None, "", 3)


def test_without_sagas_no_incident_opens() -> None:
    assert advance(None, None, NOW, None) == (None, None)


def test_it_follows_its_sagas_and_keeps_the_peak() -> None:
    grown, change = advance(opened(), replace(GROUP, count=9, latest_at=99), NOW + 1, None)
    assert grown
    assert (grown.count, grown.peak, grown.latest_at, change) == (9, 9, 99, None)
    shrunk, _ = advance(grown, replace(GROUP, count=2), NOW + 2, None)
    assert shrunk
    assert (shrunk.count, shrunk.peak) == (2, 9)


def test_it_is_resolved_only_when_no_saga_has_returned_for_a_while() -> None:
    empty, change = advance(opened(), None, NOW, None)
    assert empty
    assert (empty.state, empty.count, empty.amounts, change) == (State.OPEN, 0, (), None)
    again, change = advance(empty, GROUP, NOW + RESOLVE_AFTER_NS, None)
    assert again
    assert (again.state, again.empty_since, change) == (State.OPEN, None, None)
    over, change = advance(empty, None, NOW + RESOLVE_AFTER_NS, None)
    assert over
    assert over.state is State.RESOLVED
    assert change == IncidentChange("i1", NOW + RESOLVE_AFTER_NS, "resolved", None, "", 0)


def test_a_resolved_incident_stays_so_until_sagas_return() -> None:
    still, change = advance(closed(), None, NOW + 10 * RESOLVE_AFTER_NS, None)
    assert still
    assert (still.state, change) == (State.RESOLVED, None)
    back, change = advance(still, GROUP, NOW + 20 * RESOLVE_AFTER_NS, None)
    assert back
    assert change
    assert (back.state, back.reopened, change.what) == (State.OPEN, 1, "reopened")


def test_an_incident_that_a_person_resolved_returns_with_a_new_saga_only() -> None:
    by_hand, change = changed_by_person(opened(), NOW, state=State.RESOLVED, by="anna")
    assert (change.what, change.by) == ("resolved", "anna")
    same, change2 = advance(by_hand, replace(GROUP, joined_at=NOW - 1), NOW + 1, None)
    assert same
    assert (same.state, change2) == (State.RESOLVED, None)
    back, change3 = advance(same, replace(GROUP, joined_at=NOW + 5), NOW + 6, None)
    assert back
    assert change3
    assert (back.state, change3.what, back.acknowledged_by) == (State.OPEN, "reopened", None)


def test_an_acknowledged_incident_stays_so_while_it_lasts() -> None:
    seen, change = changed_by_person(opened(), NOW, state=State.ACKNOWLEDGED, note="looking", by="anna")
    assert (seen.state, seen.note, seen.acknowledged_by) == (State.ACKNOWLEDGED, "looking", "anna")
    assert (change.what, change.note, change.sagas) == ("acknowledged", "looking", 3)
    later, nothing = advance(seen, replace(GROUP, count=50), NOW + 1, None)
    assert later
    assert (later.state, nothing) == (State.ACKNOWLEDGED, None)


def test_a_note_alone_changes_no_state() -> None:
    noted, change = changed_by_person(opened(), NOW, note="the ledger's disk is full", by="anna")
    assert (noted.state, noted.note, change.what) == (State.OPEN, "the ledger's disk is full", "noted")


@pytest.mark.parametrize(
    ("count", "last_success_at", "expected"),
    [
        (1, None, Scope.ISOLATED),
        (2, None, Scope.SYSTEMIC),
        (2, GROUP.middle, Scope.SYSTEMIC),
        (2, GROUP.middle + 1, Scope.ISOLATED),
    ],
)
def test_a_cause_is_systemic_when_no_other_saga_succeeds(
    count: int, last_success_at: int | None, expected: Scope
) -> None:
    assert scope(replace(GROUP, count=count), last_success_at) is expected


@pytest.mark.parametrize("incident", [opened(), closed()], ids=["open", "resolved"])
def test_an_incident_is_stored_without_loss(incident: Incident) -> None:
    assert load(dump(incident)) == incident
