"""Charges on Celery and Redis: ``worker NAME`` runs them, ``send ID SECONDS ...`` asks for one that takes this long."""

import os
import sys
import time

from celery import Celery
from celery.signals import worker_process_init
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.instrumentation.celery import CeleryInstrumentor
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

app = Celery("payments", broker=os.environ["BROKER"])
app.conf.update(
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    worker_prefetch_multiplier=1,
    broker_transport_options={"visibility_timeout": 3, "unacked_restore_interval": 1, "unacked_restore_throttle": 1},
)


@app.task(name="payments.charge")
def charge(seconds: float) -> None:
    print(f"{sys.argv[2]} charges for {seconds} s", flush=True)
    time.sleep(seconds)


def instrument(service: str, instance: str) -> None:
    resource = Resource.create({"service.name": service, "service.instance.id": instance})
    provider = TracerProvider(resource=resource)
    provider.add_span_processor(SimpleSpanProcessor(OTLPSpanExporter(f"{os.environ['OTLP']}/v1/traces")))
    trace.set_tracer_provider(provider)
    CeleryInstrumentor().instrument()


@worker_process_init.connect
def start_process(**_: object) -> None:
    instrument("charges", f"{sys.argv[2]}-{os.getpid()}")


if sys.argv[1] == "worker":
    app.worker_main(["worker", "--concurrency=1", "--loglevel=warning", f"--hostname={sys.argv[2]}@host"])
else:
    instrument("shop", f"shop-{os.getpid()}")
    for task, seconds in zip(sys.argv[2::2], sys.argv[3::2], strict=True):
        charge.apply_async([float(seconds)], task_id=task)
