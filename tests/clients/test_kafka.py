"""confluent-kafka against librdkafka's mock brokers, and a collector: what becomes of a payment's messages."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

pytest.importorskip("confluent_kafka", reason="confluent-kafka is not installed")

import confluent_kafka as kafka

import sagascope
from sagascope import Saga
from sagascope.integrations.dead_letters import report_dead_letter
from sagascope.integrations.messages import publishing
from support.collector import RunningCollector, running_collector
from support.following import once
from support.receiver import wait_for

payment = Saga("payment")
TOPIC = "payments.debited"
ATTEMPTS = 3


class Broker:
    """A topic of a mock broker, with one producer and one consumer."""

    def __init__(self) -> None:
        self.producer = kafka.Producer({"test.mock.num.brokers": 1, "bootstrap.servers": ""})
        found = self.producer.list_topics(timeout=30).brokers.values()
        self.addresses = ",".join(f"{each.host}:{each.port}" for each in found)

    def publish(self, topic: str, saga_id: str, headers: dict[str, str]) -> None:
        self.producer.produce(topic, json.dumps(saga_id).encode(), headers=headers)
        assert self.producer.flush(30) == 0

    def messages(self, topic: str, number: int) -> list[Any]:
        options = {"bootstrap.servers": self.addresses, "group.id": topic, "auto.offset.reset": "earliest"}
        consumer = kafka.Consumer(options)

        def following() -> Any:
            message = consumer.poll(1.0)
            return message if message is not None and message.error() is None else None

        try:
            consumer.subscribe([topic])
            return [wait_for(following, f"no message on {topic}") for _ in range(number)]
        finally:
            consumer.close()


@pytest.fixture(scope="module")
def payments(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningCollector]:
    """A collector, after each payment was debited, and the ledger consumed what it could."""
    broker = Broker()
    timeout = ("--step-timeout", "payment/ledger.record=300")
    with running_collector(tmp_path_factory.mktemp("kafka"), *timeout) as collector:
        sagascope.configure("payments", endpoint=collector.otlp_http)
        try:
            for saga_id in ("done", "failing", "refused"):
                message = publishing(TOPIC, system="kafka")
                with payment.begin(saga_id, open=True), sagascope.step("wallet.debit"), message as headers:
                    broker.publish(TOPIC, saga_id, headers)
            for message in broker.messages(TOPIC, 3):
                consume(broker, json.loads(message.value()), message)
            (dead,) = broker.messages(f"{TOPIC}-dlt", 1)
            report_dead_letter(dead.headers(), queue=dead.topic(), system="kafka")
            yield collector
        finally:
            sagascope.shutdown()


def consume(broker: Broker, saga_id: str, message: Any) -> None:
    """Records a payment; what fails is tried again, and one goes to a dead-letter topic."""
    attempts = ATTEMPTS if saga_id == "failing" else 1
    for attempt in range(1, attempts + 1):
        try:
            with sagascope.extract(message.headers()), sagascope.step("ledger.record", attempt=attempt):
                if saga_id != "done":
                    raise ValueError("no account")
                running = sagascope.current()
                assert running is not None
                running.complete()
        except ValueError as error:
            if saga_id == "refused":
                headers = {name: value.decode() for name, value in message.headers()}
                told = {"kafka_dlt-original-topic": message.topic(), "kafka_dlt-exception-message": str(error)}
                broker.publish(f"{TOPIC}-dlt", saga_id, headers | told)


@pytest.mark.shows("kafka", "healthy", "completed")
def test_a_payment_whose_messages_arrive_is_completed(payments: RunningCollector) -> None:
    saga = once(payments, "done", lambda saga: saga["status"] == "completed", "payment")
    assert saga["attention"] is None


@pytest.mark.shows("kafka", "retrying", "retrying")
def test_a_message_that_fails_again_and_again_is_named(payments: RunningCollector) -> None:
    saga = once(payments, "failing", lambda saga: saga["attention"] == "retrying", "payment")
    assert "published to payments.debited" in saga["headline"]


@pytest.mark.shows("kafka", "message lost", "blocked")
def test_a_message_in_a_dead_letter_topic_blocks_its_payment(payments: RunningCollector) -> None:
    saga = once(payments, "refused", lambda saga: saga["attention"] == "blocked", "payment")
    report = (
        "the message on payments.debited was moved to a dead-letter queue (no account); it is in payments.debited-dlt"
    )
    assert report in saga["headline"]
    assert saga["step"] == "ledger.record"
