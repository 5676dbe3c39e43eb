"""Facts: what is appended comes back, once, and nothing else does."""

import threading

import pytest

from sagascope_collector.errors import StoreUnavailable
from sagascope_collector.records import Mark, Process, SagaId
from sagascope_collector.store import Store
from support.otlp import NOON, SECOND, log, logs, of_saga, resource, span, traces

from .conftest import Put, append

SAGA = SagaId("", "8492")


def test_an_unknown_id_has_no_facts(store: Store) -> None:
    assert store.facts([SAGA]) == {}


def test_a_record_comes_back_as_it_was_sent(store: Store, put: Put) -> None:
    put(traces(span(7, trace=3, name="debit", kind=3, error="refused", attributes=of_saga(step_name="debit"))))
    (one,) = store.facts([SAGA])[SAGA].spans
    assert (one.trace_id, one.span_id, one.parent_id) == (f"{3:032x}", f"{7:016x}", "")
    assert (one.name, one.kind, one.status, one.status_message) == ("debit", "client", "error", "refused")
    assert (one.start, one.end) == (NOON, NOON + SECOND)
    assert one.mark == Mark(id="8492", name="payment", step="debit")
    assert one.attributes == {"saga.id": "8492", "saga.name": "payment", "saga.step.name": "debit"}
    assert one.process == Process(service="ledger")
    assert one.scope.name == "test"


def test_ids_are_kept_apart_by_environment(store: Store, put: Put) -> None:
    put(
        traces(span(1, attributes=of_saga()), of=resource(deployment_environment_name="prod")),
        traces(span(2, attributes=of_saga()), of=resource(deployment_environment_name="test")),
    )
    found = store.facts([SagaId("prod", "8492"), SagaId("test", "8492"), SAGA])
    assert {key.environment: [each.span_id for each in facts.spans] for key, facts in found.items()} == {
        "prod": [f"{1:016x}"],
        "test": [f"{2:016x}"],
    }
    assert [each.environment for each in store.facts_called("8492")] == ["prod", "test"]


def test_what_is_sent_again_is_stored_once(store: Store, put: Put) -> None:
    requests = (traces(span(1, attributes=of_saga())), logs(log("hello", attributes=of_saga())))
    assert put(*requests) == (2, 0)
    assert put(*requests) == (0, 2)
    assert put(*requests, *requests) == (0, 4)
    facts = store.facts([SAGA])[SAGA]
    assert (len(facts.spans), len(facts.logs)) == (1, 1)
    assert store.counters() == (8, 2, 0, 6)


def test_what_repeats_within_one_batch_is_stored_once(store: Store, put: Put) -> None:
    assert put(traces(span(1), span(1)), logs(log("a"), log("a"), log("b"))) == (3, 2)


def test_logs_that_differ_in_any_field_or_in_their_sender_are_different(store: Store, put: Put) -> None:
    put(
        logs(log("a"), log("b"), log("a", at=NOON + 1), log("a", severity_number=9), log("a", attributes={"k": 1})),
        logs(log("a"), of=resource("wallet")),
        logs(log("a"), scope="other"),
    )
    assert store.counters().stored == 7


@pytest.mark.parametrize("final_first", [True, False])
def test_a_final_span_wins_over_the_same_span_sent_open(store: Store, put: Put, final_first: bool) -> None:
    requests = [traces(span(1, attributes=of_saga())), traces(span(1, end=0, attributes=of_saga()))]
    for request in requests if final_first else reversed(requests):
        put(request)
    (one,) = store.facts([SAGA])[SAGA].spans
    assert one.end == NOON + SECOND


def test_a_span_sent_open_is_a_fact_until_it_ends(store: Store, put: Put) -> None:
    put(traces(span(1, end=0, attributes=of_saga())))
    (one,) = store.facts([SAGA])[SAGA].spans
    assert one.end == 0


def test_a_span_belongs_to_every_saga_that_it_links_to(store: Store, put: Put) -> None:
    links = [(9, 1, of_saga("1", step_name="ship")), (9, 2, of_saga("2", role="step")), (9, 3, {"else": 1})]
    put(traces(span(1, name="batch", attributes={"saga.step.name": "book"}, links=links)))
    found = store.facts([SagaId("", "1"), SagaId("", "2")])
    (first,), (second,) = found[SagaId("", "1")].spans, found[SagaId("", "2")].spans
    assert (first.name, second.name) == ("batch", "batch")
    assert first.mark == Mark(id="1", name="payment", role="step", step="ship")
    assert second.mark == Mark(id="2", name="payment", role="step")
    assert set(store.changed_ids(10)) == set(found)


def test_a_link_to_its_own_saga_does_not_double_a_span(store: Store, put: Put) -> None:
    put(traces(span(1, attributes=of_saga(), links=[(9, 1, of_saga())])))
    assert len(store.facts([SAGA])[SAGA].spans) == 1


def test_the_instances_of_every_service_concerned_come_along(store: Store, put: Put) -> None:
    put(
        traces(span(1, attributes=of_saga()), of=resource("ledger", service_instance_id="l1")),
        traces(span(2), of=resource("ledger", service_instance_id="l2")),
        traces(span(3), of=resource("shipping", service_instance_id="s1")),
    )
    instances = store.facts([SAGA])[SAGA].instances
    assert {each.process.instance for each in instances} == {"l1", "l2"}


def test_has_trace_knows_trace_and_span_ids_of_spans_in_no_saga(store: Store, put: Put) -> None:
    put(traces(span(5, trace=4)))
    assert store.has_trace(f"{4:032x}")
    assert store.has_trace(f"{5:016X}")
    assert not store.has_trace(f"{6:032x}")
    assert not store.has_trace("8492")
    assert not store.has_trace("z" * 32)


def test_an_empty_batch_is_stored(store: Store, put: Put) -> None:
    assert put() == (0, 0)
    assert put(traces()) == (0, 0)


def test_rejected_records_are_counted(store: Store, put: Put) -> None:
    put(traces(span(0), span(1)))
    assert store.counters() == (2, 1, 1, 0)


def test_many_threads_may_read_while_one_appends(store: Store) -> None:
    failures: list[BaseException] = []

    def work(number: int) -> None:
        saga = SagaId("", str(number))
        try:
            for round_ in range(1, 21):
                append(store, traces(span(number * 1000 + round_, attributes=of_saga(saga.id))))
                assert len(store.facts([saga])[saga].spans) == round_
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert not failures
    assert store.counters().stored == 80


def test_a_closed_store_is_unavailable(store: Store, put: Put) -> None:
    store.close()
    with pytest.raises(StoreUnavailable):
        store.counters()
    with pytest.raises(StoreUnavailable):
        put(traces(span()))
