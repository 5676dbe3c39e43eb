"""Attaches a pipeline to the service's OpenTelemetry providers."""

import os
from collections.abc import Callable, Mapping
from typing import Any
from weakref import WeakKeyDictionary

from opentelemetry import _logs, trace
from opentelemetry.context import Context, get_current
from opentelemetry.sdk._logs import LoggerProvider, LogRecordProcessor, ReadWriteLogRecord
from opentelemetry.sdk.environment_variables import OTEL_RESOURCE_ATTRIBUTES
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor, TracerProvider
from opentelemetry.semconv._incubating.attributes import deployment_attributes, service_attributes

from sagascope import semconv
from sagascope._context import get_saga_context
from sagascope._encoder import default_instance_id
from sagascope._guard import Guard
from sagascope._pipeline import Pipeline
from sagascope._settings import Settings

_ADDING_ATTRIBUTES = Guard("adding saga attributes to the service's telemetry")


def service_resource(
    service_name: str | None, service_version: str | None, environment: str | None, more: Mapping[str, Any]
) -> Resource:
    """Returns the resource of a service, completed from OpenTelemetry's environment variables."""
    attributes: dict[str, Any] = dict(more)
    if service_name is not None:
        attributes[service_attributes.SERVICE_NAME] = service_name
    if service_version is not None:
        attributes[service_attributes.SERVICE_VERSION] = service_version
    if environment is not None:
        attributes[deployment_attributes.DEPLOYMENT_ENVIRONMENT_NAME] = environment
    has_instance_id = f"{service_attributes.SERVICE_INSTANCE_ID}=" in os.environ.get(OTEL_RESOURCE_ATTRIBUTES, "")
    if not has_instance_id:
        attributes.setdefault(service_attributes.SERVICE_INSTANCE_ID, default_instance_id())
    return Resource.create(attributes)


def new_pipeline(settings: Settings, resource: Resource) -> Pipeline:
    """Returns a pipeline for a service without OpenTelemetry, and sets a global tracer provider if there is none."""
    provider = trace.get_tracer_provider()
    if not isinstance(provider, TracerProvider):
        provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        trace.set_tracer_provider(provider)
    return _attach(Pipeline(settings, resource, provider), provider, None)


def attached_pipeline(tracer_provider: Any, logger_provider: Any, settings: Settings) -> Pipeline:
    """Returns a pipeline for a service with OpenTelemetry. Of a provider that is not the SDK's it uses the context."""
    provider = tracer_provider or trace.get_tracer_provider()
    if not isinstance(provider, TracerProvider):
        return _attach(Pipeline(settings, Resource.create(), None), None, logger_provider)
    return _attach(Pipeline(settings, provider.resource, provider), provider, logger_provider)


class SagaSpanProcessor(SpanProcessor):
    """Adds saga attributes to the spans of the service's tracer provider, and forwards those spans when they end.

    The service's sampler decides before: spans that it drops are not seen here, and its exporters get no more spans.
    """

    def __init__(self) -> None:
        self._forward: Callable[[ReadableSpan], None] | None = None

    def forward_to(self, forward: Callable[[ReadableSpan], None]) -> None:
        """Sets the receiver of the ended spans of sagas."""
        self._forward = forward

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        """Adds the attributes of the saga in the context that the span starts in."""
        if self._forward is not None:
            with _ADDING_ATTRIBUTES:
                saga_context = get_saga_context(get_current() if parent_context is None else parent_context)
                if saga_context is not None:
                    span.set_attributes(saga_context.attributes)

    def on_end(self, span: ReadableSpan) -> None:
        """Forwards a span that belongs to a saga."""
        forward = self._forward
        if forward is not None and span.attributes and semconv.SAGA_ID in span.attributes:
            with _ADDING_ATTRIBUTES:
                forward(span)

    def shutdown(self) -> None:
        """Does nothing from now on; a provider has no way to remove a processor."""
        self._forward = None


class SagaLogProcessor(LogRecordProcessor):
    """Adds saga attributes to the log records of the service's logger provider."""

    def on_emit(self, log_record: ReadWriteLogRecord) -> None:
        """Adds the attributes of the saga in the context of the record."""
        with _ADDING_ATTRIBUTES:
            record = log_record.log_record
            saga_context = get_saga_context(record.context or get_current())
            if saga_context is not None:
                _add_attributes(record, saga_context.attributes)

    def shutdown(self) -> None:
        """Does nothing: the processor holds no records."""

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        """Returns True: the processor holds no records."""
        return True


_span_processors: "WeakKeyDictionary[TracerProvider, SagaSpanProcessor]" = WeakKeyDictionary()
_log_processors: "WeakKeyDictionary[LoggerProvider, SagaLogProcessor]" = WeakKeyDictionary()


def _attach(pipeline: Pipeline, tracer_provider: TracerProvider | None, logger_provider: Any) -> Pipeline:
    """Connects the providers to this pipeline. Each provider gets one processor, which later pipelines use too."""
    if tracer_provider is not None:
        processor = _span_processors.get(tracer_provider)
        if processor is None:
            processor = _span_processors[tracer_provider] = SagaSpanProcessor()
            tracer_provider.add_span_processor(processor)
        processor.forward_to(pipeline.on_end)
    logger_provider = logger_provider or _logs.get_logger_provider()
    if isinstance(logger_provider, LoggerProvider) and logger_provider not in _log_processors:
        _log_processors[logger_provider] = SagaLogProcessor()
        logger_provider.add_log_record_processor(_log_processors[logger_provider])
    return pipeline


def _add_attributes(record: Any, attributes: Mapping[str, Any]) -> None:
    if hasattr(record.attributes, "__setitem__"):
        for key, value in attributes.items():
            record.attributes[key] = value
    else:
        record.attributes = {**(record.attributes or {}), **attributes}
