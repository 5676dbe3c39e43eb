"""Incidents as the start page and their own page show them."""

from datetime import timedelta

import pytest

from sagascope_collector.client import schemas
from sagascope_dashboard.urls import Filters
from sagascope_dashboard.viewmodels.incidents import (
    headline,
    incident_row,
    incident_table,
    incident_view,
    matching_incidents,
)
from support.wires import INCIDENT, NOON, shared


def whole(**changes: object) -> schemas.IncidentInFull:
    return schemas.IncidentInFull.model_validate(
        INCIDENT | {"progress": None, "common_attributes": [], "history": []} | changes
    )


def test_the_headline_has_count_place_and_reason() -> None:
    assert headline(shared()) == "312 payment transactions are stuck at ledger.record in ledger: retrying."
    assert headline(shared(count=1, service=None)) == "1 payment transaction is stuck at ledger.record: retrying."


FAILING = {
    "reason": "failure_rate",
    "failure_rate": {"failed": 60, "ended": 64, "baseline": 0.012, "step": None},
    "count": 60,
}


def test_a_failure_rate_above_its_baseline_is_a_row_with_both_shares() -> None:
    failing = shared(**FAILING)
    text = "60 of 64 payment transactions failed or were compensated (usually 1.2%), most of them at ledger.record."
    assert headline(failing) == text
    row = incident_row(failing)
    assert row.style.label == "More fail than usual"


def test_an_incident_of_one_is_shown_as_its_saga_only_and_what_is_over_is_not() -> None:
    known = [shared(), shared(key="i2", count=1), shared(key="i3", state="resolved", count=0)]
    assert [row.key for row in matching_incidents(known, Filters())] == ["i1"]


@pytest.mark.parametrize(
    ("filters", "is_left"),
    [
        (Filters(name="payment", service="ledger", attention="retrying"), True),
        (Filters(attention="any"), True),
        (Filters(name="refund"), False),
        (Filters(attention="hung"), False),
        (Filters(amount="15600"), True),
        (Filters(amount="15600.01"), False),
        (Filters(stuck_until=NOON.isoformat()), False),
        (Filters(stuck_until=(NOON + timedelta(seconds=1)).isoformat()), True),
        (Filters(stuck_since=(NOON + timedelta(hours=9)).isoformat()), False),
    ],
)
def test_filters_of_sagas_leave_the_incidents_that_have_such(filters: Filters, is_left: bool) -> None:
    assert bool(matching_incidents([shared(since=NOON, latest_at=NOON)], filters)) == is_left


def test_a_table_has_a_row_for_each_and_leads_to_it() -> None:
    rows = [incident_row(shared(since=NOON)), incident_row(shared(key="i 2", state="resolved"))]
    table = incident_table(rows, NOON + timedelta(minutes=12))
    assert table.hrefs == ("/incident?key=i1", "/incident?key=i+2")
    assert table.rows[0]["Affected"] == 312
    assert [row["Stuck for"] for row in table.rows] == ["12 min", None]


def test_a_row_has_the_amount_at_risk_and_the_recommended_actions() -> None:
    row = incident_row(shared())
    assert row.recommended == ("300 to resume", "12 to verify first")
    assert row.amount_at_risk == ("€15,600.00 committed",)
    assert (row.scope.label, row.where) == ("No others succeed", "ledger.record in ledger")
    assert row.examples[1][1] == "/saga?name=payment&id=a%2Fb&environment=eu"


def test_the_page_of_an_incident_shows_its_history_latest_first() -> None:
    change = schemas.IncidentChange(at=NOON, what="opened", by=None, note=None, count=3)
    later = schemas.IncidentChange(at=NOON, what="acknowledged", by="anna", note="on it", count=9)
    progress = schemas.IncidentProgress(still=1, stuck_again=2, moved_on=3, finished=4)
    shown = incident_view(whole(history=[change, later], progress=progress, state="acknowledged"))
    assert [each.text for each in shown.history] == ["acknowledged by anna, 9 affected", "opened, 3 affected"]
    assert shown.outcomes == (("Finished", 4), ("Moved on", 3), ("Stuck again here", 2), ("No progress", 1))
    assert shown.list_href == "/transactions?incident=i1"


def test_hostile_text_stays_text() -> None:
    row = incident_row(shared(error_sample="\x1b[31m" + "x" * 5_000, note="\u202eevil"))
    assert row.error.startswith(r"\x1b[31m")
    assert row.error.endswith("more characters)")
    assert row.note == r"\u202eevil"
