from typing import Any

from sagascope_collector.client import schemas
from sagascope_dashboard.urls import Filters
from sagascope_dashboard.viewmodels.attention import Summary, Urgent, keep_order, summary, urgent
from support.wires import NOON, at, needing, shared

NONE = Filters()


def sagas(*items: schemas.SagaSummary, cursor: str | None = None) -> schemas.Sagas:
    return schemas.Sagas(items=list(items), next_cursor=cursor, words_since=None, words_limit=None)


def counts(total: int = 0, **fields: Any) -> schemas.Counts:
    none = {
        "status": {},
        "attention": {},
        "amount_at_risk": [],
        "since": at(0),
        "until": at(60),
        "period": 10,
        "series": [],
    }
    return schemas.Counts.model_validate(none | {"total": total} | fields)


def shown_summary(needing: schemas.Counts, *incidents: schemas.Incident, filters: Filters = NONE) -> Summary:
    return summary(
        needing, counts(9, status={"completed": 7, "running": 2}), schemas.Incidents(items=list(incidents)), filters
    )


def test_no_attention_is_shown_with_its_start() -> None:
    ended = shared(state="resolved", count=0, changed_at=NOON)
    shown = shown_summary(counts(), ended)
    assert (shown.title, shown.is_nothing_urgent, shown.calm_since) == ("No attention needed", True, NOON)
    assert shown_summary(counts()).calm_since is None


def test_one_is_written_in_the_singular() -> None:
    assert shown_summary(counts(1)).title == "1 transaction needs attention"
    assert shown_summary(counts(1_312)).title == "1,312 transactions need attention"


def test_reasons_come_by_urgency_and_lead_to_their_part() -> None:
    shown = shown_summary(counts(3, attention={"retrying": 2, "applied_twice": 1}), filters=Filters(name="payment"))
    assert [(each.style.label, each.number, each.href) for each in shown.reasons] == [
        ("Executed twice", 1, "/?attention=applied_twice&name=payment"),
        ("Retrying", 2, "/?attention=retrying&name=payment"),
    ]


def test_the_amount_at_risk_is_summed_by_currency() -> None:
    amounts = [
        {"currency": "EUR", "certain": "50.00", "possible": "10.00"},
        {"currency": "USD", "certain": "0", "possible": "5"},
    ]
    shown = shown_summary(counts(2, amount_at_risk=amounts))
    assert shown.amount_at_risk == ("€50.00 committed", "up to €10.00 more at risk", "up to $5 at risk")


def test_statuses_lead_to_the_list_without_what_only_stuck_sagas_have() -> None:
    shown = shown_summary(counts(1), filters=Filters(name="payment", attention="hung", amount="5"))
    found = {each.style.label: (each.number, each.href) for each in shown.statuses}
    assert found["Completed"] == (7, "/transactions?status=completed&name=payment")
    assert found["Running"][0] == 2


FAILING = {
    "reason": "failure_rate",
    "failure_rate": {"failed": 60, "ended": 64, "baseline": 0.012, "step": None},
    "count": 60,
}


def test_sagas_that_failed_properly_need_no_attention_each_but_the_screen_is_not_calm() -> None:
    shown = shown_summary(counts(), shared(**FAILING))
    assert (shown.title, shown.is_nothing_urgent) == ("More payment transactions fail than usual", False)


def test_sagas_come_as_received_beside_the_incidents_of_several() -> None:
    known = schemas.Incidents(items=[shared(), shared(key="i2", count=1), shared(key="i3", state="resolved")])
    now = urgent(sagas(needing("b", "hung"), needing("a", "hung"), cursor="next"), known, NONE)
    assert [saga.id for saga in now.sagas] == ["b", "a"]
    assert [row.key for row in now.incidents] == ["i1"]
    assert now.has_more


def sagas_with_ids(*identities: str) -> schemas.Sagas:
    return schemas.Sagas(
        items=[needing(each, "hung") for each in identities], next_cursor=None, words_since=None, words_limit=None
    )


def shown(*identities: str) -> Urgent:
    return urgent(sagas_with_ids(*identities), None, NONE)


def ids(known: Urgent) -> list[str]:
    return [case.id for case in known.sagas]


def test_at_first_everything_is_drawn() -> None:
    first = keep_order(shown("a", "b"))
    assert (sorted(ids(first.shown)), first.new_rows_text) == (["a", "b"], "")


def test_what_is_new_waits_and_is_announced() -> None:
    first = keep_order(shown("b", "c"))
    then = keep_order(shown("a", "b", "c", "d"), first.keys)
    assert ids(then.shown) == ids(first.shown)
    assert then.new_rows_text == "2 more transactions need attention"
    assert keep_order(shown("a", "b", "c"), then.keys).new_rows_text == "1 more transaction needs attention"


def test_what_is_drawn_keeps_its_place_and_shows_what_is_so_now() -> None:
    first = keep_order(shown("a", "b"))
    worse = urgent(sagas(needing("b", "applied_twice"), needing("a", "hung")), None, NONE)
    then = keep_order(worse, first.keys)
    assert ids(then.shown) == ids(first.shown)
    assert {case.id: case.attention for case in then.shown.sagas}["b"] == "applied_twice"


def test_what_is_over_goes_and_when_all_is_over_the_next_is_drawn_at_once() -> None:
    first = keep_order(shown("a", "b"))
    then = keep_order(shown("b"), first.keys)
    assert (ids(then.shown), then.new_rows_text) == (["b"], "")
    assert ids(keep_order(shown("c"), then.keys).shown) == ["c"]


def test_new_incidents_count_with_all_their_transactions() -> None:
    first = keep_order(shown("a"))
    grown = urgent(sagas_with_ids("a"), schemas.Incidents(items=[shared(count=312)]), NONE)
    then = keep_order(grown, first.keys)
    assert (then.shown.incidents, then.new_rows_text) == ((), "312 more transactions need attention")
    assert keep_order(grown, ()).shown.incidents == grown.incidents
