"""Incidents as the start page and their own page show them."""

import json
from datetime import timedelta
from typing import Any

import pytest

from sagascope_collector.client import schemas
from sagascope_dashboard.screens.incidents import content, history
from sagascope_dashboard.urls import Filters
from sagascope_dashboard.viewmodels.attention import (
    change_text,
    examples,
    headline,
    incident_table,
    matching_incidents,
    outcomes,
    recommended,
)
from support.wires import INCIDENT, NOON, shared


def whole(**changes: object) -> schemas.IncidentInFull:
    return schemas.IncidentInFull.model_validate(
        INCIDENT | {"progress": None, "common_attributes": [], "history": []} | changes
    )


def cells(incident: schemas.Incident) -> dict[str, Any]:
    (row,) = incident_table([incident], NOON).rows
    return row


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
    assert cells(failing)["Reason"] == ["More fail than usual"]


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
    known = [shared(since=NOON), shared(key="i 2", state="resolved")]
    table = incident_table(known, NOON + timedelta(minutes=12))
    assert table.hrefs == ("/incident?key=i1", "/incident?key=i+2")
    assert table.rows[0]["Affected"] == 312
    assert [row["Stuck for"] for row in table.rows] == ["12 min", None]


def test_a_row_has_the_amount_at_risk_and_the_recommended_actions() -> None:
    row = cells(shared())
    assert recommended(shared()) == ["300 to resume", "12 to verify first"]
    assert row["Amount at risk"] == "€15,600.00 committed"
    assert (row["Other transactions"], row["Where"]) == ("No others succeed", "ledger.record in ledger")
    assert examples(shared())[1][1] == "/saga?name=payment&id=a%2Fb&environment=eu"


def page(**changes: object) -> str:
    return json.dumps([*content(whole(**changes)), history(whole(**changes))], ensure_ascii=False)


def test_the_page_of_an_incident_shows_its_history_latest_first() -> None:
    change = schemas.IncidentChange(at=NOON, what="opened", by=None, note=None, count=3)
    later = schemas.IncidentChange(at=NOON, what="acknowledged", by="anna", note="on it", count=9)
    progress = schemas.IncidentProgress(still=1, stuck_again=2, moved_on=3, finished=4)
    assert [change_text(each) for each in (later, change)] == ["acknowledged by anna, 9 affected", "opened, 3 affected"]
    assert outcomes(progress) == {"Finished": 4, "Moved on": 3, "Stuck again here": 2, "No progress": 1}
    shown = page(history=[change, later], progress=progress, state="acknowledged")
    assert shown.index("acknowledged by anna") < shown.index("opened, 3")
    assert "/transactions?incident=i1" in shown


def test_hostile_text_stays_text() -> None:
    hostile = {"error_sample": "\x1b[31m" + "x" * 5_000, "note": "\u202eevil"}
    error = cells(shared(**hostile))["Error"]
    assert error.startswith(r"\x1b[31m")
    assert error.endswith("more characters)")
    assert r"\\u202eevil" in page(**hostile)
    assert "\u202e" not in page(**hostile)
