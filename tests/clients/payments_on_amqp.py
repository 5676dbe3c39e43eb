"""Payments over RabbitMQ with aio-pika: `payments_on_amqp.py URL OTLP FOLDER`, with the page's code in FOLDER.

Each payment has one fault, named by its id. Makes the file FOLDER/done when RabbitMQ has given up every message that it
will give up, and stays.
"""

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

URL, OTLP, FOLDER = sys.argv[1:4]
sys.path.append(FOLDER)

import aio_pika  # noqa: E402
import on_aio_pika as page  # noqa: E402

import sagascope  # noqa: E402

DEAD = "payments.dead"
LOOPS = 4
"""Deliveries of a message that is redelivered without end, as far as this program looks."""

OPTIONS = {"x-dead-letter-exchange": DEAD}


def write_to_the_ledger(body: bytes) -> None:
    if body in (b"refused", b"limited", b"looping"):
        raise ValueError(f"no account for {body.decode()}")


async def again(message: aio_pika.abc.AbstractIncomingMessage) -> None:
    """Consumes like the page's `record`, and requeues what fails."""
    try:
        async with (
            sagascope.extract(message.headers),
            sagascope.step("ledger.record", attempt=page.delivery_number(message)),
        ):
            write_to_the_ledger(message.body)
    except ValueError:
        if message.body != b"looping" or page.delivery_number(message) < LOOPS:
            await message.reject(requeue=True)


async def die() -> None:
    """Consumes one message, and is killed while it works on it."""

    async def record(message: aio_pika.abc.AbstractIncomingMessage) -> None:
        async with sagascope.extract(message.headers), sagascope.step("ledger.record"):
            await asyncio.sleep(1)  # until its start is reported
            os.kill(os.getpid(), signal.SIGKILL)

    async with await aio_pika.connect(URL) as connection:
        queue = await (await connection.channel()).get_queue("killed")
        await queue.consume(record)
        await asyncio.Event().wait()


async def main() -> None:
    page.write_to_the_ledger = write_to_the_ledger
    given_up = 0

    async def on_dead_letter(message: aio_pika.abc.AbstractIncomingMessage) -> None:
        nonlocal given_up
        await page.on_dead_letter(message)
        given_up += 1

    async with await aio_pika.connect(URL) as connection:
        channel = await connection.channel()
        channel.return_callbacks.add(page.on_return)
        dead_letters = await channel.declare_queue("dead-letters")
        await dead_letters.bind(await channel.declare_exchange(DEAD, aio_pika.ExchangeType.FANOUT))
        await dead_letters.consume(on_dead_letter)

        async def queue(name: str, **options: object) -> tuple[aio_pika.abc.AbstractExchange, ...]:
            exchange = await channel.declare_exchange(f"payments-{name}", aio_pika.ExchangeType.TOPIC)
            made = await channel.declare_queue(name, durable=True, arguments=OPTIONS | options)
            await made.bind(exchange, "payments.debited")
            return exchange, made

        exchange, ledger = await queue("ledger")
        await ledger.consume(page.record)
        for payment in ("done", "refused"):
            await page.start(exchange, payment, payment.encode())
        exchange, limited = await queue("limited", **{"x-queue-type": "quorum", "x-delivery-limit": 1})
        await limited.consume(again)
        await page.start(exchange, "limited", b"limited")
        exchange, endless = await queue("endless", **{"x-queue-type": "quorum"})
        await endless.consume(again)
        await page.start(exchange, "looping", b"looping")
        exchange, _ = await queue("killed")
        await page.start(exchange, "killed", b"killed")
        subprocess.Popen([sys.executable, *sys.argv, "die"]).wait()
        exchange, _ = await queue("unread", **{"x-message-ttl": 100})
        await page.start(exchange, "expired", b"expired")
        exchange, _ = await queue("full", **{"x-max-length": 1})
        for payment in ("dropped", "waiting"):
            await page.start(exchange, payment, payment.encode())
        nowhere = await channel.declare_exchange("nowhere")
        await page.start(nowhere, "unroutable", b"unroutable")
        while given_up < 4:
            await asyncio.sleep(0.05)
        sagascope.flush(30)
        (Path(FOLDER) / "done").touch()
        await asyncio.Event().wait()


if sys.argv[4:] == ["die"]:
    sagascope.configure("ledger", endpoint=OTLP, heartbeat_interval=0.3)
    asyncio.run(die())
sagascope.configure("payments", endpoint=OTLP)
asyncio.run(main())
