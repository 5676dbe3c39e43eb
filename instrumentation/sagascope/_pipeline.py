"""What `configure` and `install` put in place: our own provider and our own way out, beside the service's."""

from collections.abc import Mapping, Sequence
from math import isfinite
from time import monotonic
from typing import Any
from uuid import uuid4

from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.context import Context
from opentelemetry.sdk._logs import ReadableLogRecord
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, Decision
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, SpanKind, TraceFlags, TraceState, get_current_span
from opentelemetry.trace import Span as ApiSpan

from sagascope import _propagator, _redaction, semconv
from sagascope._context import place_in
from sagascope._encode import Encoder
from sagascope._failure import describe_error
from sagascope._fitting import fit, fit_text
from sagascope._hosts import allowing, host_of
from sagascope._ids import Ids, Wanting
from sagascope._inflight import SECOND, InFlight
from sagascope._instance import Renamed, instance_name
from sagascope._logs import LogTap
from sagascope._outbox import Outbox
from sagascope._readable import of_no_process, readable
from sagascope._sender import Sender
from sagascope._settings import Settings
from sagascope._spool import Spool
from sagascope._stats import Stats
from sagascope._tally import Tally
from sagascope._told import Told
from sagascope._version import __version__

_SCOPE = InstrumentationScope("sagascope", __version__, semconv.SCHEMA_URL)


class Pipeline(SpanProcessor):
    """Saga spans from their start to the collector: the runtime of what people write, and its span processor."""

    def __init__(self, settings: Settings, resource: Resource, service: TracerProvider | None) -> None:
        self._sampler = service.sampler if service is not None else None
        self._provider = TracerProvider(
            sampler=ALWAYS_ON,
            resource=resource,
            shutdown_on_exit=False,
            id_generator=Ids(service.id_generator if service is not None else None),
        )
        self._nobody = of_no_process(resource)
        self._provider.add_span_processor(self)
        self._tracer = self._provider.get_tracer(_SCOPE.name, _SCOPE.version, _SCOPE.schema_url)
        self._tally = Tally()
        self._redact = settings.redact
        self._longest = settings.max_value_length
        self._allows = allowing(settings.propagate_to)
        self._trust = settings.trust_incoming
        self._encoder = Encoder(uuid4().hex, settings.redact)
        self._instance = instance_name()
        self._settings = settings
        self._outbox = Outbox(
            lambda: self._encoder, _sender(settings), self._tally, settings.queue_size, _spool(settings)
        )
        self._in_flight = InFlight(
            lambda: self._encoder,
            _sender(settings),
            self._tally,
            lambda: self._provider.resource,
            _SCOPE,
            announce_after=settings.announce_after,
            interval=settings.heartbeat_interval,
            clock=settings.clock,
        )
        self._tap = self._log_tap(settings)
        self._clock = settings.clock
        self._forked_at = 0

    def _log_tap(self, settings: Settings) -> LogTap | None:
        level = settings.level
        if level is None:
            return None
        return LogTap(
            self._outbox.put_log,
            lambda count, why: self._tally.lost_some(count, why),
            lambda: self._provider.resource,
            level=level,
            rate=settings.log_rate,
            longest=settings.max_value_length,
        )

    # --- the runtime -------------------------------------------------------------------------------

    def start(
        self,
        name: str,
        context: Context,
        attributes: Mapping[str, Any],
        links: Sequence[Link],
        kind: SpanKind = SpanKind.INTERNAL,
        span_id: int = 0,
    ) -> ApiSpan:
        """Start a saga span."""
        if not span_id:
            return self._tracer.start_span(name, context, kind, fit(attributes, self._longest), links)
        with Wanting(span_id):
            return self._tracer.start_span(name, context, kind, fit(attributes, self._longest), links)

    def tell(self, told: Told) -> None:
        """Queue a span that no process holds."""
        self._outbox.put_span(readable(told, self._nobody, _SCOPE, self._longest))

    def carried(self, name: str, own: SpanContext, context: Context) -> SpanContext:
        """The ids of our span with the sampled flag of the service: its current span's, else its sampler's decision."""
        current = get_current_span(context).get_span_context()
        if current.is_valid and current.trace_id == own.trace_id:
            return _with(own, current.trace_flags, current.trace_state)
        if self._sampler is None:
            return own
        result = self._sampler.should_sample(Context(), own.trace_id, name, SpanKind.INTERNAL)
        sampled = TraceFlags.SAMPLED if result.decision is Decision.RECORD_AND_SAMPLE else TraceFlags.DEFAULT
        return _with(own, TraceFlags((own.trace_flags & ~TraceFlags.SAMPLED) | sampled), result.trace_state)

    def conceal(self, attribute: str, text: str) -> str:
        """A text that travels in headers, as it may leave the process."""
        redacted = text if self._redact is None else _redaction.apply(self._redact, attribute, text)
        return fit_text(str(redacted or ""), self._longest)

    def fit(self, attributes: Mapping[str, Any]) -> Mapping[str, Any]:
        """Attributes with long texts cut."""
        return fit(attributes, self._longest)

    def failure(self, error: BaseException) -> Mapping[str, Any]:
        """Type, message and stack trace of an error."""
        return describe_error(error, self._longest)

    def may_reach(self, address: str) -> bool:
        """Whether baggage may go to this URL's host."""
        return self._allows(host_of(address))

    def trusts(self, headers: Any) -> bool:
        """Whether the saga that these headers name is taken up."""
        trust = self._trust
        return bool(trust(headers)) if callable(trust) else trust

    def emit(self, body: str, context: Context, attributes: Mapping[str, Any]) -> None:
        """Queue a log record of ours."""
        now = self._clock()
        record = LogRecord(
            timestamp=now,
            observed_timestamp=now,
            context=context,
            severity_number=SeverityNumber.INFO,
            severity_text="INFO",
            body=body,
            attributes=self.fit({**_stamp_of(context), **attributes}),
        )
        self._outbox.put_log(ReadableLogRecord(record, self._provider.resource, _SCOPE))

    # --- the span processor ------------------------------------------------------------------------

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        """A saga span has started."""
        self._in_flight.opened(span)

    def on_end(self, span: ReadableSpan) -> None:
        """A saga span has ended, or one of the service's that belongs to a saga."""
        if span.context is not None:
            self._in_flight.ended(span.context.span_id)
        retry_in = (span.attributes or {}).get(semconv.STEP_RETRY_IN)
        if isinstance(retry_in, float) and isfinite(retry_in):
            self._in_flight.promised_retry(self._clock() + int(max(retry_in, 0.0) * SECOND))
        # what was open at a fork is the parent's to end
        if (span.start_time or 0) >= self._forked_at:
            self._outbox.put_span(span)

    # --- its life ----------------------------------------------------------------------------------

    def open(self) -> None:
        """Start sending."""
        self._in_flight.start()
        self._outbox.start()
        if self._tap is not None:
            self._tap.install()
        _propagator.install(self._allows, self.trusts)

    def forked(self) -> None:
        """Begin anew in a forked child, as a process of its own."""
        self._forked_at = self._clock()
        self._encoder = Encoder(uuid4().hex, self._redact, Renamed(self._instance, instance_name()))
        self._tally = Tally()
        self._outbox.forked(self._tally, _spool(self._settings))
        self._in_flight.forked(self._tally)

    def close(self, timeout: float) -> None:
        """Send the final heartbeat and what waits, for at most `timeout` seconds."""
        if self._tap is not None:
            self._tap.remove()
        _propagator.remove()
        deadline = monotonic() + timeout
        self._in_flight.finish()
        self._outbox.finish()
        self._in_flight.join(deadline - monotonic())
        self._outbox.join(deadline - monotonic())

    def stats(self) -> Stats:
        """What became of the telemetry of this process so far."""
        return Stats(
            sent=self._tally.sent,
            waiting=self._outbox.waiting(),
            spooled=self._tally.spooled,
            dropped=self._tally.dropped,
            open_spans=self._in_flight.open_count(),
            last_error=self._tally.last_error,
        )


def _with(own: SpanContext, flags: TraceFlags, state: TraceState | None) -> SpanContext:
    return SpanContext(own.trace_id, own.span_id, is_remote=False, trace_flags=flags, trace_state=state)


def _spool(settings: Settings) -> Spool | None:
    return Spool(settings.spool, settings.spool_size, uuid4().hex) if settings.spool else None


def _stamp_of(context: Context) -> Mapping[str, Any]:
    place = place_in(context)
    return place.stamp if place is not None else {}


def _sender(settings: Settings) -> Sender:
    return Sender(
        settings.endpoint,
        timeout=settings.timeout,
        headers=settings.headers,
        compress=settings.compression == "gzip",
        certificate=settings.certificate,
    )
