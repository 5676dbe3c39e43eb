"""Reports of dead letters: reason, source and saga come from the headers, as each broker and framework writes them."""

from types import SimpleNamespace
from typing import Any

import pytest

import sagascope
from sagascope import Saga
from sagascope.integrations.dead_letters import delivery_number, report_dead_letter
from sagascope.integrations.messages import publishing
from sagascope.testing import record
from support.receiver import Receiver

DEATHS = [{"reason": "rejected", "queue": "retries", "count": 1}, {"reason": "expired", "queue": "ledger", "count": 2}]


def headers_of(saga_id: str) -> dict[str, Any]:
    with Saga("payment").begin(saga_id, open=True), publishing("payments.debited") as headers:
        return dict(headers)


def test_a_report_stands_at_the_span_that_published_the_message(configured: Receiver) -> None:
    assert report_dead_letter(headers_of("8492") | {"x-death": DEATHS}, queue="payments.dead", system="rabbitmq")
    log = configured.event("sagascope.waiting")
    published = configured.span("publish payments.debited")
    assert (log.trace_id, log.span_id) == (published.trace_id, published.span_id)
    body = "the message on retries was rejected by a consumer and not requeued; it is in payments.dead"
    assert log.raw.body.string_value == body
    assert {name: log.attributes[name] for name in log.attributes if name != "saga.name"} == {
        "saga.id": "8492",
        "sagascope.blocked.cause": "dead_letter",
        "sagascope.dead_letter.reason": "rejected",
        "sagascope.dead_letter.queue": "payments.dead",
        "messaging.destination.name": "retries",
        "messaging.system": "rabbitmq",
    }


@pytest.mark.parametrize(
    ("headers", "arguments", "body"),
    [
        (
            {"kafka_dlt-original-topic": b"debited", "kafka_dlt-exception-message": b"no account"},
            {"queue": "debited-dlt"},
            "the message on debited was moved to a dead-letter queue (no account); it is in debited-dlt",
        ),
        (
            {"__connect.errors.topic": b"debited", "__connect.errors.exception.message": b"bad JSON"},
            {},
            "the message on debited was moved to a dead-letter queue (bad JSON)",
        ),
        (
            {},
            {"reason": "max_deliver", "source": "debited", "deliveries": 5},
            "the message on debited reached the limit of deliveries after 5 deliveries",
        ),
        ({"x-death": []}, {}, "a message was given up"),
        ({"x-death": "unknown"}, {"reason": "late"}, "a message was moved to a dead-letter queue (late)"),
    ],
)
def test_a_report_says_what_the_broker_says(headers: Any, arguments: Any, body: str) -> None:
    with record() as recorder:
        pairs = [(name, value) for name, value in (headers_of("8492") | headers).items()]
        assert report_dead_letter(pairs, **arguments)
    assert [text for text, _ in recorder.logs] == [body]


def test_a_message_of_no_saga_is_not_reported() -> None:
    with record() as recorder:
        assert not report_dead_letter({"x-death": DEATHS})
        assert not report_dead_letter(None)
    assert not recorder.logs


def test_nothing_is_reported_without_configuration() -> None:
    with record():
        headers = headers_of("8492")
    assert not report_dead_letter(headers)


@pytest.mark.parametrize(
    ("message", "number"),
    [
        (SimpleNamespace(metadata=SimpleNamespace(num_delivered=3)), 3),
        (SimpleNamespace(headers={"x-delivery-count": 0}, redelivered=False), 1),
        (SimpleNamespace(headers={"x-delivery-count": 2}, redelivered=True), 3),
        (SimpleNamespace(headers={}, redelivered=False), 1),
        (SimpleNamespace(headers=None, redelivered=True), 2),
        (SimpleNamespace(), 1),
    ],
)
def test_deliveries_are_numbered_as_the_broker_counts(message: Any, number: int) -> None:
    assert delivery_number(message) == number
    with record(), Saga("payment").begin("8492"), sagascope.step("ledger.record", attempt=delivery_number(message)):
        pass
