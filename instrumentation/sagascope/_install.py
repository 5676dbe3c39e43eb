"""Puts a pipeline beside what a service has."""

import os
from collections.abc import Mapping
from typing import Any
from weakref import WeakKeyDictionary

from opentelemetry import _logs, trace
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk.environment_variables import OTEL_RESOURCE_ATTRIBUTES
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.semconv._incubating.attributes import deployment_attributes, service_attributes

from sagascope._instance import instance_name
from sagascope._pipeline import Pipeline
from sagascope._processor import LogStamp, SpanStamp
from sagascope._settings import Settings

_span_stamps: "WeakKeyDictionary[TracerProvider, SpanStamp]" = WeakKeyDictionary()
_log_stamps: "WeakKeyDictionary[LoggerProvider, LogStamp]" = WeakKeyDictionary()


def describe(
    service_name: str | None, service_version: str | None, environment: str | None, more: Mapping[str, Any]
) -> Resource:
    """The resource of a service, with what the environment variables of OpenTelemetry say."""
    attributes: dict[str, Any] = dict(more)
    if service_name is not None:
        attributes[service_attributes.SERVICE_NAME] = service_name
    if service_version is not None:
        attributes[service_attributes.SERVICE_VERSION] = service_version
    if environment is not None:
        attributes[deployment_attributes.DEPLOYMENT_ENVIRONMENT_NAME] = environment
    named = f"{service_attributes.SERVICE_INSTANCE_ID}=" in os.environ.get(OTEL_RESOURCE_ATTRIBUTES, "")
    if not named:
        attributes.setdefault(service_attributes.SERVICE_INSTANCE_ID, instance_name())
    return Resource.create(attributes)


def beside_nothing(settings: Settings, resource: Resource) -> Pipeline:
    """A pipeline for a service without OpenTelemetry; where there is no global provider, it gets one."""
    provider = trace.get_tracer_provider()
    if not isinstance(provider, TracerProvider):
        provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        trace.set_tracer_provider(provider)
    return _joined(Pipeline(settings, resource, provider), provider, None)


def beside(tracer_provider: Any, logger_provider: Any, settings: Settings) -> Pipeline:
    """A pipeline for a service with OpenTelemetry; of a provider that is not the SDK's, only the context is used."""
    provider = tracer_provider or trace.get_tracer_provider()
    if not isinstance(provider, TracerProvider):
        return _joined(Pipeline(settings, Resource.create(), None), None, logger_provider)
    return _joined(Pipeline(settings, provider.resource, provider), provider, logger_provider)


def _joined(pipeline: Pipeline, spans: TracerProvider | None, logs: Any) -> Pipeline:
    """Stamp what the service's providers make, from now on for this pipeline. A provider keeps its one stamp."""
    if spans is not None:
        span_stamp = _span_stamps.get(spans)
        if span_stamp is None:
            span_stamp = _span_stamps[spans] = SpanStamp()
            spans.add_span_processor(span_stamp)
        span_stamp.pass_on_to(pipeline.on_end)
    logger_provider = logs or _logs.get_logger_provider()
    if isinstance(logger_provider, LoggerProvider) and logger_provider not in _log_stamps:
        _log_stamps[logger_provider] = LogStamp()
        logger_provider.add_log_record_processor(_log_stamps[logger_provider])
    return pipeline
