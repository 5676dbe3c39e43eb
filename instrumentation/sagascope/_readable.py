"""Turns a span that is told of as a whole into one that the SDK's encoder takes."""

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.semconv._incubating.attributes import deployment_attributes, service_attributes
from opentelemetry.trace import Status, StatusCode

from sagascope import semconv
from sagascope._failure import describe_error
from sagascope._fitting import fit, fit_text
from sagascope._scope import say
from sagascope._told import Told

_OF_THE_SERVICE = (
    service_attributes.SERVICE_NAME,
    service_attributes.SERVICE_NAMESPACE,
    service_attributes.SERVICE_VERSION,
    deployment_attributes.DEPLOYMENT_ENVIRONMENT_NAME,
    "deployment.environment",
)


def of_no_process(resource: Resource) -> Resource:
    """The service without the process, so that nothing is lost with one."""
    said = {key: resource.attributes[key] for key in _OF_THE_SERVICE if key in resource.attributes}
    return Resource({**said, semconv.PROCESS_ID: ""})


def readable(told: Told, resource: Resource, scope: InstrumentationScope, longest: int) -> ReadableSpan:
    """The span, with no value longer than `longest` characters."""
    return ReadableSpan(
        name=told.name,
        context=told.context,
        parent=told.parent,
        resource=resource,
        attributes=fit(told.attributes, longest),
        events=_events(told, longest),
        links=told.links,
        kind=told.kind,
        status=_status(told, longest),
        start_time=told.start,
        end_time=told.end,
        instrumentation_scope=scope,
    )


def _status(told: Told, longest: int) -> Status:
    return Status() if told.error is None else Status(StatusCode.ERROR, fit_text(say(told.error), longest))


def _events(told: Told, longest: int) -> tuple[Event, ...]:
    if told.error is None:
        return ()
    return (Event("exception", describe_error(told.error, longest), told.end or told.start),)
