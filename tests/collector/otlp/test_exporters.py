"""The OpenTelemetry SDK's own exporters, for real."""

import logging
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter as GrpcLogExporter
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcSpanExporter
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter as HttpLogExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpSpanExporter
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from support.collector import RunningCollector


def exporters(collector: RunningCollector, transport: str) -> tuple[Any, Any]:
    """A span exporter and a log exporter."""
    if transport == "grpc":
        return (
            GrpcSpanExporter(collector.otlp_grpc, insecure=True),
            GrpcLogExporter(collector.otlp_grpc, insecure=True),
        )
    compression = Compression.Gzip if transport == "http gzip" else Compression.NoCompression
    return (
        HttpSpanExporter(f"{collector.otlp_http}/v1/traces", compression=compression),
        HttpLogExporter(f"{collector.otlp_http}/v1/logs", compression=compression),
    )


@pytest.fixture(params=["grpc", "http", "http gzip"])
def providers(
    collector: RunningCollector, request: pytest.FixtureRequest
) -> Iterator[tuple[TracerProvider, LoggerProvider]]:
    spans, records = exporters(collector, request.param)
    resource = Resource.create({"service.name": "wallet", "service.instance.id": "w1"})
    tracing, logging_ = TracerProvider(resource=resource), LoggerProvider(resource=resource)
    tracing.add_span_processor(BatchSpanProcessor(spans))
    logging_.add_log_record_processor(BatchLogRecordProcessor(records))
    yield tracing, logging_
    tracing.shutdown()
    logging_.shutdown()


def test_what_the_sdk_exports_is_a_saga(
    providers: tuple[TracerProvider, LoggerProvider], api: httpx.Client, number: int, caplog: pytest.LogCaptureFixture
) -> None:
    tracing, records = providers
    of_saga = {"saga.id": f"sdk-{number}", "saga.name": "payment"}
    with tracing.get_tracer("test").start_as_current_span("payment", attributes={**of_saga, "saga.role": "saga"}):
        attempt = {**of_saga, "saga.role": "step", "saga.step.name": "wallet.debit", "saga.step.attempt": 1}
        with tracing.get_tracer("test").start_as_current_span("debit", attributes=attempt):
            records.get_logger("test").emit(body="debiting", attributes=of_saga, event_name="debit.begun")
    with caplog.at_level(logging.WARNING):
        assert tracing.force_flush()
        assert records.force_flush()
    assert not caplog.records
    saga = api.get(f"/api/v1/sagas/payment/sdk-{number}").json()
    assert saga["status"] == "completed"
    assert [each["name"] for each in saga["steps"]] == ["wallet.debit"]
    assert [each["name"] for each in saga["spans"]] == ["payment", "debit"]
    assert [(each["body"], each["event_name"]) for each in saga["logs"]] == [("debiting", "debit.begun")]
    assert {each["service"] for each in saga["spans"]} == {"wallet"}
