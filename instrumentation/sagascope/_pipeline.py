"""The runtime that `configure` and `install` activate: saga spans from their start to the collector."""

from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from math import isfinite
from time import monotonic
from typing import Any
from uuid import uuid4

from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.context import Context
from opentelemetry.sdk._logs import ReadableLogRecord
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.id_generator import IdGenerator, RandomIdGenerator
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, Decision
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, SpanKind, TraceFlags, TraceState, get_current_span
from opentelemetry.trace import Span as ApiSpan

from sagascope import _propagator, semconv
from sagascope._attributes import exception_attributes, truncate, truncate_text
from sagascope._context import get_saga_context
from sagascope._encoder import (
    Encoder,
    InstanceRename,
    default_instance_id,
    redact_value,
    resource_without_process,
    to_readable_span,
)
from sagascope._export import Exporter, Sender
from sagascope._in_flight import InFlightReporter
from sagascope._log_capture import LogCapture
from sagascope._runtime import NANOSECONDS_PER_SECOND, DetachedSpan
from sagascope._settings import Settings
from sagascope._spool import Spool
from sagascope._stats import Counters, Stats
from sagascope._version import __version__

_SCOPE = InstrumentationScope("sagascope", __version__, semconv.SCHEMA_URL)


class Pipeline(SpanProcessor):
    """Creates saga spans with a tracer provider of its own, and exports them beside the service's telemetry.

    It is the `Runtime` of the public API, and the span processor of its tracer provider.
    """

    def __init__(self, settings: Settings, resource: Resource, service: TracerProvider | None) -> None:
        self._settings = settings
        self._clock = settings.clock
        self._redact = settings.redact
        self._max_length = settings.max_value_length
        self._allows = _propagator.allowed_hosts(settings.propagate_to)
        self._trust = settings.trust_incoming
        self._service_sampler = service.sampler if service is not None else None
        self._provider = TracerProvider(
            sampler=ALWAYS_ON,
            resource=resource,
            shutdown_on_exit=False,
            id_generator=SagaIdGenerator(service.id_generator if service is not None else None),
        )
        self._provider.add_span_processor(self)
        self._tracer = self._provider.get_tracer(_SCOPE.name, _SCOPE.version, _SCOPE.schema_url)
        self._detached_resource = resource_without_process(resource)
        self._counters = Counters()
        self._encoder = Encoder(uuid4().hex, settings.redact)
        self._instance_id = default_instance_id()
        self._exporter = Exporter(
            lambda: self._encoder, _sender(settings), self._counters, settings.queue_size, _spool(settings)
        )
        self._in_flight = InFlightReporter(
            lambda: self._encoder,
            _sender(settings),
            self._counters,
            lambda: self._provider.resource,
            _SCOPE,
            announce_after=settings.announce_after,
            interval=settings.heartbeat_interval,
            clock=settings.clock,
        )
        self._log_capture = self._new_log_capture()
        self._forked_at = 0

    def _new_log_capture(self) -> LogCapture | None:
        level = self._settings.log_level_number
        if level is None:
            return None
        return LogCapture(
            self._exporter.add_log,
            lambda count, reason: self._counters.count_dropped(count, reason),
            lambda: self._provider.resource,
            level=level,
            rate=self._settings.log_rate,
            max_length=self._max_length,
        )

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
        """Starts a saga span."""
        attributes = truncate(attributes, self._max_length)
        if not span_id:
            return self._tracer.start_span(name, context, kind, attributes, links)
        with RequestedSpanId(span_id):
            return self._tracer.start_span(name, context, kind, attributes, links)

    def emit_span(self, span: DetachedSpan) -> None:
        """Queues a detached span."""
        self._exporter.add_span(to_readable_span(span, self._detached_resource, _SCOPE, self._max_length))

    def emit_log(self, body: str, context: Context, attributes: Mapping[str, Any]) -> None:
        """Queues a log record of ours."""
        now = self._clock()
        saga_context = get_saga_context(context)
        saga_attributes = saga_context.attributes if saga_context is not None else {}
        record = LogRecord(
            timestamp=now,
            observed_timestamp=now,
            context=context,
            severity_number=SeverityNumber.INFO,
            severity_text="INFO",
            body=body,
            attributes=self.truncate({**saga_attributes, **attributes}),
        )
        self._exporter.add_log(ReadableLogRecord(record, self._provider.resource, _SCOPE))

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
        """Returns an identifier that travels in headers, redacted and truncated."""
        redacted = text if self._redact is None else redact_value(self._redact, attribute, text)
        return truncate_text(str(redacted or ""), self._max_length)

    def truncate(self, attributes: Mapping[str, Any]) -> Mapping[str, Any]:
        """Returns the attributes with values of at most the configured length."""
        return truncate(attributes, self._max_length)

    def exception_attributes(self, error: BaseException) -> Mapping[str, Any]:
        """Returns the type, the message and the stack trace of an error."""
        return exception_attributes(error, self._max_length)

    def may_propagate_to(self, address: str) -> bool:
        """Returns whether baggage of sagas may be sent to the host of this URL."""
        return self._allows(_propagator.host_of(address))

    def trusts(self, headers: Any) -> bool:
        """Returns whether to continue the saga that these headers name."""
        trust = self._trust
        return bool(trust(headers)) if callable(trust) else trust

    # --- the span processor ------------------------------------------------------------------------

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        """Registers a saga span as open."""
        self._in_flight.add(span)

    def on_end(self, span: ReadableSpan) -> None:
        """Queues a saga span that ended, or a span of the service that belongs to a saga."""
        if span.context is not None:
            self._in_flight.remove(span.context.span_id)
        retry_in = (span.attributes or {}).get(semconv.STEP_RETRY_IN)
        if isinstance(retry_in, float) and isfinite(retry_in):
            self._in_flight.expect_retry(self._clock() + int(max(retry_in, 0.0) * NANOSECONDS_PER_SECOND))
        # a span that was open at a fork belongs to the parent process
        if (span.start_time or 0) >= self._forked_at:
            self._exporter.add_span(span)

    # --- life cycle --------------------------------------------------------------------------------

    def open(self) -> None:
        """Starts the background threads, and wraps the global propagator and the loggers."""
        self._in_flight.start()
        self._exporter.start()
        if self._log_capture is not None:
            self._log_capture.install()
        _propagator.install(self._allows, self.trusts)

    def reset_after_fork(self) -> None:
        """Starts again in a forked child, as a process of its own."""
        self._forked_at = self._clock()
        renamed = InstanceRename(self._instance_id, default_instance_id())
        self._encoder = Encoder(uuid4().hex, self._redact, renamed)
        self._counters = Counters()
        self._exporter.reset_after_fork(self._counters, _spool(self._settings))
        self._in_flight.reset_after_fork(self._counters)

    def close(self, timeout: float) -> None:
        """Sends the final heartbeat and all queued records, within `timeout` seconds."""
        if self._log_capture is not None:
            self._log_capture.remove()
        _propagator.remove()
        deadline = monotonic() + timeout
        self._in_flight.stop()
        self._exporter.stop()
        self._in_flight.join(deadline - monotonic())
        self._exporter.join(deadline - monotonic())

    def stats(self) -> Stats:
        """Returns what became of the telemetry of this process so far."""
        return Stats(
            sent=self._counters.sent,
            waiting=self._exporter.queued(),
            spooled=self._counters.spooled,
            dropped=self._counters.dropped,
            open_spans=self._in_flight.open_count(),
            last_error=self._counters.last_error,
        )


_requested_span_id: ContextVar[int] = ContextVar("requested_span_id", default=0)


class RequestedSpanId:
    """Gives the spans that start in its block this id."""

    __slots__ = ("_span_id", "_token")

    def __init__(self, span_id: int) -> None:
        self._span_id = span_id

    def __enter__(self) -> None:
        self._token = _requested_span_id.set(self._span_id)

    def __exit__(self, *_: object) -> None:
        _requested_span_id.reset(self._token)


class SagaIdGenerator(IdGenerator):
    """Returns the requested span id, or ids from the service's generator."""

    def __init__(self, service: IdGenerator | None) -> None:
        self._inner = service or RandomIdGenerator()

    def generate_span_id(self) -> int:
        """Returns the id of the next span."""
        return _requested_span_id.get() or self._inner.generate_span_id()

    def generate_trace_id(self) -> int:
        """Returns the id of the next trace."""
        return self._inner.generate_trace_id()

    def is_trace_id_random(self) -> bool:
        """Returns whether trace ids are random."""
        return self._inner.is_trace_id_random()


def _with_flags(own: SpanContext, flags: TraceFlags, state: TraceState | None) -> SpanContext:
    return SpanContext(own.trace_id, own.span_id, is_remote=False, trace_flags=flags, trace_state=state)


def _spool(settings: Settings) -> Spool | None:
    return Spool(settings.spool, settings.spool_size, uuid4().hex) if settings.spool else None


def _sender(settings: Settings) -> Sender:
    return Sender(
        settings.endpoint,
        timeout=settings.timeout,
        headers=settings.headers,
        compress=settings.compression == "gzip",
        certificate=settings.certificate,
    )
