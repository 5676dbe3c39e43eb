"""The runtime that `configure` and `install` activate: saga spans from their start to the collector."""

import os
import socket
from collections.abc import Mapping, Sequence
from math import isfinite
from time import monotonic, monotonic_ns, sleep
from typing import Any
from uuid import uuid4

from opentelemetry import _logs, trace
from opentelemetry.context import Context
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk.environment_variables import OTEL_RESOURCE_ATTRIBUTES
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import Decision
from opentelemetry.semconv._incubating.attributes import deployment_attributes, service_attributes
from opentelemetry.trace import Link, Span as ApiSpan, SpanContext, SpanKind, TraceFlags, TraceState, get_current_span

from sagascope import _propagator, semconv
from sagascope._attributes import exception_attributes, truncate, truncate_text
from sagascope._context import get_saga_context
from sagascope._delivery import Counters, Sender, Spool
from sagascope._encoder import Encoder, InstanceRename, SagaSpan, log_record, redact_value, to_readable_span
from sagascope._export import Exporter
from sagascope._in_flight import InFlightReporter
from sagascope._runtime import NANOSECONDS_PER_SECOND, SAMPLED, DetachedSpan, Runtime, Stats
from sagascope._service_telemetry import LogCapture, add_attributes_to_logs, forward_spans
from sagascope._settings import Settings

RANDOM = 0x02
"""The flag of a random trace id, of W3C Trace Context level 2."""

_SAMPLED_RANDOM = TraceFlags(SAMPLED | RANDOM)

MAX_HOST_NAME_LENGTH = 40

MIN_FLUSH_POLL_SECONDS, MAX_FLUSH_POLL_SECONDS = 0.001, 0.02
"""Time between two looks of `flush` at the queues; it doubles from the first to the second."""


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
    if f"{service_attributes.SERVICE_INSTANCE_ID}=" not in os.environ.get(OTEL_RESOURCE_ATTRIBUTES, ""):
        attributes.setdefault(service_attributes.SERVICE_INSTANCE_ID, default_instance_id())
    return Resource.create(attributes)


def default_instance_id() -> str:
    """Returns ``host:pid``, for people to read; ``sagascope.process.id`` is what is unique."""
    host = socket.gethostname().partition(".")[0][:MAX_HOST_NAME_LENGTH] or "localhost"
    return f"{host}:{os.getpid()}"


_SERVICE_ATTRIBUTES = (
    service_attributes.SERVICE_NAME,
    service_attributes.SERVICE_NAMESPACE,
    service_attributes.SERVICE_VERSION,
    deployment_attributes.DEPLOYMENT_ENVIRONMENT_NAME,
    "deployment.environment",
)


def resource_without_process(resource: Resource) -> Resource:
    """Returns the service's resource without a process, so that the end of a process loses no detached span."""
    kept = {key: resource.attributes[key] for key in _SERVICE_ATTRIBUTES if key in resource.attributes}
    return Resource({**kept, semconv.PROCESS_ID: ""})


def new_pipeline(settings: Settings, resource: Resource) -> "Pipeline":
    """Returns a pipeline for a service without OpenTelemetry, and sets a global tracer provider if there is none."""
    provider = trace.get_tracer_provider()
    if not isinstance(provider, TracerProvider):
        provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        trace.set_tracer_provider(provider)
    return Pipeline(settings, resource, provider, _logs.get_logger_provider())


def attached_pipeline(tracer_provider: Any, logger_provider: Any, settings: Settings) -> "Pipeline":
    """Returns a pipeline for a service with OpenTelemetry. Of a provider that is not the SDK's it uses the context."""
    provider = tracer_provider or trace.get_tracer_provider()
    if not isinstance(provider, TracerProvider):
        provider = None
    resource = Resource.create() if provider is None else provider.resource
    return Pipeline(settings, resource, provider, logger_provider or _logs.get_logger_provider())


class Pipeline(Runtime):
    """Creates saga spans apart from the service's provider, and exports them beside the service's telemetry."""

    def __init__(
        self, settings: Settings, resource: Resource, service: TracerProvider | None, service_logs: Any
    ) -> None:
        self._settings = settings
        self._clock = settings.clock
        self._max_length = settings.max_value_length
        self._allows = _propagator.allowed_hosts(settings.propagate_to)
        self._service_sampler = service.sampler if service is not None else None
        self._resource = resource
        self._ids = service.id_generator if service is not None else RandomIdGenerator()
        self._detached_resource = resource_without_process(resource)
        self._instance_id = default_instance_id()
        self._forked_at = self._forked_at_monotonic = 0
        # one for each of the two threads
        self._senders = Sender(settings), Sender(settings)
        self._log_capture = LogCapture(
            settings,
            resource,
            add=lambda record: self._exporter.add_log(record),
            drop=lambda reason: self._counters.count_dropped(1, reason),
        )
        self._create_exporters(None)
        if service is not None:
            forward_spans(service, self._add_span)
        if isinstance(service_logs, LoggerProvider):
            add_attributes_to_logs(service_logs)

    def _create_exporters(self, rename: InstanceRename | None) -> None:
        """Creates what belongs to one process: its id, its counters, its queues and its threads."""
        settings = self._settings
        encoder = Encoder(uuid4().hex, self._resource, settings.redact, rename)
        spool = Spool(settings.spool, settings.spool_size, uuid4().hex) if settings.spool else None
        self._counters = Counters()
        self._exporter = Exporter(encoder, self._senders[0], self._counters, settings.queue_size, spool)
        self._in_flight = InFlightReporter(encoder, self._senders[1], self._counters, self._resource, settings)

    # --- the runtime -------------------------------------------------------------------------------

    def start_span(
        self,
        name: str,
        context: Context,
        attributes: Mapping[str, Any],
        links: Sequence[Link],
        kind: SpanKind = SpanKind.INTERNAL,
        span_id: int = 0,
    ) -> ApiSpan:
        parent = get_current_span(context).get_span_context()
        if parent.is_valid:
            trace_id, is_random, state = parent.trace_id, bool(parent.trace_flags & RANDOM), parent.trace_state
        else:
            trace_id, is_random, state = self._ids.generate_trace_id(), self._ids.is_trace_id_random(), None
        flags = _SAMPLED_RANDOM if is_random else SAMPLED
        ids = SpanContext(trace_id, span_id or self._ids.generate_span_id(), False, flags, state)
        attributes = truncate(attributes, self._max_length)
        span = SagaSpan(name, ids, parent if parent.is_valid else None, kind, attributes, links, self._on_saga_span_end)
        self._in_flight.add(span)
        return span

    def emit_span(self, span: DetachedSpan) -> None:
        self._exporter.add_span(to_readable_span(span, self._detached_resource, self._max_length))

    def emit_log(self, body: str, context: Context, attributes: Mapping[str, Any], *, event_name: str = "") -> None:
        now = self._clock()
        saga_context = get_saga_context(context)
        saga_attributes = saga_context.attributes if saga_context is not None else {}
        combined = self.truncate({**saga_attributes, **attributes})
        self._exporter.add_log(log_record(body, context, combined, self._resource, now, now, event_name))

    def propagated_context(self, name: str, own: SpanContext, context: Context) -> SpanContext:
        """Returns our ids with the sampled flag of the service's current span, or else of its sampler."""
        current = get_current_span(context).get_span_context()
        if current.is_valid and current.trace_id == own.trace_id:
            return _with_flags(own, current.trace_flags, current.trace_state)
        if self._service_sampler is None:
            return own
        result = self._service_sampler.should_sample(Context(), own.trace_id, name, SpanKind.INTERNAL)
        sampled = TraceFlags.SAMPLED if result.decision is Decision.RECORD_AND_SAMPLE else TraceFlags.DEFAULT
        return _with_flags(own, TraceFlags((own.trace_flags & ~TraceFlags.SAMPLED) | sampled), result.trace_state)

    def redact_identifier(self, attribute: str, text: str) -> str:
        redact = self._settings.redact
        redacted = text if redact is None else redact_value(redact, attribute, text)
        return truncate_text(str(redacted or ""), self._max_length)

    def truncate(self, attributes: Mapping[str, Any]) -> Mapping[str, Any]:
        return truncate(attributes, self._max_length)

    def exception_attributes(self, error: BaseException) -> Mapping[str, Any]:
        return exception_attributes(error, self._max_length)

    def may_propagate_to(self, address: str) -> bool:
        return self._allows(_propagator.host_of(address))

    def trusts(self, headers: Any) -> bool:
        trust = self._settings.trust_incoming
        return bool(trust(headers)) if callable(trust) else trust

    # --- ended spans -------------------------------------------------------------------------------

    def _on_saga_span_end(self, span: SagaSpan) -> None:
        self._in_flight.remove(span.context.span_id)
        retry_in = span.attributes.get(semconv.STEP_RETRY_IN)
        if isinstance(retry_in, float) and isfinite(retry_in):
            self._in_flight.expect_retry(self._clock() + int(max(retry_in, 0.0) * NANOSECONDS_PER_SECOND))
        self._add_span(span)

    def _add_span(self, span: ReadableSpan | SagaSpan) -> None:
        if not self._was_open_at_fork(span.start_time or 0, span.end_time or 0):
            self._exporter.add_span(span)

    def _was_open_at_fork(self, start: int, end: int) -> bool:
        """Returns whether a span belongs to the parent process, also if the clock was set back since the fork."""
        return start < self._forked_at and end - start > monotonic_ns() - self._forked_at_monotonic

    # --- life cycle --------------------------------------------------------------------------------

    def open(self, *, starts_threads: bool = True) -> None:
        """Wraps the global propagator and the loggers, and starts the background threads."""
        if starts_threads:
            self._start_threads()
        self._log_capture.install()
        _propagator.install(self._allows, self.trusts)

    def reset_after_fork(self) -> None:
        """Starts again in a forked child, as a process of its own; the parent sends what was queued before."""
        self._forked_at, self._forked_at_monotonic = self._clock(), monotonic_ns()
        for sender in self._senders:
            sender.reset_after_fork()
        self._create_exporters(InstanceRename(self._instance_id, default_instance_id()))
        self._start_threads()

    def flush(self, timeout: float) -> bool:
        """Sends what is queued, within `timeout` seconds; returns whether all of it was accepted or spooled."""
        if self._exporter.is_current() or self._in_flight.is_current():
            return False  # it would wait for itself
        deadline = monotonic() + timeout
        dropped = self._counters.dropped
        waiting = [self._exporter.flush(), self._in_flight.flush()]
        pause = MIN_FLUSH_POLL_SECONDS
        while waiting := [is_done for is_done in waiting if not is_done()]:
            if monotonic() >= deadline:
                return False
            sleep(pause)
            pause = min(2 * pause, MAX_FLUSH_POLL_SECONDS)
        return self._counters.dropped == dropped

    def close(self, timeout: float) -> None:
        """Sends the final heartbeat and all queued records, within `timeout` seconds."""
        self._log_capture.remove()
        _propagator.remove()
        deadline = monotonic() + timeout
        # both stop at once, and share the time
        self._in_flight.stop()
        self._exporter.stop()
        self._in_flight.join(deadline - monotonic())
        self._exporter.join(deadline - monotonic())

    def _start_threads(self) -> None:
        self._in_flight.start()
        self._exporter.start()

    def stats(self) -> Stats:
        return Stats(
            sent=self._counters.sent,
            waiting=self._exporter.queued(),
            spooled=self._counters.spooled,
            dropped=self._counters.dropped,
            open_spans=self._in_flight.open_count(),
            last_error=self._counters.last_error,
        )


def _with_flags(own: SpanContext, flags: TraceFlags, state: TraceState | None) -> SpanContext:
    return SpanContext(own.trace_id, own.span_id, is_remote=False, trace_flags=flags, trace_state=state)
