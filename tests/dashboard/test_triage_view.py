from sagascope_collector.client import schemas
from sagascope_dashboard.viewmodels.triage import Triage, keep_order, triage
from support.wires import at, needing, shared, summary


def sagas(*items: schemas.SagaSummary, cursor: str | None = None) -> schemas.Sagas:
    return schemas.Sagas(items=list(items), next_cursor=cursor)


def flow(name: str, **counts: int) -> schemas.Flow:
    none = {"running": 0, "completed": 0, "compensated": 0, "failed": 0, "attention": 0}
    return schemas.Flow(name=name, environment="", **(none | counts))


def euros(certain: str, possible: str = "0.00") -> list[schemas.AmountAtRisk]:
    return [schemas.AmountAtRisk(currency="EUR", certain=certain, possible=possible)]


def test_nobody_is_needed_when_nothing_stands_still() -> None:
    shown = triage(sagas(), schemas.Flows(items=[]))
    assert shown.is_calm
    assert shown.title == "No attention needed"


def test_the_worst_comes_first_by_reason_then_money_then_age() -> None:
    shown = triage(
        sagas(
            needing("young", "hung", since=at(9)),
            needing("old", "hung", since=at(1)),
            needing("rich", "hung", since=at(8), amount_at_risk=euros("900.00")),
            needing("twice", "applied_twice"),
            needing("lost", "instance_lost"),
        ),
        None,
    )
    assert [case.id for case in shown.rows] == ["twice", "lost", "rich", "old", "young"]
    assert shown.title == "5 transactions need attention"


def test_one_is_written_in_the_singular() -> None:
    assert triage(sagas(needing("a", "hung")), None).title == "1 transaction needs attention"


def test_more_than_the_page_holds_is_reported() -> None:
    shown = triage(sagas(needing("a", "hung"), cursor="next"), None)
    assert shown.has_more
    assert shown.title == "More than 1 transactions need attention"


def test_the_amount_at_risk_is_shown_by_certainty() -> None:
    (case,) = triage(sagas(needing("a", "hung", amount_at_risk=euros("50.00", "10.00"))), None).rows
    assert case.amount_at_risk == ("€50.00 committed", "up to €10.00 more at risk")


def test_a_case_leads_to_its_saga() -> None:
    (case,) = triage(sagas(needing("#1/2", "hung", environment="eu", run="r 1")), None).rows
    assert case.href == "/saga?name=payment&id=%231%2F2&environment=eu&run=r+1"


def test_hostile_text_stays_text() -> None:
    (case,) = triage(sagas(needing("a\x1b[31m", "hung", headline="\u202eevil" * 500)), None).rows
    assert case.id == r"a\x1b[31m"
    assert case.headline.endswith("more characters)")


def test_counts_go_over_all_types_and_lead_to_the_list() -> None:
    flows = schemas.Flows(items=[flow("payment", running=2, completed=10), flow("payout", completed=5, failed=1)])
    counts = {count.style.label: (count.number, count.href) for count in triage(sagas(), flows).counts}
    assert counts["Completed"] == (15, "/transactions?status=completed")
    assert counts["Running"][0] == 2
    assert counts["Failed"][0] == 1


def test_a_saga_that_stopped_at_an_unknown_moment_counts_from_its_start() -> None:
    saga = summary(attention="never_closed", phase="forward")
    (case,) = triage(sagas(saga), None).rows
    assert case.stuck_since == saga.started_at


def sagas_with_ids(*identities: str) -> schemas.Sagas:
    return schemas.Sagas(items=[needing(each, "hung") for each in identities], next_cursor=None)


def shown(*identities: str) -> Triage:
    return triage(sagas_with_ids(*identities), None)


def ids(known: Triage) -> list[str]:
    return [case.id for case in known.rows]


def test_at_first_everything_is_drawn() -> None:
    first = keep_order(shown("a", "b"))
    assert (sorted(ids(first.shown)), first.news_text) == (["a", "b"], "")


def test_what_is_new_waits_and_is_announced() -> None:
    first = keep_order(shown("b", "c"))
    then = keep_order(shown("a", "b", "c", "d"), first.keys)
    assert ids(then.shown) == ids(first.shown)
    assert then.news_text == "2 more transactions need attention"
    assert keep_order(shown("a", "b", "c"), then.keys).news_text == "1 more transaction needs attention"


def test_what_is_drawn_keeps_its_place_and_shows_what_is_so_now() -> None:
    first = keep_order(shown("a", "b"))
    worse = triage(schemas.Sagas(items=[needing("b", "applied_twice"), needing("a", "hung")], next_cursor=None), None)
    then = keep_order(worse, first.keys)
    assert ids(then.shown) == ids(first.shown)
    assert {case.id: case.reason.label for case in then.shown.rows if case.reason}["b"] == "Executed twice"


def test_what_is_over_goes_and_when_all_is_over_the_next_is_drawn_at_once() -> None:
    first = keep_order(shown("a", "b"))
    then = keep_order(shown("b"), first.keys)
    assert (ids(then.shown), then.news_text) == (["b"], "")
    assert ids(keep_order(shown("c"), then.keys).shown) == ["c"]


def test_new_incidents_count_with_all_their_transactions() -> None:
    first = keep_order(shown("a"))
    grown = triage(sagas_with_ids("a"), None, schemas.Incidents(items=[shared(count=312)]))
    then = keep_order(grown, first.keys)
    assert (then.shown.incidents, then.news_text) == ((), "312 more transactions need attention")
    assert keep_order(grown, ()).shown.incidents == grown.incidents
