"""What embedding Sagascope costs its caller, against a bare span of OpenTelemetry's SDK to the same receiver.

Times of calls are processor time of the calling thread; those of imports, and of calls beside a collector that does not
answer, are elapsed time. `STEPS` sets for how many steps memory is measured: 1,000,000 unless it is set.
"""

import gc
import logging
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

import sagascope
from sagascope import Saga, Step

ROUNDS = 15
CALLS = 1000
IMPORTS = 15
STEPS = int(os.environ.get("STEPS", "1000000"))
STALLED_ROUNDS = 4
STALLED_CALLS = 5000

RECEIVER = """
import asyncio, sys

async def answer(reader, writer):
    if "stalled" in sys.argv:
        return await asyncio.sleep(3600)
    try:
        while True:
            head = (await reader.readuntil(b"\\r\\n\\r\\n")).lower()
            await reader.readexactly(int(head.partition(b"content-length:")[2].split(b"\\r\\n")[0]))
            writer.write(b"HTTP/1.1 200 OK\\r\\nContent-Length: 0\\r\\n\\r\\n")
            await writer.drain()
    except asyncio.IncompleteReadError:
        writer.close()

async def main():
    server = await asyncio.start_server(answer, "127.0.0.1", 0, limit=1 << 26)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()

asyncio.run(main())
"""

payment = Saga("payment", [Step("wallet.debit", timeout=5.0)])
BARE = {f"attribute.{number}": f"value {number}" for number in range(7)} | {"attempt": 1}
"""As many attributes as the step below has."""


@contextmanager
def receiver(*options: str) -> Iterator[str]:
    """A receiver in a process of its own, that reads and forgets, or with the option ``stalled`` never answers."""
    process = subprocess.Popen([sys.executable, "-c", RECEIVER, *options], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield f"http://127.0.0.1:{process.stdout.readline().strip()}"
    finally:
        process.terminate()
        process.wait()


def main() -> None:
    """Measure steps inside and outside a saga, sagas, and imports; print medians with spread."""
    with receiver() as endpoint:
        provider = TracerProvider(shutdown_on_exit=False)
        exporter = OTLPSpanExporter(f"{endpoint}/v1/traces")
        provider.add_span_processor(BatchSpanProcessor(exporter, max_queue_size=2 * CALLS))
        tracer = provider.get_tracer("bench")
        sagascope.configure("bench", endpoint=endpoint, queue_size=2 * CALLS, announce_after=0.25)
        with payment.begin("8492") as saga:
            times = _interleaved(
                {
                    "bare span": lambda: _bare(tracer),
                    "step": lambda: _step(saga),
                    "begin": _begin,
                    "step outside a saga": _outside,
                    "decorated function outside a saga": _decorated,
                }
            )
        stats = sagascope.stats()
        sagascope.shutdown()
        provider.shutdown()
    bare = statistics.median(times["bare span"])
    for name, took in times.items():
        of_bare = f"   {statistics.median(took) / bare:.2f} x bare" if name in {"step", "begin"} else ""
        print(f"{name:36} {_formatted(took, 'us')}{of_bare}")
    print(f"{'dropped':36} {stats.dropped}")
    _stalled()
    _memory()
    _imports()


def _interleaved(measured: dict[str, Callable[[], float]]) -> dict[str, list[float]]:
    """Microseconds of processor time a call, in rounds that take turns, so that a busy machine touches all alike."""
    times: dict[str, list[float]] = {name: [] for name in measured}
    for number in range(ROUNDS + 1):
        for name, once in measured.items():
            gc.collect()
            took = once()
            if number:
                times[name].append(took)
            time.sleep(0.15)  # both pipelines send what they hold, so that neither pays for the other
    return times


def _bare(tracer: object) -> float:
    start_span = tracer.start_as_current_span  # type: ignore[attr-defined]
    began = time.thread_time()
    for _ in range(CALLS):
        with start_span("wallet.debit", attributes=dict(BARE)):
            pass
    return (time.thread_time() - began) / CALLS * 1e6


def _step(saga: sagascope.RunningSaga) -> float:
    began = time.thread_time()
    for _ in range(CALLS):
        with saga.step("wallet.debit", idempotency_key="k"):
            pass
    return (time.thread_time() - began) / CALLS * 1e6


_ids = count()


def _begin() -> float:
    ids = [f"begin-{next(_ids)}" for _ in range(CALLS)]
    began = time.thread_time()
    for saga_id in ids:
        with payment.begin(saga_id, keys={"order_id": "A-17"}):
            pass
    return (time.thread_time() - began) / CALLS * 1e6


def _outside() -> float:
    import contextvars

    def run() -> float:
        began = time.thread_time()
        for _ in range(CALLS):
            with sagascope.step("wallet.debit"):
                pass
        return (time.thread_time() - began) / CALLS * 1e6

    return contextvars.Context().run(run)


@sagascope.step("wallet.debit")
def _decorated_function() -> None:
    pass


def _decorated() -> float:
    import contextvars

    def run() -> float:
        began = time.thread_time()
        for _ in range(CALLS):
            _decorated_function()
        return (time.thread_time() - began) / CALLS * 1e6

    return contextvars.Context().run(run)


def _stalled() -> None:
    """Microseconds that a request of the host takes, a saga with a step, beside each kind of collector, in turns."""
    with receiver() as answering, receiver("stalled") as stalled, socket.create_server(("127.0.0.1", 0)) as server:
        refusing = f"http://127.0.0.1:{server.getsockname()[1]}"
        server.close()
        endpoints = {"answers": answering, "accepts and never answers": stalled, "refuses": refusing}
        took: dict[str, list[float]] = {name: [] for name in endpoints}
        logging.getLogger("sagascope").setLevel(logging.ERROR)
        for _ in range(STALLED_ROUNDS):
            for name, endpoint in endpoints.items():
                sagascope.configure("bench", endpoint=endpoint, announce_after=0.05)
                took[name] += _requests()
                sagascope.shutdown(0.1)
    for name, each in took.items():
        cuts = statistics.quantiles(each, n=1000)
        label = f"request, collector {name}"
        print(f"{label:46} p50 {cuts[499]:7.1f} us   p99 {cuts[989]:7.1f} us   p99.9 {cuts[998]:7.1f} us")


def _requests() -> list[float]:
    took = []
    for number in range(STALLED_CALLS):
        began = time.perf_counter()
        with payment.begin(f"request-{next(_ids)}") as saga, saga.step("wallet.debit"):
            pass
        took.append((time.perf_counter() - began) * 1e6)
        if not number % 100:
            time.sleep(0.01)
    return took


def _memory() -> None:
    """MB resident after a tenth and after all of the steps, each in a saga with an id of its own."""
    with receiver() as answering, receiver("stalled") as stalled:
        for name, endpoint in {"answers": answering, "accepts and never answers": stalled}.items():
            done = subprocess.run(
                [sys.executable, "-c", MEMORY, endpoint, str(STEPS)], capture_output=True, text=True, check=True
            )
            tenth, end = map(int, done.stdout.split())
            label = f"memory, collector {name}"
            print(f"{label:46} {tenth / 2**20:6.1f} MB after {STEPS // 10:,} steps, {end / 2**20:6.1f} after {STEPS:,}")


MEMORY = """
import logging, sys
import psutil, sagascope
from sagascope import Saga, Step

logging.getLogger("sagascope").setLevel(logging.ERROR)
sagascope.configure("bench", endpoint=sys.argv[1])
payment, steps = Saga("payment", [Step("wallet.debit", timeout=5.0)]), int(sys.argv[2])
for number in range(1, steps + 1):
    with payment.begin(str(number)) as saga, saga.step("wallet.debit"):
        pass
    if number in {steps // 10, steps}:
        print(psutil.Process().memory_info().rss)
sagascope.shutdown(0.1)
"""


def _imports() -> None:
    """Milliseconds of an import in a fresh interpreter, with bytecode cached."""
    statements = {
        "import opentelemetry.trace": "import opentelemetry.trace",
        "import sagascope": "import sagascope",
        "from sagascope import (what people write)": "from sagascope import Saga, Step, step, inject, extract",
    }
    with tempfile.TemporaryDirectory() as cache:
        environment = {**os.environ, "PYTHONPYCACHEPREFIX": cache}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        times: dict[str, list[float]] = {name: [] for name in statements}
        for number in range(IMPORTS + 1):
            for name, statement in statements.items():
                script = f"import time; t = time.perf_counter(); {statement}; print(time.perf_counter() - t)"
                done = subprocess.run(
                    [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True
                )
                if number:
                    times[name].append(float(done.stdout) * 1e3)
    base = statistics.median(times["import opentelemetry.trace"])
    for name, took in times.items():
        print(f"{name:42} {_formatted(took, 'ms')}   {statistics.median(took) / base:.2f} x")


def _formatted(took: list[float], unit: str) -> str:
    low, *_, high = statistics.quantiles(took, n=10)
    return f"{statistics.median(took):8.2f} {unit} (p10 {low:.2f}, p90 {high:.2f})"


if __name__ == "__main__":
    main()
