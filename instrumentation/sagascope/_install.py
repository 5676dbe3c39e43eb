"""Puts a pipeline beside what a service has."""

from collections.abc import Mapping
from typing import Any
from weakref import WeakKeyDictionary

from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.semconv._incubating.attributes import deployment_attributes, service_attributes

from sagascope._pipeline import Pipeline
from sagascope._processor import SpanStamp
from sagascope._settings import Settings

_stamps: "WeakKeyDictionary[TracerProvider, SpanStamp]" = WeakKeyDictionary()


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
    return Resource.create(attributes)


def beside_nothing(settings: Settings, resource: Resource) -> Pipeline:
    """A pipeline for a service without OpenTelemetry; where there is no global provider, it gets one."""
    provider = trace.get_tracer_provider()
    if not isinstance(provider, TracerProvider):
        provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        trace.set_tracer_provider(provider)
    pipeline = Pipeline(settings, resource, provider.sampler)
    _stamp(provider, pipeline)
    return pipeline


def beside(tracer_provider: Any, settings: Settings) -> Pipeline:
    """A pipeline for a service with OpenTelemetry; of a provider that is not the SDK's, only the context is used."""
    provider = tracer_provider or trace.get_tracer_provider()
    if not isinstance(provider, TracerProvider):
        return Pipeline(settings, Resource.create(), None)
    pipeline = Pipeline(settings, provider.resource, provider.sampler)
    _stamp(provider, pipeline)
    return pipeline


def _stamp(provider: TracerProvider, pipeline: Pipeline) -> None:
    stamp = _stamps.get(provider)
    if stamp is None:
        stamp = _stamps[provider] = SpanStamp()
        provider.add_span_processor(stamp)
    stamp.pass_on_to(pipeline.on_end)
