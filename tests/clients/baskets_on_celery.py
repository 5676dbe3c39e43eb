"""A shop on Celery, instrumented by OpenTelemetry: ``worker`` runs its tasks, ``send KIND ID`` starts one of them."""

import os
import sys

from celery import Celery, chain, chord, group
from celery.signals import worker_process_init
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.instrumentation.celery import CeleryInstrumentor
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

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


@app.task(name="shop.checkout", bind=True)
def checkout(self: object, kind: str) -> None:
    work = {
        "chain": chain(charge.s(), pack.s(), ship.s()),
        "group": group(pack.s(1), pack.s(2), charge.s()),
        "chord": chord([pack.s(1), pack.s(2)], ship.s()),
        "refused": chain(charge.si(), ship.si("refused")),
    }
    work[kind].apply_async()


def instrument(service: str) -> None:
    provider = TracerProvider(resource=Resource.create({"service.name": service}))
    provider.add_span_processor(SimpleSpanProcessor(OTLPSpanExporter(f"{os.environ['OTLP']}/v1/traces")))
    trace.set_tracer_provider(provider)
    CeleryInstrumentor().instrument()
    join_tasks()


if sys.argv[1] == "worker":
    worker_process_init.connect(lambda **_: instrument("warehouse"), weak=False)
    app.worker_main(["worker", "--concurrency=2", "--loglevel=warning", "--without-gossip", "--without-mingle"])
else:
    instrument("shop")
    for kind in sys.argv[2:]:
        checkout.apply_async([kind], task_id=f"basket-{kind}")
