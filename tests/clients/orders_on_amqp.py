"""Orders over RabbitMQ with OpenTelemetry's instrumentation alone: `orders_on_amqp.py URL OTLP`."""

import asyncio
import sys

import aio_pika
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.instrumentation.aio_pika import AioPikaInstrumentor
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

URL, OTLP = sys.argv[1:3]
DEAD = "orders.dlx"
provider = TracerProvider(resource=Resource.create({"service.name": "orders"}))
provider.add_span_processor(SimpleSpanProcessor(OTLPSpanExporter(f"{OTLP}/v1/traces")))
trace.set_tracer_provider(provider)
AioPikaInstrumentor().instrument()
tracer = trace.get_tracer("orders")


async def main() -> None:
    done = asyncio.Queue[str]()

    async def ship(message: aio_pika.abc.AbstractIncomingMessage) -> None:
        with tracer.start_as_current_span("ship"):
            await message.ack()
        await done.put(message.body.decode())

    async def on_dead_letter(message: aio_pika.abc.AbstractIncomingMessage) -> None:
        await message.ack()
        await done.put(message.body.decode())

    async with await aio_pika.connect(URL) as connection:
        channel = await connection.channel()
        dead_letters = await channel.declare_queue("dead-orders")
        await dead_letters.bind(await channel.declare_exchange(DEAD, aio_pika.ExchangeType.FANOUT))
        await dead_letters.consume(on_dead_letter)
        exchange = await channel.declare_exchange("orders")
        options = {"x-dead-letter-exchange": DEAD, "x-message-ttl": 100}
        for key in ("taken", "left"):
            await (await channel.declare_queue(f"orders-{key}", arguments=options)).bind(exchange, key)
        await (await channel.get_queue("orders-taken")).consume(ship)
        for order, key in (("ord-1", "taken"), ("ord-2", "left")):
            with tracer.start_as_current_span("POST /orders", attributes={"app.order.id": order}):
                await exchange.publish(aio_pika.Message(order.encode(), headers={}), key)
            assert await done.get() == order
    provider.shutdown()


asyncio.run(main())
