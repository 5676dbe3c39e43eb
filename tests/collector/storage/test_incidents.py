"""Sagas that need attention, by the incident that they are part of; its history, and the progress of its sagas."""

import threading
import time
from dataclasses import replace
from decimal import Decimal

from sagascope_collector.incident_records import AmountAtRisk, IncidentChange, IncidentSaga
from sagascope_collector.incidents import Incidents
from sagascope_collector.records import SagaKey
from sagascope_collector.saga_filters import SagaFilters
from sagascope_collector.storage import SagaRow, Storage
from support.payments import soon

from .test_summaries import NOON, keep, row

SAGA = IncidentSaga("i1", "ledger.record", "ledger", "forward", "hung", "Timeout", "Timeout: 5 s", "resume", NOON)


def stuck(id_: str, /, *, since: int = NOON, run: str = "", **fields: object) -> SagaRow:
    incident = replace(SAGA, since=since, **fields)
    return row(id_, run=run, attention="hung", incident=incident)


def eur(certain: str, possible: str = "0") -> tuple[AmountAtRisk, ...]:
    return (AmountAtRisk("EUR", Decimal(certain), Decimal(possible)),)


def test_sagas_of_one_incident_are_a_group(storage: Storage) -> None:
    keep(
        storage,
        stuck("1", since=30, error="latest", service="ledger", amounts=eur("50.00")),
        stuck("2", since=10, service="", recommended_action="compensate"),
        stuck(
            "3", since=20, service="ledger", amounts=(*eur("0.50", "10"), AmountAtRisk("JPY", Decimal(100), Decimal(0)))
        ),
        stuck("4", incident="i2", service="wallet", since=5),
        row("5"),
    )
    one, other = storage.incidents.groups()
    assert (one.key, one.count, one.service, one.error) == ("i1", 3, "ledger", "latest")
    assert (one.since, one.middle, one.latest_at) == (10, 20, 30)
    assert one.examples == ("2", "3", "1")
    assert one.recommended_actions == {"resume": 2, "compensate": 1, "verify_first": 0}
    assert [(each.currency, str(each.certain), str(each.possible)) for each in one.amounts] == [
        ("EUR", "50.50", "10.00"),
        ("JPY", "100", "0"),
    ]
    assert (other.key, other.count, other.service) == ("i2", 1, "wallet")


def test_a_new_version_is_announced_when_it_can_be_read(storage: Storage) -> None:
    seen: dict[int, int] = {}
    over = threading.Event()

    def look() -> None:
        while not over.is_set():
            version = storage.incidents.version
            if version not in seen:
                seen[version] = sum(each.count for each in storage.incidents.groups())

    reader = threading.Thread(target=look)
    reader.start()
    try:
        for number in range(1, 11):
            keep(storage, stuck(str(number)))
            soon(lambda: storage.incidents.version in seen)
            assert seen[storage.incidents.version] == number
    finally:
        over.set()
        reader.join()


def test_a_saga_leaves_its_incident_with_its_summary(storage: Storage) -> None:
    keep(storage, stuck("1", amounts=eur("5")), stuck("2"))
    before = storage.incidents.version
    keep(storage, row("1"))
    assert storage.incidents.version != before
    (group,) = storage.incidents.groups()
    assert (group.count, group.amounts) == (1, ())
    keep(storage, row("2"))
    assert not storage.incidents.groups()


def test_only_sagas_that_need_attention_change_the_version(storage: Storage) -> None:
    before = storage.incidents.version
    keep(storage, row("1"))
    assert storage.incidents.version == before


def test_an_amount_beyond_all_bounds_spoils_no_sum(storage: Storage) -> None:
    keep(storage, stuck("1", amounts=eur("1" + "0" * 30)), stuck("2", amounts=eur("1.0000000000001")))
    (group,) = storage.incidents.groups()
    assert [each.certain for each in group.amounts] == [1]


def test_sagas_are_listed_by_their_incident(storage: Storage) -> None:
    keep(storage, stuck("1"), stuck("2", incident="i2"), stuck("3", run="a"), row("4"))
    page = storage.listing.page(SagaFilters(incident="i1"), limit=10)
    assert [each.key.id for each in page.rows] == ["1", "3"]


def test_what_is_kept_of_an_incident_replaces_what_was_before(storage: Storage) -> None:
    opened, noted = (
        IncidentChange("i1", 1, "opened", None, "", 3),
        IncidentChange("i1", 2, "noted", "anna", "on it", 4),
    )
    storage.incidents.store({"i1": "a", "i2": "b"}, [opened])
    storage.incidents.store({"i1": "c"}, [noted])
    assert storage.incidents.documents() == {"i1": "c", "i2": "b"}
    assert storage.incidents.history("i1") == [opened, noted]
    assert storage.incidents.history("i2") == []


def test_what_became_of_the_sagas_that_were_acknowledged(storage: Storage) -> None:
    assert storage.incidents.progress("i1") is None
    keep(storage, *(stuck(number) for number in "12345"))
    now = storage.incidents.groups()[0].joined_at
    storage.incidents.store({}, [IncidentChange("i1", now, "acknowledged", "anna", "", 5)])
    assert storage.incidents.progress("i1") == (5, 0, 0, 0)
    keep(storage, row("1", status="completed", ended_at=NOON), row("2"), stuck("3", incident="i2"), stuck("6"))
    keep(storage, stuck("4", since=NOON + 1))
    assert storage.incidents.progress("i1") == (2, 0, 2, 1)


def test_a_saga_that_came_back_is_stuck_again(storage: Storage) -> None:
    keep(storage, stuck("1"))
    joined = storage.incidents.groups()[0].joined_at
    storage.incidents.store({}, [IncidentChange("i1", joined - 1, "acknowledged", "anna", "", 1)])
    assert storage.incidents.progress("i1") == (0, 1, 0, 0)


def test_a_saga_joins_once_as_long_as_it_does_not_leave(storage: Storage) -> None:
    key = SagaKey("prod", "payment", "1", "")
    keep(storage, stuck("1"))
    first = storage.incidents.groups()[0].joined_at
    keep(storage, stuck("1", since=NOON + 5, error="again"))
    (group,) = storage.incidents.groups()
    assert (group.joined_at, group.since, key.id) == (first, NOON + 5, group.examples[0])


def test_incidents_of_thousands_of_sagas_are_read_without_the_database(storage: Storage) -> None:
    keep(storage, *(stuck(str(number), incident=f"i{number % 50}", since=number) for number in range(20_000)))
    incidents = Incidents(storage.incidents)
    begun = time.process_time()
    incidents.evaluate()
    assert time.process_time() - begun < 5  # it takes about a hundredth of that: nothing here is quadratic
    storage.close()
    assert sum(each.count for each in incidents.all()) == 20_000


def test_listeners_are_called_when_groups_may_have_changed(storage: Storage) -> None:
    calls: list[int] = []
    storage.incidents.listen(lambda: calls.append(storage.incidents.version))
    keep(storage, row("1"))
    assert calls == []
    keep(storage, stuck("1"))
    keep(storage, row("1"))
    assert calls == [1, 2]
