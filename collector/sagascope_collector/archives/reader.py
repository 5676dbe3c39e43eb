"""Reads requests from files of telemetry, one at a time.

The OpenTelemetry Collector's file exporter writes JSON, one request a line; or protobuf, each request after its length
in 4 bytes, big-endian. It compresses with zstd: older versions each request, newer ones the whole file. Users also
compress whole files with gzip. The first bytes of a file tell its format; `formats` tells what a JSON document is.
"""

import io
import zlib
from collections.abc import Iterator, Mapping
from itertools import count
from typing import Any, Final

import orjson
import pyarrow as pa
from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from sagascope_collector.archives import formats
from sagascope_collector.archives.documents import Document, Message, RecordKind, Unreadable, documents
from sagascope_collector.errors import Undecodable

GZIP_MAGIC: Final = b"\x1f\x8b"
ZSTD_MAGIC: Final = b"\x28\xb5\x2f\xfd"
BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"

MAX_START_BYTES: Final = 4096
"""How much of a file is looked at to tell its format."""

LENGTH_BYTES: Final = 4
"""The size of the length before a request."""

MAX_REQUEST_BYTES: Final = 64 * 1024 * 1024
"""The collector's own default limit."""

CHUNK_BYTES: Final = 64 * 1024


def messages(raw: io.BufferedReader, max_bytes: int = MAX_REQUEST_BYTES) -> Iterator[Message | Unreadable]:
    """Yields the requests of a file in order; continues after an unreadable part where that is possible."""
    number = 0
    try:
        for each in _messages(_decompressed(raw), max_bytes):
            number = each.number
            yield each
    except (EOFError, OSError, zlib.error) as error:
        truncated = isinstance(error, EOFError) or "truncated" in str(error).lower()
        yield Unreadable(number + 1, f"It cannot be decompressed: {error}.", truncated)


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


def _messages(stream: io.BufferedReader, max_bytes: int) -> Iterator[Message | Unreadable]:
    start = stream.peek(MAX_START_BYTES)
    if start.startswith(BYTE_ORDER_MARK):
        stream.read(len(BYTE_ORDER_MARK))
        start = stream.peek(MAX_START_BYTES)
    if reason := formats.unsupported_text(start):
        yield Unreadable(1, reason)
    elif start.lstrip()[:1] in {b"", b"{", b"["}:
        for each in documents(stream, max_bytes):
            if isinstance(each, Unreadable):
                yield each
            else:
                yield from formats.messages(each)
    else:
        yield from _length_prefixed(stream, max_bytes)


def _length_prefixed(stream: io.BufferedReader, max_bytes: int) -> Iterator[Message | Unreadable]:
    for number in count(1):
        length = stream.read(LENGTH_BYTES)
        size = int.from_bytes(length, "big")
        if not length:
            return
        if size > max_bytes:
            what = "This is not recognised" if number == 1 else "This is not OTLP"
            yield Unreadable(number, f"{what}, or is a request of {size:,} bytes; the limit is {max_bytes:,}.")
            return
        body = stream.read(size)
        if len(length) < LENGTH_BYTES or len(body) < size:
            yield Unreadable(number, "The last request is truncated.", truncated=True)
            return
        if body.startswith(ZSTD_MAGIC):
            try:
                with pa.CompressedInputStream(pa.BufferReader(body), "zstd") as compressed:
                    body = compressed.read(max_bytes + 1)
            except OSError as error:
                yield Unreadable(number, f"It cannot be decompressed: {error}.")
                continue
        yield from _requests(number, body, max_bytes)


def _requests(number: int, body: bytes, max_bytes: int) -> Iterator[Message | Unreadable]:
    """Yields what one length-prefixed body holds."""
    try:
        if len(body) > max_bytes:
            yield Unreadable(number, f"It has more than {max_bytes:,} bytes.")
        elif body[:1] == b"{":
            yield from formats.messages(Document(number, body, orjson.loads(body)))
        elif body:
            yield Message(number, json=False, body=body, counts=_counts_of_protobuf(body))
    except orjson.JSONDecodeError as error:
        yield Unreadable(number, f"This is not JSON: {error.msg}.")
    except Undecodable as error:
        yield Unreadable(number, str(error))


_PROTOBUF_FIELDS: Final[Mapping[RecordKind, tuple[Any, str, str, str]]] = {
    RecordKind.SPANS: (ExportTraceServiceRequest, "resource_spans", "scope_spans", "spans"),
    RecordKind.LOG_RECORDS: (ExportLogsServiceRequest, "resource_logs", "scope_logs", "log_records"),
    RecordKind.METRICS: (ExportMetricsServiceRequest, "resource_metrics", "scope_metrics", "metrics"),
}

VARINT, FIXED64, LENGTH_DELIMITED, FIXED32 = 0, 1, 2, 5
"""The wire types of protobuf that OTLP uses."""

TRACE_ID_BYTES, SPAN_ID_BYTES = 16, 8


def _counts_of_protobuf(body: bytes) -> dict[RecordKind, int]:
    """Returns the number of records by kind, for a request in protobuf, which does not name its kind.

    Raises:
        Undecodable: the body is not OTLP in protobuf.
    """
    try:
        kind = _kind_of(_first_record(body))
        message, outer, inner, leaf = _PROTOBUF_FIELDS[kind]
        request = message.FromString(body)
    except (DecodeError, ValueError) as error:
        raise Undecodable("This is not OTLP in protobuf.") from error
    return {kind: sum(len(getattr(scope, leaf)) for of in getattr(request, outer) for scope in getattr(of, inner))}


def _first_record(body: bytes) -> bytes:
    """Returns the first record of the first scope that has one, or empty bytes.

    Raises:
        ValueError: the body is not protobuf.
    """
    resources = (part for number, wire, part in _fields(body) if (number, wire) == (1, LENGTH_DELIMITED))
    scopes = (
        part for each in resources for number, wire, part in _fields(each) if (number, wire) == (2, LENGTH_DELIMITED)
    )
    records = (
        part for each in scopes for number, wire, part in _fields(each) if (number, wire) == (2, LENGTH_DELIMITED)
    )
    return next(records, b"")


def _kind_of(record: bytes) -> RecordKind:
    """Infers the kind from fields that the other kinds do not have: a span's times, a log record's time or severity."""
    sizes = {(number, wire): len(part) for number, wire, part in _fields(record)}
    has_ids = sizes.get((1, LENGTH_DELIMITED)) == TRACE_ID_BYTES and sizes.get((2, LENGTH_DELIMITED)) == SPAN_ID_BYTES
    if (7, FIXED64) in sizes or has_ids:
        return RecordKind.SPANS
    log_fields = {(1, FIXED64), (11, FIXED64), (2, VARINT), (8, FIXED32)}
    if sizes.keys() & log_fields or (1, LENGTH_DELIMITED) not in sizes:
        return RecordKind.LOG_RECORDS if record else RecordKind.SPANS
    return RecordKind.METRICS


def _fields(message: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Yields the number, wire type and content of each field; the content only of length-delimited fields."""
    offset = 0
    while offset < len(message):
        tag, offset = _varint(message, offset)
        number, wire, start = tag >> 3, tag & 7, offset
        if wire == LENGTH_DELIMITED:
            size, start = _varint(message, offset)
            offset = start + size
        elif wire == VARINT:
            _, offset = _varint(message, offset)
        elif wire in {FIXED64, FIXED32}:
            offset += 8 if wire == FIXED64 else 4
        else:
            raise ValueError(wire)
        if offset > len(message):
            raise ValueError(offset)
        yield number, wire, message[start:offset] if wire == LENGTH_DELIMITED else b""


def _varint(message: bytes, offset: int) -> tuple[int, int]:
    """Returns a varint and the offset after it."""
    value = shift = 0
    while offset < len(message) and shift < 64:  # bits
        byte = message[offset]
        value, offset, shift = value | (byte & 0x7F) << shift, offset + 1, shift + 7
        if byte < 0x80:  # no continuation bit
            return value, offset
    raise ValueError(offset)
