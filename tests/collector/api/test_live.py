"""Reading while telemetry comes in."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import pytest

from sagascope_collector.client import Client, CollectorUnreachable, SagaFilters, schemas
from support import staged
from support.collector import RunningCollector, running_collector
from support.payments import STUCK, Tried, saga, send, soon


@pytest.fixture(scope="module")
def collector() -> Iterator[RunningCollector]:
    with running_collector() as running:
        yield running


@pytest.fixture
def client(collector: RunningCollector) -> Iterator[Client]:
    with Client(collector.api) as opened:
        yield opened


def test_an_empty_collector_answers_with_nothing(client: Client) -> None:
    assert client.sagas() == schemas.Sagas(items=[], next_cursor=None, words_since=None, words_limit=None)
    assert client.search("8492") == schemas.SearchResult(
        matches=[], reason="never_seen", words_since=None, unassigned=None, truncated=False
    )
    assert client.flows().items == []
    assert client.services().items == []
    assert client.status().received == 0


def test_what_was_stored_is_found_at_once_and_listed_soon(collector: RunningCollector, client: Client) -> None:
    for number in range(5):
        send(collector, *saga(f"fresh-{number}", STUCK))
        assert client.saga("payment", f"fresh-{number}").attention == "hung"
        assert [each.kind for each in client.search(f"fresh-{number}").matches] == ["id"]
        soon(lambda number=number: client.sagas(SagaFilters(q=f"fresh-{number}")).items)


def test_a_diagnosis_changes_with_time_alone(collector: RunningCollector, client: Client) -> None:
    patient = Tried("ledger.record", "ledger", 0, None, attributes={"saga.step.timeout": 3.0})
    send(collector, *saga("slow", (patient,), ago=0))
    assert soon(lambda: client.sagas(SagaFilters(q="slow")).items)[0].attention is None
    assert soon(lambda: client.sagas(SagaFilters(q="slow", attention="any")).items)[0].attention == "hung"


def test_pages_stay_stable_while_new_sagas_arrive(collector: RunningCollector, client: Client) -> None:
    send(
        collector, *(request for number in range(20) for request in saga(f"p-{number}", name="paged", ago=100 + number))
    )
    before = soon(lambda: (page := client.sagas(SagaFilters(name="paged"))) and len(page.items) == 20 and page)
    seen: list[schemas.SagaSummary] = []
    cursor: str | None = None
    with _arriving(collector):
        while True:
            page = client.sagas(SagaFilters(name="paged"), limit=4, cursor=cursor)
            seen += page.items
            cursor = page.next_cursor
            if cursor is None:
                break
    assert [each.id for each in seen] == [each.id for each in before.items]


def test_readers_and_writers_do_not_disturb_each_other(collector: RunningCollector) -> None:
    wrong: list[BaseException] = []

    def read() -> None:
        try:
            with Client(collector.api) as client:
                for _ in range(20):
                    starts = [each.started_at for each in client.sagas(limit=100).items]
                    assert starts == sorted(starts, reverse=True)
                    assert client.saga("payment", "busy").id == "busy"
                    client.search("busy")
                    client.flows()
        except BaseException as error:
            wrong.append(error)

    send(collector, *saga("busy", STUCK))
    readers = [threading.Thread(target=read) for _ in range(4)]
    with _arriving(collector):
        for each in readers:
            each.start()
        for each in readers:
            each.join(60)
    assert wrong == []


@contextmanager
def _arriving(collector: RunningCollector) -> Iterator[None]:
    """New sagas all the while."""
    enough = threading.Event()

    def write() -> None:
        number = 0
        while not enough.is_set():
            send(collector, *saga(f"new-{number}", name="paged", ago=0.0))
            number += 1

    writer = threading.Thread(target=write)
    writer.start()
    try:
        yield
    finally:
        enough.set()
        writer.join(30)


def test_a_plan_has_prerequisites_and_an_attempt_its_child(collector: RunningCollector, client: Client) -> None:
    staged.branched(collector)
    told = client.saga("booking", "trip")
    assert {step.name: step.after for step in told.plan.steps} == {
        "quote": [],
        "room.hold": ["quote"],
        "room.book": ["room.hold"],
        "flight.book": ["quote"],
        "ticket.issue": ["room.book", "flight.book"],
    }
    children = {step.name: each.child for step in told.steps for each in step.attempts if each.child}
    assert children == {"flight.book": schemas.SagaReference(name="flight.book", id="flight-77")}


def test_a_client_outlives_a_restart_of_the_collector(tmp_path: Path) -> None:
    with running_collector(tmp_path) as first, Client(first.api) as client:
        send(first, *saga("8492", STUCK))
        before = soon(lambda: client.sagas().items)
        address = first.api.removeprefix("http://")
        first.stop()
        with pytest.raises(CollectorUnreachable):
            client.sagas()
        with running_collector(tmp_path, addresses={"api": address}):
            assert [each.id for each in client.sagas().items] == [each.id for each in before]


def test_lists_and_pages_agree(collector: RunningCollector, client: Client) -> None:
    send(collector, *saga("same", STUCK, ago=3_600), *saga("done", ago=3_600))
    for saga_id in ("same", "done"):
        (listed,) = soon(lambda saga_id=saga_id: client.sagas(SagaFilters(q=saga_id)).items)
        told = client.saga("payment", saga_id)
        assert listed == schemas.SagaSummary.model_validate(told.model_dump())


def test_the_clock_of_the_answer_is_the_reader_s(client: Client) -> None:
    told = client.sagas(limit=1).items[0]
    assert isinstance(told.started_at, datetime)
    assert told.started_at.utcoffset() is not None
