"""Sagas over brokers: headers carried by the real clients, through a real NATS server and librdkafka's mock cluster."""

import asyncio
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from opentelemetry.trace import SpanKind

import sagascope
from sagascope import Saga
from sagascope.integrations.messages import publishing
from sagascope.testing import record
from support.nats import running_nats
from support.receiver import Receiver, wait_for

payment = Saga("payment")

ENGINES = Path(__file__).parents[2] / "docs" / "engines"


def start(saga_id: str) -> Any:
    return payment.begin(saga_id, open=True)


def take(headers: Any) -> None:
    with sagascope.extract(headers), sagascope.step("ledger.record"):
        running = sagascope.current()
        assert running is not None
        running.complete()


def assert_carried(receiver: Receiver, saga_id: str, destination: str, system: str) -> None:
    """The consumer's step stands below the span of the message, in the same saga and trace."""
    taken = receiver.span("ledger.record", saga_id=saga_id)
    published = receiver.span(f"publish {destination}", saga_id=saga_id)
    assert taken.parent_id == published.span_id
    assert taken.trace_id == published.trace_id
    assert taken.attributes["saga.name"] == "payment"
    assert published.raw.kind == SpanKind.PRODUCER.value + 1
    assert published.attributes["messaging.destination.name"] == destination
    assert published.attributes["messaging.system"] == system
    assert "saga.role" not in published.attributes


def test_nats_carries_a_saga(configured: Receiver, tmp_path: Path) -> None:
    nats = pytest.importorskip("nats", reason="nats-py is not installed")

    async def carry(address: str) -> Any:
        client = await nats.connect(address)
        try:
            waiting = await client.subscribe("payments.debited")
            with start("8492 ü/1"), publishing("payments.debited", system="nats") as headers:
                await client.publish("payments.debited", b"{}", headers=headers)
            return (await waiting.next_msg(timeout=30)).headers
        finally:
            await client.close()

    with running_nats(tmp_path) as address:
        take(asyncio.run(carry(address)))
    assert_carried(configured, "8492 ü/1", "payments.debited", "nats")


def test_jetstream_carries_a_saga_and_says_how_often_a_message_was_delivered(
    configured: Receiver, tmp_path: Path
) -> None:
    nats = pytest.importorskip("nats", reason="nats-py is not installed")

    async def handle(stream: Any) -> None:
        await stream.add_stream(name="payments", subjects=["payments.>"])
        consumer = await stream.pull_subscribe("payments.debited", durable="ledger")
        with start("8493"), sagascope.step("wallet.debit"):
            async with publishing("payments.debited", system="nats", message_id="8493/debited") as headers:
                await stream.publish("payments.debited", b"{}", headers={**headers, "Nats-Msg-Id": "8493/debited"})
        for _ in range(2):
            (message,) = await consumer.fetch(1, timeout=30)
            delivery = message.metadata.num_delivered
            try:
                with sagascope.extract(message.headers), sagascope.step("ledger.record", attempt=delivery):
                    if delivery == 1:
                        raise ConnectionError("the ledger is away")
                await message.ack()
            except ConnectionError:
                await message.nak()

    async def carry(address: str) -> None:
        client = await nats.connect(address)
        try:
            await handle(client.jetstream())
        finally:
            await client.close()

    with running_nats(tmp_path) as address:
        asyncio.run(carry(address))
    first = configured.span("ledger.record", saga_step_attempt=1, saga_id="8493")
    second = configured.span("ledger.record", saga_step_attempt=2, saga_id="8493")
    assert first.parent_id == second.parent_id == configured.span("publish payments.debited").span_id
    assert first.exception["exception.type"] == "ConnectionError"


def test_kafka_carries_a_saga(configured: Receiver) -> None:
    kafka = pytest.importorskip("confluent_kafka", reason="confluent-kafka is not installed")
    producer = kafka.Producer({"test.mock.num.brokers": 1, "bootstrap.servers": ""})
    brokers = mock_brokers(producer)
    with start("8494"), sagascope.step("wallet.debit"), publishing("payments.debited", system="kafka") as headers:
        producer.produce("payments.debited", b"{}", headers=headers)
    assert producer.flush(30) == 0
    consumer = kafka.Consumer({"bootstrap.servers": brokers, "group.id": "ledger", "auto.offset.reset": "earliest"})
    try:
        consumer.subscribe(["payments.debited"])
        message = wait_for(lambda: got(consumer.poll(1.0)))
        take(message.headers())
    finally:
        consumer.close()
    assert_carried(configured, "8494", "payments.debited", "kafka")


def mock_brokers(producer: Any) -> str:
    """The addresses of the brokers that this producer runs within itself."""
    brokers = producer.list_topics(timeout=30).brokers.values()
    return ",".join(f"{broker.host}:{broker.port}" for broker in brokers)


def got(message: Any) -> Any:
    return message if message is not None and message.error() is None else None


def test_a_batch_of_kafka_messages_is_one_span_linked_to_each(configured: Receiver) -> None:
    headers: list[list[tuple[str, bytes]]] = []
    for saga_id in ("8495", "8496"):
        with start(saga_id), publishing("payments.debited", system="kafka") as carried:
            headers.append([(name, value.encode()) for name, value in carried.items()])
    with sagascope.batch("ledger.settle", [sagascope.extract(each) for each in headers]):
        pass
    span = configured.span("ledger.settle")
    linked = {
        value.value.string_value for link in span.raw.links for value in link.attributes if value.key == "saga.id"
    }
    assert linked == {"8495", "8496"}


def test_a_message_that_could_not_be_published_says_so(configured: Receiver) -> None:
    with pytest.raises(ConnectionError), start("8497"), publishing("payments.debited"):
        raise ConnectionError("no broker")
    assert configured.span("publish payments.debited").exception["exception.message"] == "no broker"


def test_outside_a_saga_nothing_is_added() -> None:
    with record() as recorder:
        with publishing("payments.debited") as headers:
            assert headers == {}
        with start("8498"), publishing("payments.debited") as headers:
            assert headers.keys() == {"traceparent", "baggage"}
    assert [span.name for span in recorder.spans] == ["payment", "publish payments.debited"]


def test_without_configuration_nothing_happens() -> None:
    with publishing("payments.debited") as headers:
        assert headers == {}


class Stream:
    """Hands each message that is published to whoever asks for it, as JetStream and a Kafka client would shape it."""

    def __init__(self) -> None:
        self.sent: list[Any] = []

    async def publish(self, subject: str, body: bytes, headers: dict[str, str]) -> None:
        self.sent.append(
            SimpleNamespace(headers=headers, data=body, metadata=SimpleNamespace(num_delivered=1), ack=ack)
        )

    def produce(self, topic: str, body: bytes, key: Any, headers: dict[str, str]) -> None:
        pairs = [(name, value.encode()) for name, value in headers.items()]
        self.sent.append(SimpleNamespace(headers=lambda: pairs, value=lambda: body, key=lambda: key))


async def ack() -> None: ...


def names_of(page: str) -> dict[str, Any]:
    """What the page's code defines."""
    work = ("debit_the_wallet", "notify_the_customer", "write_to_the_ledger")
    names: dict[str, Any] = {name: lambda _message: None for name in work}
    for number, block in enumerate(re.findall(r"```python\n(.*?)```", (ENGINES / page).read_text(), re.DOTALL)):
        exec(compile(block, f"{page}, block {number}", "exec"), names)
    return names


def test_the_recipe_for_nats_runs(configured: Receiver) -> None:
    recipe, stream = names_of("nats.md"), Stream()
    asyncio.run(recipe["start"](stream, "8501", b"{}"))
    asyncio.run(recipe["handle"](stream, stream.sent[0]))
    asyncio.run(recipe["handle_last"](stream.sent[1]))
    assert configured.span("notification.send", saga_id="8501").attributes["saga.outcome"] == "completed"
    assert configured.span("wallet.debit", saga_id="8501").attributes["saga.step.attempt"] == 1


def test_the_recipe_for_kafka_runs(configured: Receiver) -> None:
    recipe, stream = names_of("kafka.md"), Stream()
    recipe["start"](stream, "8502", b"{}")
    recipe["handle"](stream, stream.sent[0])
    recipe["settle"](stream.sent)
    recipe["handle_last"](stream.sent[1])
    assert configured.span("notification.send", saga_id="8502").attributes["saga.outcome"] == "completed"
    assert len(configured.span("ledger.settle").raw.links) == 2
