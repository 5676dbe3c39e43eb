"""Sagas over brokers: headers sent by the real clients, through a real NATS server and librdkafka's mock cluster."""

import asyncio
import re
from contextlib import suppress
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
from support.recipes import imported

payment = Saga("payment")

ENGINES = Path(__file__).parents[2] / "docs" / "engines"


def start(saga_id: str) -> Any:
    return payment.begin(saga_id, open=True)


def consume(headers: Any) -> None:
    with sagascope.extract(headers), sagascope.step("ledger.record"):
        running = sagascope.current()
        assert running is not None
        running.complete()


def assert_propagated(receiver: Receiver, saga_id: str, destination: str, system: str) -> None:
    """Asserts that the consumer's step is a child of the message's span, in the same saga and trace."""
    consumed = receiver.span("ledger.record", saga_id=saga_id)
    published = receiver.span(f"publish {destination}", saga_id=saga_id)
    assert consumed.parent_id == published.span_id
    assert consumed.trace_id == published.trace_id
    assert consumed.attributes["saga.name"] == "payment"
    assert published.raw.kind == SpanKind.PRODUCER.value + 1
    assert published.attributes["messaging.destination.name"] == destination
    assert published.attributes["messaging.system"] == system
    assert "saga.role" not in published.attributes


def test_nats_propagates_a_saga(configured: Receiver, tmp_path: Path) -> None:
    nats = pytest.importorskip("nats", reason="nats-py is not installed")

    async def send(address: str) -> Any:
        client = await nats.connect(address)
        try:
            waiting = await client.subscribe("payments.debited")
            with start("8492 ü/1"), publishing("payments.debited", system="nats") as headers:
                await client.publish("payments.debited", b"{}", headers=headers)
            return (await waiting.next_msg(timeout=30)).headers
        finally:
            await client.close()

    with running_nats(tmp_path) as address:
        consume(asyncio.run(send(address)))
    assert_propagated(configured, "8492 ü/1", "payments.debited", "nats")


def test_jetstream_redelivery_is_a_new_attempt(configured: Receiver, tmp_path: Path) -> None:
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
                        raise ConnectionError("the ledger is unavailable")
                await message.ack()
            except ConnectionError:
                await message.nak()

    async def send(address: str) -> None:
        client = await nats.connect(address)
        try:
            await handle(client.jetstream())
        finally:
            await client.close()

    with running_nats(tmp_path) as address:
        asyncio.run(send(address))
    first = configured.span("ledger.record", saga_step_attempt=1, saga_id="8493")
    second = configured.span("ledger.record", saga_step_attempt=2, saga_id="8493")
    assert first.parent_id == second.parent_id == configured.span("publish payments.debited").span_id
    assert first.exception["exception.type"] == "ConnectionError"


REPORTS = {
    "nak": "on payments.debited reached the limit of deliveries after 2 deliveries; it is in stream payments",
    "term": "on payments.debited was terminated by a consumer; it is in stream payments",
}


@pytest.mark.parametrize("end", REPORTS)
def test_what_jetstream_gives_up_is_reported(configured: Receiver, tmp_path: Path, end: str) -> None:
    nats = pytest.importorskip("nats", reason="nats-py is not installed")
    watch = names_of("nats.md")["watch"]

    async def play(client: Any) -> None:
        stream = client.jetstream()
        await stream.add_stream(name="payments", subjects=["payments.>"])
        await watch(client)
        limited = nats.js.api.ConsumerConfig(max_deliver=2, ack_wait=1)
        consumer = await stream.pull_subscribe("payments.debited", durable="ledger", config=limited)
        with start("8499"), publishing("payments.debited", system="nats") as headers:
            await stream.publish("payments.debited", b"{}", headers=headers)
        for _ in range(2 if end == "nak" else 1):
            (message,) = await consumer.fetch(1, timeout=30)
            await getattr(message, end)()
        with suppress(nats.errors.TimeoutError):
            await consumer.fetch(1, timeout=2)
        await asyncio.to_thread(configured.event, "sagascope.waiting")

    async def run(address: str) -> None:
        client = await nats.connect(address)
        try:
            await play(client)
        finally:
            await client.close()

    with running_nats(tmp_path) as address:
        asyncio.run(run(address))
    log = configured.event("sagascope.waiting")
    assert log.raw.body.string_value == f"the message {REPORTS[end]}"
    assert log.span_id == configured.span("publish payments.debited").span_id
    assert REPORTS["nak"] in (ENGINES / "nats.md").read_text()


def test_a_dead_letter_topic_of_kafka_is_reported(configured: Receiver) -> None:
    kafka = pytest.importorskip("confluent_kafka", reason="confluent-kafka is not installed")
    producer = kafka.Producer({"test.mock.num.brokers": 1, "bootstrap.servers": ""})
    brokers = mock_brokers(producer)
    with start("8499"), publishing("payments.debited", system="kafka") as headers:
        told = {"kafka_dlt-original-topic": "payments.debited", "kafka_dlt-exception-message": "no account"}
        producer.produce("payments.debited-dlt", b"{}", headers={**headers, **told})
    assert producer.flush(30) == 0
    options = {"bootstrap.servers": brokers, "group.id": "dead-letters", "auto.offset.reset": "earliest"}
    consumer = kafka.Consumer(options)
    try:
        consumer.subscribe(["payments.debited-dlt"])
        names_of("kafka.md")["on_dead_letter"](wait_for(lambda: got(consumer.poll(1.0))))
    finally:
        consumer.close()
    body = configured.event("sagascope.waiting").raw.body.string_value
    assert "debited was moved to a dead-letter queue (no account); it is in payments.debited-dlt" in body
    assert body in (ENGINES / "kafka.md").read_text()


def test_kafka_propagates_a_saga(configured: Receiver) -> None:
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
        consume(message.headers())
    finally:
        consumer.close()
    assert_propagated(configured, "8494", "payments.debited", "kafka")


def test_aiokafka_recipe_propagates_a_saga(configured: Receiver, tmp_path: Path) -> None:
    kafka = pytest.importorskip("confluent_kafka", reason="confluent-kafka is not installed")
    aiokafka = pytest.importorskip("aiokafka", reason="aiokafka is not installed")
    recipe = imported("engines/kafka.md", tmp_path, "on_aiokafka")
    cluster = kafka.Producer({"test.mock.num.brokers": 1, "bootstrap.servers": ""})

    async def run(brokers: str) -> None:
        producer = aiokafka.AIOKafkaProducer(bootstrap_servers=brokers)
        consumer = aiokafka.AIOKafkaConsumer(
            "orders.accepted",
            bootstrap_servers=brokers,
            group_id="wallet",
            auto_offset_reset="earliest",
            enable_auto_commit=False,
        )
        async with producer:
            await recipe.accept(producer, "8497")
        async with consumer:
            consuming = asyncio.create_task(recipe.consume(consumer))
            await asyncio.to_thread(configured.span, "wallet.debit", saga_id="8497")
            consuming.cancel()

    asyncio.run(run(mock_brokers(cluster)))
    step = configured.span("wallet.debit", saga_id="8497")
    assert step.parent_id == configured.span("publish orders.accepted").span_id
    assert step.attributes["saga.outcome"] == "completed"


def mock_brokers(producer: Any) -> str:
    """Returns the addresses of the mock brokers inside this producer."""
    brokers = producer.list_topics(timeout=30).brokers.values()
    return ",".join(f"{broker.host}:{broker.port}" for broker in brokers)


def got(message: Any) -> Any:
    return message if message is not None and message.error() is None else None


def test_batch_of_kafka_messages_is_one_span_with_links(configured: Receiver) -> None:
    headers: list[list[tuple[str, bytes]]] = []
    for saga_id in ("8495", "8496"):
        with start(saga_id), publishing("payments.debited", system="kafka") as published:
            headers.append([(name, value.encode()) for name, value in published.items()])
    with sagascope.batch("ledger.settle", [sagascope.extract(each) for each in headers]):
        pass
    span = configured.span("ledger.settle")
    linked = {
        value.value.string_value for link in span.raw.links for value in link.attributes if value.key == "saga.id"
    }
    assert linked == {"8495", "8496"}


def test_failed_publication_is_an_error(configured: Receiver) -> None:
    with pytest.raises(ConnectionError), start("8497"), publishing("payments.debited"):
        raise ConnectionError("no broker")
    assert configured.span("publish payments.debited").exception["exception.message"] == "no broker"


def test_headers_are_empty_outside_a_saga() -> None:
    with record() as recorder:
        with publishing("payments.debited") as headers:
            assert headers == {}
        with start("8498"), publishing("payments.debited") as headers:
            assert headers.keys() == {"traceparent", "baggage"}
    assert [span.name for span in recorder.spans] == ["payment", "publish payments.debited"]


def test_headers_are_empty_without_configuration() -> None:
    with publishing("payments.debited") as headers:
        assert headers == {}


class Stream:
    """Keeps each published message, in the form of JetStream and of a Kafka client."""

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
    """Returns the names that the code of a page defines."""
    work = ("debit_the_wallet", "notify_the_customer", "write_to_the_ledger")
    names: dict[str, Any] = {name: lambda _message: None for name in work}
    for number, block in enumerate(re.findall(r"```python\n(.*?)```", (ENGINES / page).read_text(), re.DOTALL)):
        exec(compile(block, f"{page}, block {number}", "exec"), names)
    return names


def test_nats_recipe_runs(configured: Receiver) -> None:
    recipe, stream = names_of("nats.md"), Stream()
    asyncio.run(recipe["start"](stream, "8501", b"{}"))
    asyncio.run(recipe["handle"](stream, stream.sent[0]))
    asyncio.run(recipe["handle_last"](stream.sent[1]))
    assert configured.span("notification.send", saga_id="8501").attributes["saga.outcome"] == "completed"
    assert configured.span("wallet.debit", saga_id="8501").attributes["saga.step.attempt"] == 1


def test_kafka_recipe_runs(configured: Receiver) -> None:
    recipe, stream = names_of("kafka.md"), Stream()
    recipe["start"](stream, "8502", b"{}")
    recipe["handle"](stream, stream.sent[0])
    recipe["settle"](stream.sent)
    recipe["handle_last"](stream.sent[1])
    assert configured.span("notification.send", saga_id="8502").attributes["saga.outcome"] == "completed"
    assert len(configured.span("ledger.settle").raw.links) == 2


def test_batch_has_an_attempt_of_every_saga_however_many(configured: Receiver) -> None:
    incoming = []
    for number in range(500):
        with payment.begin(str(number)):
            headers: dict[str, str] = {}
            sagascope.inject(headers)
        incoming.append(sagascope.extract(headers))
    with sagascope.batch("ledger.settle", incoming):
        pass
    settled = configured.span("ledger.settle")
    assert len(settled.raw.links) == 500
    assert settled.raw.dropped_links_count == 0
