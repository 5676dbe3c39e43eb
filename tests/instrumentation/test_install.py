"""`install` into a service that uses OpenTelemetry: its telemetry does not change, and its sampler drops no saga."""

import asyncio
import json
import logging
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from opentelemetry import context, propagate, trace
from opentelemetry._logs import LogRecord
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, ParentBased, Sampler, TraceIdRatioBased

import sagascope
from sagascope import Saga, Step
from support.receiver import Receiver, wait_for

payment = Saga("payment", [Step("wallet.debit"), Step("ledger.record", timeout=10)])


class Service:
    """A service with a provider, a sampler and an exporter of its own."""

    def __init__(self, sampler: Sampler) -> None:
        self.exporter = InMemorySpanExporter()
        self.provider = TracerProvider(sampler=sampler, resource=Resource.create({"service.name": "orchestrator"}))
        self.provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.tracer = self.provider.get_tracer("orchestrator")

    @property
    def exported(self) -> list[str]:
        return [span.name for span in self.exporter.get_finished_spans()]


@contextmanager
def installed(receiver: Receiver, sampler: Sampler = ALWAYS_ON) -> Iterator[Service]:
    service = Service(sampler)
    sagascope.install(service.provider, endpoint=receiver.endpoint, announce_after=0.05)
    try:
        yield service
    finally:
        sagascope.shutdown()
        service.provider.shutdown()


@contextmanager
def ledger(ratio: float, receiver: Receiver) -> Iterator[str]:
    """The other service, in its own process."""
    script = Path(__file__).with_name("ledger_service.py")
    process = subprocess.Popen(
        [sys.executable, str(script), str(ratio), receiver.endpoint], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        yield f"http://127.0.0.1:{process.stdout.readline().strip()}"
    finally:
        process.terminate()
        process.wait(10)
        process.stdout.close()


def call(url: str, headers: dict[str, str] | None = None) -> dict[str, int]:
    request = urllib.request.Request(url, headers=headers or {}, data=b"" if headers is not None else None)
    with urllib.request.urlopen(request, timeout=10) as answer:
        return dict(json.load(answer))


def test_exported_spans_of_the_service_get_saga_attributes(receiver: Receiver) -> None:
    with installed(receiver) as service:
        with service.tracer.start_as_current_span("GET /health"):
            pass
        with (
            service.tracer.start_as_current_span("POST /pay"),
            payment.begin("8492") as saga,
            saga.step("wallet.debit"),
            service.tracer.start_as_current_span("SELECT"),
        ):
            pass
        assert service.exported == ["GET /health", "SELECT", "POST /pay"]
        health, select, pay = service.exporter.get_finished_spans()
        assert not health.attributes
        assert not pay.attributes
        assert dict(select.attributes or {}) == {
            "saga.id": "8492",
            "saga.name": "payment",
            "saga.step.name": "wallet.debit",
            "saga.step.attempt": 1,
        }
        step, copy, root = receiver.span("wallet.debit"), receiver.span("SELECT"), receiver.span("payment")
    assert pay.context is not None
    assert root.parent_id == f"{pay.context.span_id:016x}"
    assert copy.parent_id == step.span_id
    assert copy.resource == root.resource
    assert root.resource["service.name"] == "orchestrator"
    assert not [span for span in receiver.spans if span.name in {"GET /health", "POST /pay"}]


@pytest.mark.parametrize(
    "sampler", [TraceIdRatioBased(0.0), ParentBased(TraceIdRatioBased(0.0))], ids=["ratio", "parent based"]
)
def test_sampler_that_drops_everything_drops_no_saga(receiver: Receiver, sampler: Sampler) -> None:
    with installed(receiver, sampler) as service, ledger(0.0, receiver) as url:
        headers: dict[str, str] = {}
        with (
            service.tracer.start_as_current_span("POST /pay"),
            payment.begin("8492") as saga,
            saga.step("ledger.record"),
            service.tracer.start_as_current_span("POST"),
        ):
            propagate.inject(headers)
            call(f"{url}/record", headers)
        assert headers["traceparent"].endswith("-00") or headers["traceparent"].endswith("-02")
        assert service.exported == []
        assert call(f"{url}/exported")["exported"] == 0
        root = receiver.span("payment")
        views = wait_for(lambda: len(found := receiver.all_spans("ledger.record")) == 2 and found, "two views")
    caller, executor = sorted(views, key=lambda view: view.resource["service.name"] == "ledger")
    assert caller.parent_id == root.span_id
    assert executor.trace_id == caller.trace_id
    assert executor.attributes["saga.step.attempt"] == 1
    assert executor.resource["service.name"] == "ledger"
    assert {span.name for span in receiver.spans} == {"payment", "ledger.record"}


def test_sampler_decisions_do_not_change(receiver: Receiver) -> None:
    sagas, kept = 200, 0
    with installed(receiver, ParentBased(TraceIdRatioBased(0.01))) as service, ledger(0.01, receiver) as url:
        for number in range(sagas):
            with payment.begin(str(number)) as saga, saga.step("ledger.record"):
                headers: dict[str, str] = {}
                with service.tracer.start_as_current_span("POST"):
                    propagate.inject(headers)
                kept += int(headers["traceparent"][-2:], 16) & 1
                decided = TraceIdRatioBased(0.01).should_sample(None, int(headers["traceparent"][3:35], 16), "")
                assert decided.decision.is_sampled() == bool(int(headers["traceparent"][-2:], 16) & 1)
                call(f"{url}/record", headers)
        assert len(service.exported) == kept
        assert call(f"{url}/exported")["exported"] == 2 * kept
        wait_for(lambda: len(receiver.all_spans("ledger.record")) == 2 * sagas, "both views of every step", 30)
    assert len(receiver.all_spans("payment")) == sagas


def test_calls_on_the_current_span_reach_the_span_of_the_service(receiver: Receiver) -> None:
    with installed(receiver) as service:
        with service.tracer.start_as_current_span("POST /pay"), payment.begin("1") as saga, saga.step("wallet.debit"):
            trace.get_current_span().set_attribute("order.total", 3)
            trace.get_current_span().add_event("checked")
            trace.get_current_span().update_name("POST /pay/{id}")
        (pay,) = service.exporter.get_finished_spans()
        step = receiver.span("wallet.debit")
    assert pay.name == "POST /pay/{id}"
    assert dict(pay.attributes or {}) == {"order.total": 3}
    assert [event.name for event in pay.events] == ["checked"]
    assert step.attributes["order.total"] == 3


def test_span_of_a_task_that_outlives_its_step_is_below_what_is_still_open(receiver: Receiver) -> None:
    async def later(ended: asyncio.Event) -> None:
        await ended.wait()
        with service.tracer.start_as_current_span("SELECT"):
            pass

    async def pay() -> None:
        in_saga, after_saga = asyncio.Event(), asyncio.Event()
        with service.tracer.start_as_current_span("POST /pay"):
            with payment.begin("1") as saga:
                with saga.step("wallet.debit"):
                    tasks = [asyncio.create_task(later(each)) for each in (in_saga, after_saga)]
                in_saga.set()
                await tasks[0]
            after_saga.set()
            await tasks[1]

    with installed(receiver) as service:
        asyncio.run(pay())
        inside, outside, pay_span = service.exporter.get_finished_spans()
        root = receiver.span("payment")
    assert [f"{span.parent.span_id:016x}" for span in (inside, outside)] == [  # type: ignore[union-attr]
        root.span_id,
        f"{pay_span.context.span_id:016x}",  # type: ignore[union-attr]
    ]
    assert (inside.attributes or {})["saga.id"] == "1"
    assert not outside.attributes


def test_log_records_of_the_service_get_saga_attributes(receiver: Receiver) -> None:
    exporter = InMemoryLogRecordExporter()
    logs = LoggerProvider()
    service = Service(ALWAYS_ON)
    sagascope.install(service.provider, logger_provider=logs, endpoint=receiver.endpoint)
    logs.add_log_record_processor(SimpleLogRecordProcessor(exporter))
    try:
        with payment.begin("1"):
            logs.get_logger("wallet").emit(LogRecord(body="debited", attributes={"a": 1}))
        logs.get_logger("wallet").emit(LogRecord(body="outside", attributes={"a": 1}))
    finally:
        sagascope.shutdown()
        logs.shutdown()
    inside, outside = (dict(each.log_record.attributes or {}) for each in exporter.get_finished_logs())
    assert inside == {"a": 1, "saga.id": "1", "saga.name": "payment"}
    assert outside == {"a": 1}


def test_shutdown_restores_propagator_and_loggers(receiver: Receiver) -> None:
    before = (propagate.get_global_textmap(), logging.Logger.callHandlers, list(logging.getLogger().handlers))
    with installed(receiver) as service:
        assert logging.getLogger().handlers == before[2]
    assert (propagate.get_global_textmap(), logging.Logger.callHandlers) == before[:2]
    with payment.begin("1"), service.tracer.start_as_current_span("SELECT") as span:
        assert not span.attributes  # type: ignore[attr-defined]
    assert not context.get_current()


def test_disabled_sdk_disables_configure(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    sagascope.configure("orchestrator", endpoint=receiver.endpoint)
    with payment.begin("1") as saga, saga.step("wallet.debit"):
        assert sagascope.current() is None
    sagascope.shutdown()
    assert not receiver.requests
