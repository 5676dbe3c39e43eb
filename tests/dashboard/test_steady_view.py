from sagascope_collector.client import schemas
from sagascope_dashboard.viewmodels.triage import Triage, steady, triage
from support.wires import needing, shared


def sagas(*identities: str) -> schemas.Sagas:
    return schemas.Sagas(items=[needing(each, "hung") for each in identities], next_cursor=None)


def shown(*identities: str) -> Triage:
    return triage(sagas(*identities), None)


def ids(known: Triage) -> list[str]:
    return [case.id for case in known.cases]


def test_at_first_everything_is_drawn() -> None:
    first = steady(shown("a", "b"))
    assert (sorted(ids(first.shown)), first.news) == (["a", "b"], "")


def test_what_is_new_waits_and_is_announced() -> None:
    first = steady(shown("b", "c"))
    then = steady(shown("a", "b", "c", "d"), first.drawn)
    assert ids(then.shown) == ids(first.shown)
    assert then.news == "2 more transactions need attention"
    assert steady(shown("a", "b", "c"), then.drawn).news == "1 more transaction needs attention"


def test_what_is_drawn_keeps_its_place_and_shows_what_is_so_now() -> None:
    first = steady(shown("a", "b"))
    worse = triage(schemas.Sagas(items=[needing("b", "applied_twice"), needing("a", "hung")], next_cursor=None), None)
    then = steady(worse, first.drawn)
    assert ids(then.shown) == ids(first.shown)
    assert {case.id: case.sign.word for case in then.shown.cases}["b"] == "Executed twice"


def test_what_is_over_goes_and_when_all_is_over_the_next_is_drawn_at_once() -> None:
    first = steady(shown("a", "b"))
    then = steady(shown("b"), first.drawn)
    assert (ids(then.shown), then.news) == (["b"], "")
    assert ids(steady(shown("c"), then.drawn).shown) == ["c"]


def test_new_incidents_count_with_all_their_transactions() -> None:
    first = steady(shown("a"))
    grown = triage(sagas("a"), None, schemas.Incidents(items=[shared(count=312)]))
    then = steady(grown, first.drawn)
    assert (then.shown.incidents, then.news) == ((), "312 more transactions need attention")
    assert steady(grown, ()).shown.incidents == grown.incidents
