"""Incidents as the start page and their own page show them."""

from sagascope_collector.client import schemas
from sagascope_dashboard.viewmodels.incidents import headline, incident_view, resolved_incidents, shared_incidents
from sagascope_dashboard.viewmodels.triage import triage
from support.wires import INCIDENT, NOON, needing, shared


def listed(*items: schemas.Incident) -> schemas.Incidents:
    return schemas.Incidents(items=list(items))


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
    (row,) = shared_incidents(listed(failing))
    assert row.style.label == "More fail than usual"


def test_sagas_that_failed_properly_need_no_attention_each_but_triage_is_not_calm() -> None:
    shown = triage(schemas.Sagas(items=[], next_cursor=None), None, listed(shared(**FAILING)))
    assert (shown.title, shown.is_calm) == ("More payment transactions fail than usual", False)


def test_an_incident_of_one_is_shown_as_its_saga_only() -> None:
    assert [row.key for row in shared_incidents(listed(shared(), shared(key="i2", count=1)))] == ["i1"]


def test_what_is_over_is_named_apart() -> None:
    ended = listed(shared(state="resolved", count=0), shared(key="i2", state="resolved", count=0, peak=1))
    assert not shared_incidents(ended)
    assert [row.key for row in resolved_incidents(ended)] == ["i1"]


def test_a_row_has_the_amount_at_risk_and_the_recommended_actions() -> None:
    (row,) = shared_incidents(listed(shared()))
    assert row.recommended == ("300 to resume", "12 to verify first")
    assert row.amount_at_risk == ("€15,600.00 committed",)
    assert (row.scope.label, row.share, row.where) == ("No other saga succeeds", 1.0, "ledger.record in ledger")
    assert row.examples[1][1] == "/saga?name=payment&id=a%2Fb&environment=eu"


def test_sagas_of_incidents_count_among_those_that_need_attention() -> None:
    shown = triage(schemas.Sagas(items=[needing("a", "hung")], next_cursor=None), None, listed(shared()))
    assert shown.title == "313 transactions need attention"
    assert not triage(schemas.Sagas(items=[], next_cursor=None), None, listed(shared())).is_calm


def test_the_page_of_an_incident_shows_its_history_latest_first() -> None:
    change = schemas.IncidentChange(at=NOON, what="opened", by=None, note=None, count=3)
    later = schemas.IncidentChange(at=NOON, what="acknowledged", by="anna", note="on it", count=9)
    progress = schemas.IncidentProgress(still=1, stuck_again=2, moved_on=3, finished=4)
    shown = incident_view(whole(history=[change, later], progress=progress, state="acknowledged"))
    assert [each.text for each in shown.history] == ["acknowledged by anna, 9 affected", "opened, 3 affected"]
    assert shown.outcomes == (("Finished", 4), ("Moved on", 3), ("Stuck again here", 2), ("No progress", 1))
    assert shown.list_href == "/transactions?incident=i1"


def test_hostile_text_stays_text() -> None:
    (row,) = shared_incidents(listed(shared(error_sample="\x1b[31m" + "x" * 5_000, note="\u202eevil")))
    assert row.error.startswith(r"\x1b[31m")
    assert row.error.endswith("more characters)")
    assert row.note == r"\u202eevil"


def test_the_page_shows_what_its_sagas_have_in_common() -> None:
    version = {"service": "ledger", "step": None, "key": "service.version", "value": "2.1"}
    counts = {"affected": 98, "affected_of": 100, "completed": 6, "completed_of": 200, "lift": 32.67}
    host = {**version, "key": "host.name", "value": "w-7"}
    (told,) = incident_view(whole(common_attributes=[{**version, **counts, "also": [host]}])).common_attributes
    assert told.text == "ledger service.version = 2.1"
    assert (told.affected, told.completed, told.lift) == ("98 of 100", "6 of 200", "32.7 times as often")
    assert told.also == "ledger host.name = w-7"
