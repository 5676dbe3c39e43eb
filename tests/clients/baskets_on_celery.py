"""A shop on Celery, instrumented by OpenTelemetry: ``worker`` runs its tasks, ``send KIND ...`` starts some of them."""

import os
import signal
import sys
import time
from pathlib import Path

from celery import Celery, chain, chord, group
from celery.signals import worker_process_init
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.instrumentation.celery import CeleryInstrumentor
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

import sagascope
from sagascope import Saga
from sagascope.integrations.celery import join_tasks

FOLDER = os.environ["FOLDER"]

app = Celery("baskets", broker="filesystem://", backend=f"file://{FOLDER}/results")
app.conf.update(
    broker_transport_options={
        "data_folder_in": f"{FOLDER}/queue",
        "data_folder_out": f"{FOLDER}/queue",
        "control_folder": f"{FOLDER}/control",
    },
    broker_connection_retry_on_startup=True,
    result_chord_retry_interval=0.1,
)


@app.task(name="shop.charge")
def charge(*items: object) -> str:
    return "charged"


@app.task(name="shop.pack")
def pack(*items: object) -> str:
    return "packed"


@app.task(name="shop.ship")
def ship(*items: object) -> None:
    if "refused" in items:
        raise ValueError("no carrier")


@app.task(name="shop.call", autoretry_for=(ConnectionError,), default_retry_delay=0.1, max_retries=1000)
def call(basket: str) -> None:
    if basket == "failing" or is_first(f"call-{basket}"):
        raise ConnectionError("no answer")


@app.task(name="shop.weigh", acks_late=True, reject_on_worker_lost=True)
def weigh(basket: str) -> None:
    if is_first(f"weigh-{basket}"):
        os.kill(os.getpid(), signal.SIGKILL)


@app.task(name="shop.book")
def book() -> None:
    with sagascope.step("carrier.book"):
        time.sleep(1)  # until its start is reported
        os.kill(os.getpid(), signal.SIGKILL)


@app.task(name="shop.stray")
def stray() -> None: ...


@app.task(name="shop.wait")
def wait() -> None:
    with sagascope.step("carrier.wait"):
        time.sleep(20)


@app.task(name="shop.deliver")
def deliver(queue: str) -> None:
    chain(charge.si(), ship.si().set(queue=queue)).apply_async()


def is_first(what: str) -> bool:
    """Returns whether this was not asked before."""
    try:
        (Path(FOLDER) / what).touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


@app.task(name="shop.checkout", bind=True)
def checkout(self: object, kind: str) -> None:
    work = {
        "chain": chain(charge.s(), pack.s(), ship.s()),
        "group": group(pack.s(1), pack.s(2), charge.s()),
        "chord": chord([pack.s(1), pack.s(2)], ship.s()),
        "refused": chain(charge.si(), ship.si("refused")),
        "retried": chain(charge.si(), call.si(kind)),
        "failing": chain(charge.si(), call.si(kind)),
        "killed": chain(charge.si(), weigh.si(kind)),
    }
    if kind == "twice":
        for _ in range(2):
            pack.apply_async(task_id="the-same")
        return
    work[kind].apply_async()


def instrument(service: str) -> None:
    provider = TracerProvider(resource=Resource.create({"service.name": service}))
    provider.add_span_processor(SimpleSpanProcessor(OTLPSpanExporter(f"{os.environ['OTLP']}/v1/traces")))
    trace.set_tracer_provider(provider)
    sagascope.configure(service, endpoint=os.environ["OTLP"], heartbeat_interval=0.3)
    CeleryInstrumentor().instrument()
    join_tasks()


if sys.argv[1] == "worker":
    worker_process_init.connect(lambda **_: instrument("warehouse"), weak=False)
    app.worker_main(["worker", "--concurrency=2", "--loglevel=warning", "--without-gossip", "--without-mingle"])
else:
    instrument("shop")
    work = {
        "chain": chain(charge.s(), pack.s(), ship.s()),
        "group": group(pack.s(1), pack.s(2), charge.s()),
        "chord": chord([pack.s(1), pack.s(2)], ship.s()),
        "booked": group(book.s()),
        "waiting": group(wait.s()),
    }
    for kind in sys.argv[2:]:
        name, _, rest = kind.partition(":")
        if name == "order":
            with Saga("order").begin(f"order-{rest}", open=True):
                work[rest].apply_async()
        elif name == "stray":
            stray.apply_async(task_id=f"stray-{rest}", queue=rest)
        elif name == "loose":
            work[rest].apply_async()
        elif name == "deliver":
            deliver.apply_async([rest], task_id=f"deliver-{rest}")
        else:
            checkout.apply_async([kind], task_id=f"basket-{kind}")
    sagascope.shutdown()
