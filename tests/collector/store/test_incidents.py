"""Sagas that need someone, by the incident that they make; its history, and what became of its sagas."""

import threading
import time
from dataclasses import replace
from decimal import Decimal

from sagascope_collector.incidents import Incidents
from sagascope_collector.records import SagaId, SagaKey
from sagascope_collector.store import Change, SagaFilter, SagaRow, Stake, Standing, Store
from support.payments import soon

from .test_summaries import NOON, keep, row

STANDING = Standing("i1", "ledger.record", "ledger", "forward", "hung", "Timeout", "Timeout: 5 s", "resume", NOON)


def stuck(id_: str, /, *, since: int = NOON, run: str = "", **fields: object) -> SagaRow:
    stands = replace(STANDING, since=since, **fields)
    return row(id_, run=run, attention="hung", standing=stands)


def eur(certain: str, possible: str = "0") -> tuple[Stake, ...]:
    return (Stake("EUR", Decimal(certain), Decimal(possible)),)


def test_sagas_of_one_incident_are_a_group(store: Store) -> None:
    keep(
        store,
        stuck("1", since=30, error="latest", service="ledger", stakes=eur("50.00")),
        stuck("2", since=10, service="", remedy="undo"),
        stuck("3", since=20, service="ledger", stakes=(*eur("0.50", "10"), Stake("JPY", Decimal(100), Decimal(0)))),
        stuck("4", incident="i2", service="wallet", since=5),
        row("5"),
    )
    one, other = store.incidents.groups()
    assert (one.key, one.count, one.service, one.error) == ("i1", 3, "ledger", "latest")
    assert (one.since, one.middle, one.latest_at) == (10, 20, 30)
    assert one.examples == ("2", "3", "1")
    assert one.split == {"resume": 2, "undo": 1, "verify_first": 0}
    assert [(each.currency, str(each.certain), str(each.possible)) for each in one.stakes] == [
        ("EUR", "50.50", "10.00"),
        ("JPY", "100", "0"),
    ]
    assert (other.key, other.count, other.service) == ("i2", 1, "wallet")


def test_a_new_version_is_told_when_it_can_be_read(store: Store) -> None:
    seen: dict[int, int] = {}
    over = threading.Event()

    def look() -> None:
        while not over.is_set():
            version = store.incidents.version
            if version not in seen:
                seen[version] = sum(each.count for each in store.incidents.groups())

    reader = threading.Thread(target=look)
    reader.start()
    try:
        for number in range(1, 31):
            keep(store, stuck(str(number)))
            soon(lambda: store.incidents.version in seen)
            assert seen[store.incidents.version] == number
    finally:
        over.set()
        reader.join()


def test_a_saga_leaves_its_incident_with_its_summary(store: Store) -> None:
    keep(store, stuck("1", stakes=eur("5")), stuck("2"))
    before = store.incidents.version
    keep(store, row("1"))
    assert store.incidents.version != before
    (group,) = store.incidents.groups()
    assert (group.count, group.stakes) == (1, ())
    keep(store, row("2"))
    assert not store.incidents.groups()


def test_only_what_stands_still_changes_the_version(store: Store) -> None:
    before = store.incidents.version
    keep(store, row("1"))
    assert store.incidents.version == before


def test_an_amount_that_is_none_spoils_no_sum(store: Store) -> None:
    keep(store, stuck("1", stakes=eur("1" + "0" * 30)), stuck("2", stakes=eur("1.0000000000001")))
    (group,) = store.incidents.groups()
    assert [each.certain for each in group.stakes] == [1]


def test_sagas_are_listed_by_their_incident(store: Store) -> None:
    keep(store, stuck("1"), stuck("2", incident="i2"), stuck("3", run="a"), row("4"))
    page = store.saga_rows(SagaFilter(incident="i1"), limit=10)
    assert [each.key.id for each in page.rows] == ["1", "3"]
    assert list(store.incidents.sagas_of("i1")) == [SagaId("prod", "1"), SagaId("prod", "3")]


def test_what_is_kept_of_incidents_replaces_what_was(store: Store) -> None:
    opened, noted = (
        Change("i1", 1, "opened", None, "", 3),
        Change("i1", 2, "noted", "anna", "on it", 4),
    )
    store.incidents.keep({"i1": "a", "i2": "b"}, [opened])
    store.incidents.keep({"i1": "c"}, [noted])
    assert store.incidents.kept() == {"i1": "c", "i2": "b"}
    assert store.incidents.history("i1") == [opened, noted]
    assert store.incidents.history("i2") == []


def test_what_became_of_the_sagas_that_were_acknowledged(store: Store) -> None:
    assert store.incidents.moved("i1") is None
    keep(store, *(stuck(number) for number in "12345"))
    now = store.incidents.groups()[0].joined_at
    store.incidents.keep({}, [Change("i1", now, "acknowledged", "anna", "", 5)])
    assert store.incidents.moved("i1") == (5, 0, 0, 0)
    keep(store, row("1", status="completed", ended_at=NOON), row("2"), stuck("3", incident="i2"), stuck("6"))
    keep(store, stuck("4", since=NOON + 1))
    assert store.incidents.moved("i1") == (2, 0, 2, 1)


def test_a_saga_that_came_back_is_stuck_again(store: Store) -> None:
    keep(store, stuck("1"))
    joined = store.incidents.groups()[0].joined_at
    store.incidents.keep({}, [Change("i1", joined - 1, "acknowledged", "anna", "", 1)])
    assert store.incidents.moved("i1") == (0, 1, 0, 0)


def test_a_saga_joins_once_as_long_as_it_does_not_leave(store: Store) -> None:
    key = SagaKey("prod", "payment", "1", "")
    keep(store, stuck("1"))
    first = store.incidents.groups()[0].joined_at
    keep(store, stuck("1", since=NOON + 5, error="again"))
    (group,) = store.incidents.groups()
    assert (group.joined_at, group.since, key.id) == (first, NOON + 5, group.examples[0])


def test_incidents_of_thousands_of_sagas_are_told_without_the_store(store: Store) -> None:
    keep(store, *(stuck(str(number), incident=f"i{number % 50}", since=number) for number in range(20_000)))
    incidents = Incidents(store.incidents)
    begun = time.process_time()
    incidents.look()
    assert time.process_time() - begun < 5  # it takes about a hundredth of that: nothing here is quadratic
    store.close()
    assert sum(each.count for each in incidents.all()) == 20_000


def test_who_listens_is_called_when_what_stands_still_may_have_changed(store: Store) -> None:
    calls: list[int] = []
    store.incidents.listen(lambda: calls.append(store.incidents.version))
    keep(store, row("1"))
    assert calls == []
    keep(store, stuck("1"))
    keep(store, row("1"))
    assert calls == [1, 2]
