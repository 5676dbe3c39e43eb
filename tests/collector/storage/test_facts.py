"""Facts: what is appended comes back, once, and nothing else does."""

import threading

import pytest

from sagascope_collector.errors import StorageUnavailable
from sagascope_collector.records import Mark, Process, SagaId
from sagascope_collector.storage import Storage
from support.otlp import NOON, SECOND, log, logs, of_saga, resource, span, traces

from .conftest import Put, append

SAGA = SagaId("", "8492")


def test_an_unknown_id_has_no_facts(storage: Storage) -> None:
    assert storage.lookup.facts([SAGA]) == {}


def test_a_record_comes_back_as_it_was_sent(storage: Storage, put: Put) -> None:
    put(traces(span(7, trace=3, name="debit", kind=3, error="refused", attributes=of_saga(step_name="debit"))))
    (one,) = storage.lookup.facts([SAGA])[SAGA].spans
    assert (one.trace_id, one.span_id, one.parent_id) == (f"{3:032x}", f"{7:016x}", "")
    assert (one.name, one.kind, one.status, one.status_message) == ("debit", "client", "error", "refused")
    assert (one.start, one.end) == (NOON, NOON + SECOND)
    assert one.mark == Mark(id="8492", name="payment", step="debit")
    assert one.attributes == {"saga.id": "8492", "saga.name": "payment", "saga.step.name": "debit"}
    assert one.process == Process(service="ledger")
    assert one.scope.name == "test"


def test_ids_are_kept_apart_by_environment(storage: Storage, put: Put) -> None:
    put(
        traces(span(1, attributes=of_saga()), of=resource(deployment_environment_name="prod")),
        traces(span(2, attributes=of_saga()), of=resource(deployment_environment_name="test")),
    )
    found = storage.lookup.facts([SagaId("prod", "8492"), SagaId("test", "8492"), SAGA])
    assert {key.environment: [each.span_id for each in facts.spans] for key, facts in found.items()} == {
        "prod": [f"{1:016x}"],
        "test": [f"{2:016x}"],
    }
    assert [each.environment for each in storage.lookup.facts_called("8492")] == ["prod", "test"]


def test_what_is_sent_again_is_stored_once(storage: Storage, put: Put) -> None:
    requests = (traces(span(1, attributes=of_saga())), logs(log("hello", attributes=of_saga())))
    assert put(*requests) == (2, 0)
    assert put(*requests) == (0, 2)
    assert put(*requests, *requests) == (0, 4)
    facts = storage.lookup.facts([SAGA])[SAGA]
    assert (len(facts.spans), len(facts.logs)) == (1, 1)
    assert storage.records.counters == (8, 2, 0, 6)


def test_what_repeats_within_one_batch_is_stored_once(storage: Storage, put: Put) -> None:
    assert put(traces(span(1), span(1)), logs(log("a"), log("a"), log("b"))) == (3, 2)


def test_logs_that_differ_in_any_field_or_in_their_sender_are_different(storage: Storage, put: Put) -> None:
    put(
        logs(log("a"), log("b"), log("a", at=NOON + 1), log("a", severity_number=9), log("a", attributes={"k": 1})),
        logs(log("a"), of=resource("wallet")),
        logs(log("a"), scope="other"),
    )
    assert storage.records.counters.stored == 7


@pytest.mark.parametrize("final_first", [True, False])
def test_an_open_and_a_final_form_of_a_span_are_both_kept(storage: Storage, put: Put, final_first: bool) -> None:
    requests = [traces(span(1, attributes=of_saga())), traces(span(1, end=0, attributes=of_saga()))]
    for request in requests if final_first else reversed(requests):
        put(request)
    assert {each.end for each in storage.lookup.facts([SAGA])[SAGA].spans} == {0, NOON + SECOND}


def test_a_span_sent_open_is_a_fact_until_it_ends(storage: Storage, put: Put) -> None:
    put(traces(span(1, end=0, attributes=of_saga())))
    (one,) = storage.lookup.facts([SAGA])[SAGA].spans
    assert one.end == 0


def test_a_span_belongs_to_every_saga_that_it_links_to(storage: Storage, put: Put) -> None:
    links = [(9, 1, of_saga("1", step_name="ship")), (9, 2, of_saga("2", role="step")), (9, 3, {"else": 1})]
    put(traces(span(1, name="batch", attributes={"saga.step.name": "book"}, links=links)))
    found = storage.lookup.facts([SagaId("", "1"), SagaId("", "2")])
    (first,), (second,) = found[SagaId("", "1")].spans, found[SagaId("", "2")].spans
    assert (first.name, second.name) == ("batch", "batch")
    assert first.mark == Mark(id="1", name="payment", role="step", step="ship")
    assert second.mark == Mark(id="2", name="payment", role="step")
    assert set(storage.changes.claim(10)) == set(found)


def test_a_link_to_its_own_saga_does_not_double_a_span(storage: Storage, put: Put) -> None:
    put(traces(span(1, attributes=of_saga(), links=[(9, 1, of_saga())])))
    assert len(storage.lookup.facts([SAGA])[SAGA].spans) == 1


def test_the_instances_of_every_service_concerned_come_along(storage: Storage, put: Put) -> None:
    put(
        traces(span(1, attributes=of_saga()), of=resource("ledger", service_instance_id="l1")),
        traces(span(2), of=resource("ledger", service_instance_id="l2")),
        traces(span(3), of=resource("shipping", service_instance_id="s1")),
    )
    instances = storage.lookup.facts([SAGA])[SAGA].instances
    assert {each.process.instance for each in instances} == {"l1", "l2"}


def test_traces_and_spans_name_their_sagas_or_that_they_are_in_none(storage: Storage, put: Put) -> None:
    put(traces(span(5, trace=4), span(6, trace=4, attributes=of_saga())))
    assert storage.lookup.sagas_with(f"{4:032x}") == {SAGA, SagaId("", "")}
    assert storage.lookup.sagas_with(f"{5:016X}") == {SagaId("", "")}
    assert storage.lookup.sagas_with(f"{6:016x}") == {SAGA}
    assert not storage.lookup.sagas_with(f"{6:032x}")
    assert not storage.lookup.sagas_with("8492")
    assert not storage.lookup.sagas_with("z" * 32)


def test_an_empty_batch_is_stored(storage: Storage, put: Put) -> None:
    assert put() == (0, 0)
    assert put(traces()) == (0, 0)


def test_rejected_records_are_counted(storage: Storage, put: Put) -> None:
    put(traces(span(0), span(1)))
    assert storage.records.counters == (2, 1, 1, 0)


def test_many_threads_may_read_while_one_appends(storage: Storage) -> None:
    failures: list[BaseException] = []

    def work(number: int) -> None:
        saga = SagaId("", str(number))
        try:
            for round_ in range(1, 21):
                append(storage, traces(span(number * 1000 + round_, attributes=of_saga(saga.id))))
                assert len(storage.lookup.facts([saga])[saga].spans) == round_
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert not failures
    assert storage.records.counters.stored == 80


def test_a_closed_store_is_unavailable(storage: Storage, put: Put) -> None:
    storage.close()
    with pytest.raises(StorageUnavailable):
        storage.lookup.facts([SAGA])
    with pytest.raises(StorageUnavailable):
        put(traces(span()))
