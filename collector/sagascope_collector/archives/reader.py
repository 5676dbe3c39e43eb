"""Reads requests from files of telemetry, one at a time.

The OpenTelemetry Collector's file exporter writes JSON, one request a line; or protobuf, each request after its length
in 4 bytes, big-endian. It compresses with zstd: older versions each request, newer ones the whole file. Users also
compress whole files with gzip. The first bytes of a file tell its format. A JSON document may be a request, or a
trace of another system.
"""

import io
import re
import zlib
from collections.abc import Callable, Iterator, Mapping
from itertools import count
from typing import Any, Final

import orjson
import pyarrow as pa
from google.protobuf.message import DecodeError
from google.protobuf.unknown_fields import UnknownFieldSet
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from sagascope_collector.archives.documents import (
    JSON_FIELDS,
    Document,
    Message,
    Problem,
    RecordKind,
    counts_of_json,
    documents,
)
from sagascope_collector.archives.jaeger_tempo import (
    has_base64_ids,
    is_tempo_trace,
    jaeger_requests,
    jaeger_traces,
    tempo_requests,
)
from sagascope_collector.errors import Undecodable

GZIP_MAGIC: Final = b"\x1f\x8b"
ZSTD_MAGIC: Final = b"\x28\xb5\x2f\xfd"
BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"

MAX_START_BYTES: Final = 4096
"""How much of a file is read to detect its format."""

LENGTH_BYTES: Final = 4
"""The size of the length before a request."""

MAX_REQUEST_BYTES: Final = 64 * 1024 * 1024
"""The collector's own default limit."""

MAX_EMPTY_REQUESTS: Final = 1_000
"""Empty requests in a row after which a file is not read further: it consists of zeros."""

CHUNK_BYTES: Final = 64 * 1024


def messages(raw: io.BufferedReader, max_bytes: int = MAX_REQUEST_BYTES) -> Iterator[Message | Problem]:
    """Yields the requests of a file in order; continues after an unreadable part where that is possible."""
    number = 0
    try:
        for each in _messages(_decompressed(raw), max_bytes):
            number = each.number
            yield each
    except (EOFError, OSError, zlib.error) as error:
        truncated = isinstance(error, EOFError) or "truncated" in str(error).lower()
        yield Problem(number + 1, f"It cannot be decompressed: {error}.", truncated)


def _decompressed(raw: io.BufferedReader) -> io.BufferedReader:
    start = raw.peek(LENGTH_BYTES)
    if start.startswith(GZIP_MAGIC):
        return io.BufferedReader(_GzipReader(raw))
    if start.startswith(ZSTD_MAGIC):
        return io.BufferedReader(pa.CompressedInputStream(pa.PythonFile(raw, mode="r"), "zstd"))
    return raw


class _GzipReader(io.RawIOBase):
    """Decompresses one or several gzip members; raises `EOFError` after the last byte of a truncated file.

    The standard library's reader loses what it has read when the end is missing.
    """

    _WINDOW_BITS = 16 + zlib.MAX_WBITS

    def __init__(self, raw: io.BufferedReader) -> None:
        self._raw = raw
        self._decompressor = zlib.decompressobj(self._WINDOW_BITS)
        self._input = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while True:
            self._input = self._input or self._raw.read(CHUNK_BYTES)
            if self._decompressor.eof and self._input:
                self._decompressor = zlib.decompressobj(self._WINDOW_BITS)
            output = self._decompressor.decompress(self._input, len(buffer))
            is_end = not self._input
            done = self._decompressor.eof
            self._input = self._decompressor.unused_data if done else self._decompressor.unconsumed_tail
            if output:
                buffer[: len(output)] = output
                return len(output)
            if is_end:
                if not self._decompressor.eof:
                    raise EOFError("the file is truncated")
                return 0


def _messages(stream: io.BufferedReader, max_bytes: int) -> Iterator[Message | Problem]:
    start = stream.peek(MAX_START_BYTES)
    if start.startswith(BYTE_ORDER_MARK):
        stream.read(len(BYTE_ORDER_MARK))
        start = stream.peek(MAX_START_BYTES)
    if reason := _unsupported_text(start):
        yield Problem(1, reason)
    elif start.lstrip()[:1] in {b"", b"{", b"["}:
        for each in documents(stream, max_bytes):
            if isinstance(each, Problem):
                yield each
            else:
                yield from _messages_of(each)
    else:
        yield from _length_prefixed(stream, max_bytes)


def _length_prefixed(stream: io.BufferedReader, max_bytes: int) -> Iterator[Message | Problem]:
    empty = 0
    for number in count(1):
        length = stream.read(LENGTH_BYTES)
        size = int.from_bytes(length, "big")
        if not length:
            return
        if size > max_bytes:
            what = "This is not recognised" if number == 1 else "This is not OTLP"
            yield Problem(number, f"{what}, or is a request of {size:,} bytes; the limit is {max_bytes:,}.")
            return
        empty = 0 if size else empty + 1
        if empty > MAX_EMPTY_REQUESTS:
            yield Problem(number, f"{MAX_EMPTY_REQUESTS:,} empty requests follow one another: this is not OTLP.")
            return
        body = stream.read(size)
        if len(length) < LENGTH_BYTES or len(body) < size:
            yield Problem(number, "The last request is truncated.", truncated=True)
            return
        if body.startswith(ZSTD_MAGIC):
            try:
                with pa.CompressedInputStream(pa.BufferReader(body), "zstd") as compressed:
                    body = compressed.read(max_bytes + 1)
            except OSError as error:
                yield Problem(number, f"It cannot be decompressed: {error}.")
                continue
        yield from _requests(number, body, max_bytes)


def _requests(number: int, body: bytes, max_bytes: int) -> Iterator[Message | Problem]:
    """Yields the requests of one length-prefixed body."""
    try:
        if len(body) > max_bytes:
            yield Problem(number, f"It has more than {max_bytes:,} bytes.")
        elif body[:1] == b"{":
            yield from _messages_of(Document(number, body, orjson.loads(body)))
        elif body:
            yield Message(number, json=False, body=body, counts=_counts_of_protobuf(body))
    except orjson.JSONDecodeError as error:
        yield Problem(number, f"This is not JSON: {error.msg}.")
    except Undecodable as error:
        yield Problem(number, str(error))


TRACE_ID_BYTES, SPAN_ID_BYTES = 16, 8


def _counts_of_protobuf(body: bytes) -> dict[RecordKind, int]:
    """Returns the number of records by kind, for a request in protobuf, which does not name its kind.

    Raises:
        Undecodable: the body is not OTLP in protobuf.
    """
    for kind, (message, outer, inner, leaf, is_of_kind) in _PROTOBUF_REQUESTS.items():
        try:
            request = message.FromString(body)
        except DecodeError:
            continue  # the kinds share field numbers, with other types
        scopes = (scope for resource in getattr(request, outer) for scope in getattr(resource, inner))
        records = [each for scope in scopes for each in getattr(scope, leaf)]
        if not records or is_of_kind(records[0]):
            return {kind: len(records)}
    raise Undecodable("This is not OTLP in protobuf.")


def _is_span(record: Any) -> bool:
    has_ids = len(record.trace_id) == TRACE_ID_BYTES and len(record.span_id) == SPAN_ID_BYTES
    return has_ids or record.start_time_unix_nano != 0


def _is_log_record(record: Any) -> bool:
    is_set = record.time_unix_nano or record.observed_time_unix_nano or record.severity_number or record.flags
    unknown = UnknownFieldSet(record)
    return bool(is_set) or all(unknown[index].field_number != 1 for index in range(len(unknown)))  # a metric's name


_PROTOBUF_REQUESTS: Final[Mapping[RecordKind, tuple[Any, str, str, str, Callable[[Any], bool]]]] = {
    RecordKind.SPANS: (ExportTraceServiceRequest, "resource_spans", "scope_spans", "spans", _is_span),
    RecordKind.LOG_RECORDS: (ExportLogsServiceRequest, "resource_logs", "scope_logs", "log_records", _is_log_record),
    RecordKind.METRICS: (ExportMetricsServiceRequest, "resource_metrics", "scope_metrics", "metrics", lambda _: True),
}
"""The request of each kind, its nested fields, and whether a parsed record has fields that the other kinds lack."""


MAX_NAMED_KEYS: Final = 5
MAX_KEY_CHARACTERS: Final = 40

_OTLP_NAMES: Final = frozenset(name for _, name, *_ in JSON_FIELDS)

_PROMETHEUS: Final = (
    "This is a Prometheus or metrics export: Sagascope stores spans and log records, and no metrics. Keep it in "
    "Prometheus, and import the traces of the same time."
)
_TEMPORAL: Final = (
    "This is a Temporal history: use `sagascope bridge temporal`, which follows the workflows themselves."
)
_ZIPKIN: Final = (
    "This is a list of Zipkin spans: send it to the `zipkin` receiver of an OpenTelemetry Collector, and import what "
    "its `file` exporter writes."
)
_TEMPO_SEARCH: Final = (
    "This is the result of a search in Tempo, which holds no spans: import what /api/traces/ID answers for each trace."
)
_JAEGER_ERROR: Final = "This is an answer of Jaeger without a trace: it reports errors, or the trace was not found."

_METRIC_LINE: Final = re.compile(
    rb"#\s(?:HELP|TYPE|UNIT|EOF)\b|[a-zA-Z_:][\w:]*(?:\{[^{}\n]*\})?\s+[-+\d.][\d.eE+-]*(?:\s|$)"
)


def _messages_of(document: Document) -> Iterator[Message | Problem]:
    """Yields the requests that a document holds, in OTLP; or the reason for which there are none."""
    number, value = document.number, document.value
    if isinstance(value, dict) and (not value or not _OTLP_NAMES.isdisjoint(value)):
        if has_base64_ids(value):
            yield from _translated(number, {"trace": value})
        else:
            yield Message(number, json=True, body=document.body, counts=counts_of_json(value))
    elif _is_list_of_documents(value):
        for each in value:
            yield from _messages_of(Document(number, orjson.dumps(each), each))
    else:
        yield from _translated(number, value)


def _is_list_of_documents(value: Any) -> bool:
    is_list = isinstance(value, list) and all(isinstance(each, dict) for each in value)
    return is_list and jaeger_traces(value) is None and _unsupported(value) is None


def _translated(number: int, value: Any) -> Iterator[Message | Problem]:
    if isinstance(value, dict) and is_tempo_trace(value):
        for request in tempo_requests(value):
            yield _message(number, request)
    elif traces := jaeger_traces(value):
        for each in (each for trace in traces for each in jaeger_requests(trace)):
            yield Problem(number, str(each), records=1) if isinstance(each, Undecodable) else _message(number, each)
    else:
        yield Problem(number, _unsupported(value) or f"This is not recognised: {_described(value)}.")


def _message(number: int, request: dict[str, Any]) -> Message:
    return Message(number, json=True, body=orjson.dumps(request), counts=counts_of_json(request))


def _unsupported_text(start: bytes) -> str | None:
    """Returns what to do with a file that is not JSON but known, by its first bytes."""
    return _PROMETHEUS if _METRIC_LINE.match(start.lstrip()) else None


def _unsupported(value: Any) -> str | None:
    """Returns what to do with a document that is known and not supported."""
    first = value[0] if isinstance(value, list) and value else value
    if not isinstance(first, dict):
        return None
    if _is_temporal(first):
        return _TEMPORAL
    if isinstance(value, list):
        return _ZIPKIN if first.keys() >= {"traceId", "id"} else None
    data = first.get("data")
    if "status" in first and isinstance(data, dict | list) and (isinstance(data, list) or "resultType" in data):
        return _PROMETHEUS
    if "data" in first and "errors" in first and not data:
        return _JAEGER_ERROR
    found = first.get("traces")
    if isinstance(found, list) and all(isinstance(each, dict) and "rootTraceName" in each for each in found):
        return _TEMPO_SEARCH
    return None


def _is_temporal(value: dict[str, Any]) -> bool:
    """Returns whether this is a history or one of its events, as `temporal workflow show` and the web UI write them."""
    inner = value.get("history")
    events = (inner if isinstance(inner, dict) else value).get("events")
    event = events[0] if isinstance(events, list) and events else value
    return isinstance(event, dict) and event.keys() >= {"eventId", "eventType"}


def _described(value: Any) -> str:
    """Returns what a document begins with: the keys, never a value."""
    if isinstance(value, list):
        return f"a list of {_described(value[0])}" if value and not isinstance(value[0], list) else "a list"
    if not isinstance(value, dict):
        return "a value that is not an object"
    keys = [each[:MAX_KEY_CHARACTERS] for each in value][:MAX_NAMED_KEYS]
    return f"an object with the keys {', '.join(keys)}{', ...' if len(value) > len(keys) else ''}"
