"""The telemetry of an emitter as it was received, before the collector converts it to columns.

It comes from the collector's own OTLP receivers, which store nothing here, or from files.
"""

import asyncio
import json
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Final

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from sagascope import semconv
from sagascope_collector.durations import NANOSECONDS_PER_SECOND
from sagascope_collector.errors import CannotStart, PortTaken, SagascopeError, Undecodable
from sagascope_collector.http_server.server import address_of, listen, port_taken, server
from sagascope_collector.ingest import Encoding, Payload, Receipt, Signal
from sagascope_collector.otlp import OtlpGrpc, OtlpHttp, anyvalue
from sagascope_collector.otlp.budget import Budget
from sagascope_collector.otlp.decode import REQUESTS, parse
from sagascope_collector.otlp.grpc import bind
from sagascope_collector.otlp.spans import INVALID_IDS, KINDS, SPAN_ID_BYTES, TRACE_ID_BYTES, enum_name, valid_id
from sagascope_collector.records import Process, as_text, process_of
from sagascope_collector.settings import MEBIBYTE, Address

Attributes = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Origin:
    """The resource and scope that the records of one scope in one request share."""

    process: Process
    resource: Attributes
    scope: str = ""
    schema_url: str = ""

    @property
    def service(self) -> str:
        """The service's name for a reader."""
        return self.process.service or "a service without a name"


@dataclass(frozen=True, slots=True)
class CapturedSpan:
    """A span as received; ``end == 0`` means that it was sent while it was open."""

    origin: Origin
    received_at: int
    trace_id: str
    span_id: str
    parent_id: str
    name: str
    kind: str
    start: int
    end: int
    attributes: Attributes
    links: tuple[Attributes, ...] = ()

    @property
    def where(self) -> str:
        """Identifies the span for a reader."""
        return f"span {self.name!r} ({self.span_id}) of {self.origin.service}"


@dataclass(frozen=True, slots=True)
class CapturedLog:
    """A log record as received."""

    origin: Origin
    received_at: int
    trace_id: str
    span_id: str
    at: int
    observed_at: int
    event_name: str
    body: Any
    attributes: Attributes

    @property
    def where(self) -> str:
        """Identifies the log record for a reader."""
        return f"log record {(self.event_name or str(self.body))[:80]!r} of {self.origin.service}"


Record = CapturedSpan | CapturedLog


@dataclass
class Capture:
    """All received records, with the indexes that checks use."""

    spans: list[CapturedSpan] = field(default_factory=list)
    logs: list[CapturedLog] = field(default_factory=list)
    rejected: list[str] = field(default_factory=list)
    """The reasons for which requests, or records of them, were rejected."""
    grace_seconds: float = 1.0
    """The transport delay that checks of timeliness tolerate."""

    def add(self, payload: Payload) -> None:
        """Decodes a request and keeps its records.

        Raises:
            Undecodable: the payload is not OTLP; the reason is also added to `rejected`.
        """
        try:
            request = parse(payload.body, payload.encoding, REQUESTS[payload.signal])
        except Undecodable as error:
            self.rejected.append(str(error))
            raise
        if payload.signal is Signal.LOGS:
            self.logs.extend(_logs(request, payload.received_at))
            return
        for span in _spans(request, payload.received_at):
            if span.trace_id and span.span_id:
                self.spans.append(span)
            else:
                self.rejected.append(f"{span.where}: {INVALID_IDS}")

    @property
    def records(self) -> Iterator[Record]:
        """All spans, then all log records."""
        yield from self.spans
        yield from self.logs

    @property
    def saga_records(self) -> Iterator[Record]:
        """Records that have ``saga.id``."""
        return (each for each in self.records if semconv.SAGA_ID in each.attributes)

    @property
    def attempts(self) -> Iterator[CapturedSpan]:
        """Spans whose ``saga.role`` is ``step``."""
        return (each for each in self.spans if each.attributes.get(semconv.SAGA_ROLE) == semconv.ROLE_STEP)

    @property
    def start_records(self) -> Iterator[CapturedLog]:
        """Log records that announce open spans."""
        return (each for each in self.logs if each.event_name == semconv.EVENT_SPAN_START)

    @property
    def heartbeats(self) -> Iterator[CapturedLog]:
        """Log records that are heartbeats, or parts of one."""
        return (each for each in self.logs if each.event_name == semconv.EVENT_HEARTBEAT)

    @cached_property
    def by_id(self) -> dict[tuple[str, str], CapturedSpan]:
        """Spans by trace id and span id; the final form wins over the open one."""
        ordered = sorted(self.spans, key=lambda each: each.end != 0)
        return {(each.trace_id, each.span_id): each for each in ordered}

    @cached_property
    def ended_ids(self) -> set[str]:
        """The span ids of ended spans."""
        return {each.span_id for each in self.spans if each.end}

    def parent(self, span: CapturedSpan) -> CapturedSpan | None:
        """Returns the parent span, if it was received."""
        return self.by_id.get((span.trace_id, span.parent_id))

    def enclosing_span(self, record: CapturedLog) -> CapturedSpan | None:
        """Returns the span in whose context a log record was written, if it was received."""
        return self.by_id.get((record.trace_id, record.span_id))


def _spans(request: ExportTraceServiceRequest, received_at: int) -> Iterator[CapturedSpan]:
    for resource_spans in request.resource_spans:
        for scope_spans in resource_spans.scope_spans:
            origin = _origin(resource_spans.resource, scope_spans)
            for span in scope_spans.spans:
                yield CapturedSpan(
                    origin=origin,
                    received_at=received_at,
                    trace_id=valid_id(span.trace_id, TRACE_ID_BYTES).hex(),
                    span_id=valid_id(span.span_id, SPAN_ID_BYTES).hex(),
                    parent_id=valid_id(span.parent_span_id, SPAN_ID_BYTES).hex(),
                    name=span.name,
                    kind=enum_name(KINDS, span.kind),
                    start=span.start_time_unix_nano,
                    end=span.end_time_unix_nano,
                    attributes=anyvalue.as_dict(span.attributes),
                    links=tuple(anyvalue.as_dict(each.attributes) for each in span.links),
                )


def _logs(request: ExportLogsServiceRequest, received_at: int) -> Iterator[CapturedLog]:
    for resource_logs in request.resource_logs:
        for scope_logs in resource_logs.scope_logs:
            origin = _origin(resource_logs.resource, scope_logs)
            for record in scope_logs.log_records:
                attributes = anyvalue.as_dict(record.attributes)
                yield CapturedLog(
                    origin=origin,
                    received_at=received_at,
                    trace_id=valid_id(record.trace_id, TRACE_ID_BYTES).hex(),
                    span_id=valid_id(record.span_id, SPAN_ID_BYTES).hex(),
                    at=record.time_unix_nano,
                    observed_at=record.observed_time_unix_nano,
                    event_name=record.event_name or as_text(attributes.get("event.name")),
                    body=anyvalue.read(record.body),
                    attributes=attributes,
                )


def _origin(resource: Any, scope_records: Any) -> Origin:
    attributes = anyvalue.as_dict(resource.attributes)
    return Origin(process_of(attributes), attributes, scope_records.scope.name, scope_records.schema_url)


MAX_REQUEST_BYTES: Final = 64 * MEBIBYTE
"""The size of one request, and of all requests that arrive at one time."""

MAX_RECORDS: Final = 1_000_000
"""Records kept in memory; listening ends when they are reached."""

POLL_INTERVAL_SECONDS: Final = 0.05

DRAIN_SECONDS: Final = 2.0

Announce = Callable[[str, str], None]
"""Called once, when both ports listen, with the gRPC address and the HTTP address."""


@dataclass(frozen=True, slots=True)
class ListenOptions:
    """Where to listen, and for how long."""

    otlp_grpc: Address
    otlp_http: Address
    seconds: float | None
    """The total time; None: until SIGINT or SIGTERM."""
    idle_seconds: float | None
    """Listening ends this long after the latest request; None: it does not."""
    grace_seconds: float


def capture_from_ports(options: ListenOptions, announce: Announce) -> Capture:
    """Captures what an emitter sends to the OTLP ports.

    Raises:
        PortTaken: an address is in use.
    """
    capture = Capture(grace_seconds=options.grace_seconds)
    asyncio.run(_listen(_Listener(capture), options, announce))
    return capture


def capture_from_files(files: Sequence[Path], grace_seconds: float) -> Capture:
    """Captures OTLP JSON lines, as the OpenTelemetry Collector's file exporter writes them.

    Raises:
        CannotStart: a file cannot be read.
    """
    capture = Capture(grace_seconds=grace_seconds)
    for file in files:
        try:
            lines = file.read_bytes().splitlines()
        except OSError as error:
            raise CannotStart(f"{file} cannot be read: {error.strerror}.") from error
        for number, line in enumerate(lines, 1):
            if line.strip():
                _add_line(line, f"{file}:{number}", capture)
    return capture


def _add_line(line: bytes, where: str, capture: Capture) -> None:
    try:
        document: Any = json.loads(line)
    except ValueError as error:
        capture.rejected.append(f"{where}: {error}")
        return
    signal_ = Signal.LOGS if isinstance(document, dict) and "resourceLogs" in document else Signal.TRACES
    try:
        # a file does not have the time of receipt: with 0, no record is late
        capture.add(Payload(signal_, Encoding.JSON, line, received_at=0))
    except Undecodable as error:
        capture.rejected[-1] = f"{where}: {error}"


class _Listener:
    """Takes the place of the collector's ingest queue behind the receivers."""

    def __init__(self, capture: Capture) -> None:
        self._capture = capture
        self.latest_at = 0
        """When the latest request was received."""

    def submit(self, payload: Payload) -> asyncio.Future[Receipt]:
        """Keeps a request and answers it at once; a request that is not OTLP is rejected."""
        answer: asyncio.Future[Receipt] = asyncio.get_running_loop().create_future()
        self.latest_at = payload.received_at
        try:
            self._capture.add(payload)
            answer.set_result(Receipt())
        except SagascopeError as error:
            answer.set_exception(error)
        return answer

    @property
    def is_full(self) -> bool:
        return len(self._capture.spans) + len(self._capture.logs) >= MAX_RECORDS

    def is_idle(self, seconds: float | None) -> bool:
        """Returns whether requests were received, and none for this long."""
        if seconds is None or not self.latest_at:
            return False
        return (time.time_ns() - self.latest_at) / NANOSECONDS_PER_SECOND >= seconds


async def _listen(listener: _Listener, options: ListenOptions, announce: Announce) -> None:
    budget = Budget(MAX_REQUEST_BYTES)
    grpc_server = OtlpGrpc(listener, time.time_ns, budget=budget).server(max_bytes=MAX_REQUEST_BYTES)
    try:
        grpc_port = bind(grpc_server, *options.otlp_grpc)
    except PortTaken as error:
        raise port_taken(options.otlp_grpc, "--otlp-grpc") from error
    socket = listen(options.otlp_http, "--otlp-http")
    application = OtlpHttp(listener, time.time_ns, max_bytes=MAX_REQUEST_BYTES, budget=budget)
    http_server = server(application, drain_seconds=DRAIN_SECONDS)
    await grpc_server.start()
    serving = asyncio.create_task(http_server.serve([socket]))
    http_port = address_of(socket).port
    announce(str(options.otlp_grpc._replace(port=grpc_port)), str(options.otlp_http._replace(port=http_port)))
    await _wait_for_end(listener, options)
    http_server.should_exit = True
    await asyncio.gather(grpc_server.stop(DRAIN_SECONDS), serving)


async def _wait_for_end(listener: _Listener, options: ListenOptions) -> None:
    """Waits for SIGINT or SIGTERM, the end of the listening time, or an idle emitter."""
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopped.set)
    started = time.monotonic()
    while not (stopped.is_set() or listener.is_full or listener.is_idle(options.idle_seconds)):
        if options.seconds is not None and time.monotonic() - started >= options.seconds:
            return
        await asyncio.sleep(POLL_INTERVAL_SECONDS)
