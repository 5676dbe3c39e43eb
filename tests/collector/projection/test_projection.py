"""Summaries kept in step with facts and clock, over a real store."""

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from sagascope_collector.analysis import Context, model
from sagascope_collector.analysis.diagnosis import Diagnosis
from sagascope_collector.api import present
from sagascope_collector.client import schemas
from sagascope_collector.errors import StorageUnavailable
from sagascope_collector.ingest import Encoding, Payload, Signal
from sagascope_collector.otlp import decode
from sagascope_collector.projection import Projection, summaries, thread
from sagascope_collector.projection.thread import POLL_INTERVAL_SECONDS
from sagascope_collector.records import Facts, SagaId
from sagascope_collector.saga_filters import SagaFilters
from sagascope_collector.storage import SagaRow, Storage
from support.otlp import NOON, SECOND, heartbeat, log, logs, of_saga, resource, span_id, trace_id
from support.payments import DONE, STUCK, Request, saga, soon

Clock = list[int]

LEDGER = resource("ledger", service_instance_id="ledger-1")


@pytest.fixture
def clock() -> Clock:
    return [NOON]


@pytest.fixture
def store(clock: Clock) -> Iterator[Storage]:
    opened = Storage(clock=lambda: clock[0])
    yield opened
    opened.close()


@pytest.fixture
def projection(store: Storage, clock: Clock) -> Projection:
    return projected(store, clock)


def projected(
    store: Storage,
    clock: Clock,
    summarise: Callable[..., schemas.SagaSummary] = present.summary,
    default_timeout: float = 30,
) -> Projection:
    context = partial(Context, default_timeout=default_timeout)
    return Projection(store, summarise=summarise, context=context, clock=lambda: clock[0], quiet=0.0)


def put(store: Storage, *requests: Request, received: int = NOON) -> None:
    store.records.append(decode([payload(each, received) for each in requests]).batch)


def payload(request: Request, received: int) -> Payload:
    signal = Signal.TRACES if isinstance(request, ExportTraceServiceRequest) else Signal.LOGS
    return Payload(signal, Encoding.PROTOBUF, request.SerializeToString(), received)


def settle(projection: Projection) -> int:
    """Let it do all there is to do; how many rounds that took."""
    rounds = 1
    while projection.advance():
        rounds += 1
    return rounds


def listed(store: Storage) -> list[SagaRow]:
    return store.listing.page(SagaFilters(), limit=500).rows


def test_what_changed_is_summarised(store: Storage, projection: Projection) -> None:
    put(store, *saga("1", now=NOON), *saga("2", STUCK, now=NOON, root={"saga.key.order": "o-1"}))
    settle(projection)
    first, second = sorted(listed(store), key=lambda row: row.key.id)
    assert (first.status, first.attention, first.due_at) == ("completed", None, None)
    assert (second.status, second.attention, second.step, second.service) == (
        "running",
        "hung",
        "ledger.record",
        "ledger",
    )
    assert second.steps == ("fraud.check", "ledger.record")
    assert set(second.services) == {"orchestrator", "fraud", "ledger"}
    assert second.keys == {"order": "o-1"}
    assert schemas.SagaSummary.model_validate_json(second.document).id == "2"
    assert store.changes.claim(10) == []


def test_what_is_due_is_diagnosed_again(store: Storage, projection: Projection, clock: Clock) -> None:
    put(store, *saga("1", STUCK, now=NOON, ago=0.5))
    settle(projection)
    (row,) = listed(store)
    assert row.attention is None
    assert row.due_at is not None
    clock[0] = row.due_at - 1
    settle(projection)
    assert listed(store)[0].attention is None
    clock[0] = row.due_at
    settle(projection)
    assert listed(store)[0].attention == "hung"


def test_more_than_one_round_s_worth_is_done_in_several(
    store: Storage, projection: Projection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(thread, "BULK_SAGAS", 100)
    put(store, *(each for number in range(300) for each in saga(str(number), now=NOON)))
    assert settle(projection) > 1
    assert len(listed(store)) == 300


def test_all_names_and_runs_of_an_id_have_a_row_each(store: Storage, projection: Projection) -> None:
    for name, run in (("payment", "a"), ("payment", "b"), ("refund", "")):
        put(store, *saga("7", DONE, name=name, run=run, now=NOON))
    settle(projection)
    assert {(row.key.name, row.key.run) for row in listed(store)} == {
        ("payment", "a"),
        ("payment", "b"),
        ("refund", ""),
    }


def test_a_saga_that_cannot_be_read_is_left_out_and_logged_once(
    store: Storage, clock: Clock, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(summaries, "UNREADABLE_RETRY_SECONDS", 0.0)
    poisonous = {"2"}

    def summarise(one: model.Saga, diagnosis: Diagnosis) -> schemas.SagaSummary:
        if one.key.id in poisonous:
            raise RecursionError("too deep")
        return present.summary(one, diagnosis)

    projection = projected(store, clock, summarise)
    put(store, *saga("1", now=NOON), *saga("2", now=NOON), *saga("3", now=NOON))
    settle(projection)
    assert {row.key.id for row in listed(store)} == {"1", "3"}
    put(store, *saga("2", now=NOON))
    settle(projection)
    assert [record.levelno for record in caplog.records] == [logging.ERROR]
    assert projection.notices() == ["unreadable: 1 saga cannot be read and is not evaluated (2); the log says why."]
    poisonous.clear()
    put(store, *saga("2", now=NOON))
    settle(projection)
    assert len(listed(store)) == 3
    assert projection.notices() == []


@pytest.mark.parametrize("number", [1, 2])
def test_sagas_that_the_database_cannot_read_are_left_out_when_no_other_changed(
    store: Storage, projection: Projection, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def damaged(ids: Sequence[SagaId]) -> dict[SagaId, Facts]:
        raise StorageUnavailable("The records cannot be read.")

    put(store, *(each for saga_id in range(number) for each in saga(str(saga_id), now=NOON)))
    monkeypatch.setattr(store.lookup, "facts", damaged)
    settle(projection)
    assert projection.unreadable() == number
    assert store.changes.claim(10) == []


def test_a_store_that_is_gone_stops_nothing_but_the_summaries(
    store: Storage, projection: Projection, caplog: pytest.LogCaptureFixture
) -> None:
    projection.start()
    store.close()
    soon(lambda: caplog.records)
    soon(lambda: projection.lag_seconds() > POLL_INTERVAL_SECONDS)
    assert len(caplog.records) == 1
    projection.stop()
    with pytest.raises(StorageUnavailable):
        projection.advance()


def test_the_thread_stops_at_once_and_leaves_the_rest(store: Storage, projection: Projection) -> None:
    projection.start()
    put(store, *(each for number in range(200) for each in saga(str(number), now=NOON)))
    projection.stop()
    rest = 200 - len(listed(store))
    assert len(store.changes.claim(500)) == rest


def test_a_stop_does_not_wait_for_work_that_does_not_end(
    store: Storage, projection: Projection, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, free, ended = threading.Event(), threading.Event(), threading.Event()

    def claim(*_: object, **__: object) -> list[SagaId]:
        begun.set()
        free.wait(60)
        ended.set()
        return []

    monkeypatch.setattr(store.changes, "claim", claim)
    projection.start()
    assert begun.wait(60)
    projection.stop()
    assert not ended.is_set()
    free.set()
    assert ended.wait(60)


def test_one_that_never_started_can_be_stopped(projection: Projection) -> None:
    projection.stop()


def test_lag_is_nothing_while_it_keeps_up(store: Storage, projection: Projection) -> None:
    projection.start()
    put(store, *saga("1", now=NOON))
    soon(lambda: listed(store))
    assert projection.lag_seconds() < 5
    projection.stop()


def test_a_diagnosis_that_is_due_at_once_is_not_made_again_and_again(store: Storage, clock: Clock) -> None:
    projection = projected(store, clock)
    put(store, *saga("1", STUCK, now=NOON, ago=5))
    settle(projection)
    due = listed(store)[0].due_at
    assert due is None or due > clock[0] + SECOND // 20


def beating(sequence: int, at: int) -> Request:
    """A heartbeat of the ledger, with the attempt of `announced` open."""
    return logs(heartbeat(sequence, 2, at=at, interval=1.0), of=LEDGER)


def announced() -> Request:
    """The start record of an attempt in the ledger."""
    told = {"span.name": "ledger.record", "span.kind": "server", "span.parent_id": ""}
    step = {"saga.role": "step", "saga.step.name": "ledger.record", "saga.step.timeout": 1_000.0}
    attributes = of_saga("1") | step | {f"sagascope.{key}": value for key, value in told.items()}
    return logs(
        log(event_name="sagascope.span.start", trace_id=trace_id(1), span_id=span_id(2), attributes=attributes),
        of=LEDGER,
    )


def test_a_process_that_reports_again_has_lost_nothing(store: Storage, projection: Projection, clock: Clock) -> None:
    put(store, announced(), beating(1, NOON))
    settle(projection)
    assert listed(store)[0].attention is None
    clock[0] = NOON + 10 * SECOND
    settle(projection)
    assert listed(store)[0].attention == "instance_lost"
    put(store, beating(12, clock[0]), received=clock[0])
    clock[0] += 2 * SECOND
    settle(projection)
    assert listed(store)[0].attention is None


def test_a_restart_diagnoses_open_sagas_by_its_own_settings(store: Storage, clock: Clock) -> None:
    put(store, *saga("1", STUCK[:1], now=NOON, ended=False), *saga("2", STUCK[:1], now=NOON, ended=False))
    patient = Projection(
        store,
        summarise=present.summary,
        context=lambda now: Context(now, default_timeout=1_000),
        clock=lambda: clock[0],
    )
    settle(patient)
    assert [row.attention for row in listed(store)] == [None, None]
    settle(projected(store, clock))
    assert None not in [row.attention for row in listed(store)]


def test_what_could_not_be_written_is_reevaluated_when_it_can(
    store: Storage, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(store, *saga("1", STUCK[:1], now=NOON, ended=False))
    settle(projected(store, clock, default_timeout=1_000))
    restarted = projected(store, clock)
    put_rows = store.sagas.put

    def fail_once(ids: Sequence[SagaId], rows: Sequence[SagaRow]) -> None:
        if ids:
            monkeypatch.setattr(store.sagas, "put", put_rows)
            raise StorageUnavailable("the disk is full")

    monkeypatch.setattr(store.sagas, "put", fail_once)
    with pytest.raises(StorageUnavailable):
        settle(restarted)
    settle(restarted)
    assert [row.attention for row in listed(store)] != [None]
