"""Exports one saga with OpenTelemetry Python's JSON exporter, in its own process: OTLP address, saga id."""

import sys

from opentelemetry.exporter.otlp.json.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Status, StatusCode

otlp, saga_id = sys.argv[1:]
provider = TracerProvider(resource=Resource.create({"service.name": "wallet"}))
provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=f"{otlp}/v1/traces")))
tracer = provider.get_tracer("wallet")
of = {"saga.id": saga_id, "saga.name": "json"}
odd = {"big": 2**62, "half": 0.5, "yes": True, "list": ["a", "b"], "bytes": b"\x00\xff", "text": "…\u2028 \x00"}
with tracer.start_as_current_span("payment", attributes={**of, "saga.role": "saga"}):
    for attempt in (1, 2):
        said = {**of, "saga.role": "step", "saga.step.name": "debit", "saga.step.attempt": attempt, **odd}
        with tracer.start_as_current_span("debit", attributes=said) as span:
            span.add_event("tried", {"attempt": attempt})
            if attempt == 1:
                span.set_status(Status(StatusCode.ERROR, "refused"))
if not provider.force_flush():
    sys.exit(1)
provider.shutdown()
