"""Emitters of saga telemetry; run each as a process: ``python emitters.py NAME ENDPOINT``."""

import os
import sys
import time

from opentelemetry import trace


def ours(endpoint: str) -> None:
    """The instrumentation: the caller's view, a compensation, links, logs, a long step; one process is one service."""
    import logging

    import sagascope
    from sagascope import Saga, Step

    sagascope.configure(
        service_name="orchestrator", environment="test", endpoint=endpoint, announce_after=0.05, heartbeat_interval=0.3
    )
    payment = Saga(
        "payment", [Step("debit", compensation="refund", timeout=5.0), Step("record", timeout=1.5)], timeout=60
    )
    with payment.begin("8492", amount="50.00", currency="EUR", keys={"order_id": "A-17"}) as saga:
        with saga.step("debit", idempotency_key="k", resources=["account-1"], max_attempts=3, pivot=False):
            logging.getLogger("wallet").warning("debited")
            with trace.get_tracer("db").start_as_current_span("UPDATE"):
                pass
        with saga.step("record", key="first"):
            time.sleep(0.5)
        saga.wait_until(time.time() + 5, reason="a review")
        saga.wait_for("an approval")
    try:
        with payment.begin("8493", run="second") as saga:
            with saga.step("debit"):
                headers: dict[str, str] = {}
                sagascope.inject(headers)
            with saga.step("record", retry_in=0.5):
                raise ConnectionError
    except ConnectionError:
        pass
    with payment.resume("8494") as saga:
        saga.compensation("refund").__enter__().__exit__(None, None, None)
    with sagascope.batch("settle", [sagascope.extract(headers)]):
        pass


def plain(endpoint: str) -> None:
    """A plain SDK with attributes that the application sets."""
    tracer = _tracer(endpoint, service="orchestrator", **{"service.instance.id": "one"})
    mark = {"saga.id": "8492", "saga.name": "payment"}
    root = {**mark, "saga.role": "saga", "saga.plan": ["debit"], "saga.amount": "50.00", "saga.currency": "EUR"}
    with tracer.start_as_current_span("payment", attributes=root) as span:
        step = {**mark, "saga.role": "step", "saga.step.name": "debit", "saga.step.attempt": 1}
        with tracer.start_as_current_span("debit", attributes=step):
            pass
        span.set_attribute("saga.outcome", "completed")


def improvable(endpoint: str, *lines: str) -> None:
    """A plain SDK that sets the least, and the lines that a report proposed."""
    import sagascope

    os.environ |= {"SAGASCOPE_ENDPOINT": endpoint, "OTEL_SERVICE_NAME": "orchestrator"}
    tracer = _tracer(os.environ["GRPC_ENDPOINT"], "orchestrator", **{"service.instance.id": "one"})
    names: dict[str, object] = {"saga_id": "8493", "sagascope": sagascope, "time": time}
    mark = {"saga.id": "8492", "saga.name": "payment"}

    def run(span: trace.Span | None, *words: str) -> None:
        for line in lines:
            if any(word in line for word in words):
                exec(f"{line} time.sleep(0.5)" if line.endswith(":") else line, names | {"span": span})

    run(None, "sagascope")
    with tracer.start_as_current_span("payment", attributes={**mark, "saga.role": "saga"}) as root:
        run(root, "saga.plan")
        for name in ("debit", "record", "refund"):
            step = {**mark, "saga.role": "step", "saga.step.name": name}
            with tracer.start_as_current_span(name, attributes=step) as span:
                run(span, "saga.step.attempt", "saga.step.max_attempts")
                if name == "refund":
                    run(span, "saga.step.type", "saga.step.compensates")


def wrong(endpoint: str) -> None:
    """A plain SDK that violates nearly every check of spans."""
    tracer = _tracer(endpoint, **{"deployment.environment": "test"})
    mark = {"saga.id": "8492", "saga.name": "payment"}
    root = {**mark, "saga.role": "root", "saga.plan": ["debit", "debit"], "saga.plan.timeouts": [1.0]}
    root |= {"saga.amount": "fifty", "saga.currency": "EURO", "saga.outcome": "done", "saga.key.order": 7}
    with tracer.start_as_current_span("payment", attributes=root):
        step = {
            **mark,
            "saga.role": "step",
            "saga.step.name": "debit",
            "saga.step.attempts": 1,
            "saga.step.timeout": "5",
        }
        compensation = {"saga.step.attempt": 0, "saga.step.type": "compensation"}
        with tracer.start_as_current_span("debit", attributes={**step, **compensation}):
            with tracer.start_as_current_span("UPDATE"):
                pass
            with tracer.start_as_current_span("SELECT", attributes={"saga.name": "payment"}):
                pass


def nothing(endpoint: str) -> None:
    """Telemetry without sagas."""
    with _tracer(endpoint, service="shop").start_as_current_span("GET"):
        pass


def _tracer(endpoint: str, service: str | None = None, **resource: str) -> trace.Tracer:
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    named = {"service.name": service} if service else {}
    provider = TracerProvider(resource=Resource.create({**resource, **named}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint, insecure=True)))
    return provider.get_tracer("by hand")


if __name__ == "__main__":
    emitters = {"ours": ours, "plain": plain, "improvable": improvable, "wrong": wrong, "nothing": nothing}
    emitters[sys.argv[1]](*sys.argv[2:])
