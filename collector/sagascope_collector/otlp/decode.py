"""Decodes export requests into the columns that are stored. Pure."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, NamedTuple

import pyarrow as pa
from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from sagascope import semconv
from sagascope_collector.engines import BUILT_IN, AttributeMapping
from sagascope_collector.errors import Undecodable
from sagascope_collector.ingest import Decoded, Encoding, Outcome, Payload, Receipt, Signal
from sagascope_collector.otlp import limits, otlpjson
from sagascope_collector.otlp.columns import Origins
from sagascope_collector.otlp.logs import Logs, read_logs
from sagascope_collector.otlp.origins import Observations
from sagascope_collector.otlp.protobuf_columns import Declined
from sagascope_collector.otlp.spans import INVALID_IDS, Spans, links_table, read_spans
from sagascope_collector.scrubbing import Scrubber
from sagascope_collector.storage import Batch

REQUESTS: Final[dict[Signal, Any]] = {Signal.TRACES: ExportTraceServiceRequest, Signal.LOGS: ExportLogsServiceRequest}
"""The request of each signal."""

MIN_COLUMNAR_BYTES: Final = 16 * 1024
"""Bytes of requests below which one object for each record costs less than columns."""

MAX_ATTEMPTS: Final = 3
"""The number of passes in which the remaining requests are read without those that were declined."""

_RECORD_NAMES: Final = {Signal.TRACES: "span", Signal.LOGS: "log record"}

MAX_REASONS: Final = 5
"""Reasons for rejected records that one answer lists."""

_HEARTBEAT: Final = semconv.EVENT_HEARTBEAT.encode()


def decode(
    payloads: Sequence[Payload], scrubber: Scrubber | None = None, attribute_mapping: AttributeMapping = BUILT_IN
) -> Decoded:
    """Decodes requests together. One that is not OTLP is answered `Undecodable`, and adds nothing to the batch.

    Most protobuf is read by columns, without an object for each record. Requests that the columnar functions
    decline, JSON, small groups, and requests that scrubbing or an attribute mapping may change are read record by
    record; the rows are the same (tests/collector/otlp/test_columnar.py compares both ways).

    `scrubber` removes what it must before other code reads a request. `attribute_mapping` maps records without
    ``saga.*`` attributes to sagas.
    """
    observations, origins = Observations(), Origins()
    columnar, spans, logs = (
        ColumnarRequests(observations, origins),
        Spans(observations, origins, attribute_mapping),
        Logs(observations, origins, attribute_mapping),
    )
    outcomes: dict[int, Outcome] = {
        number: _receipt(Counter({INVALID_IDS: rejected}), "span")
        for number, rejected in columnar.read(dict(_unchanged_requests(payloads, scrubber, attribute_mapping))).items()
    }
    for number, payload in enumerate(payloads):
        if number not in outcomes:
            outcomes[number] = _decode(payload, spans, logs, scrubber)
    batch = Batch(
        spans=_concatenated([*columnar.spans, spans.table()]),
        logs=_concatenated([*columnar.logs, logs.table()]),
        links=links_table([*columnar.links, *spans.links]),
        origins=origins.table(),
        observations=observations.all(),
    )
    return Decoded(batch, [outcomes[number] for number in range(len(payloads))])


class Prepared(NamedTuple):
    """A large request as smaller requests that are stored one after the other."""

    payloads: list[Payload]
    receipt: Receipt
    """The records that were rejected before."""


def prepare(payload: Payload) -> Prepared:
    """Checks a large request and splits it; one in JSON becomes protobuf.

    Raises:
        TooLarge: it holds more than a request may.
        Undecodable: it is not OTLP.
    """
    limits.check_request(payload)
    receipt = Receipt()
    if payload.encoding is Encoding.JSON:
        parsed = otlpjson.parse(payload.body, REQUESTS[payload.signal])
        receipt = _receipt(parsed.rejected, _RECORD_NAMES[payload.signal], parsed.warning)
        payload = replace(payload, encoding=Encoding.PROTOBUF, body=parsed.message.SerializeToString())
        limits.check_request(payload)
    return Prepared(limits.split_request(payload), receipt)


def _concatenated(tables: Sequence[pa.Table]) -> pa.Table:
    """Returns one table of all; the last may be empty."""
    return pa.concat_tables([each for each in tables if each.num_rows] or tables[-1:])


def parse(body: bytes, encoding: Encoding, request: Any) -> Any:
    """Reads one message of the type `request`.

    Raises:
        Undecodable: the bytes are no such message.
    """
    if encoding is Encoding.JSON:
        return otlpjson.parse(body, request).message
    try:
        return request.FromString(body)
    except DecodeError as error:
        raise Undecodable(f"This is not OTLP in protobuf: {error}.") from error


def _unchanged_requests(
    payloads: Sequence[Payload], scrubber: Scrubber | None, attribute_mapping: AttributeMapping
) -> Iterator[tuple[int, Payload]]:
    """Yields, by number, the requests that neither scrubbing nor an attribute mapping may change."""
    may_be_mapped = attribute_mapping.prefilter([each.body for each in payloads])
    for number, payload in enumerate(payloads):
        if payload.encoding is not Encoding.PROTOBUF or may_be_mapped[number]:
            continue
        if not (scrubber and scrubber.may_change(payload.body)):
            yield number, payload


def _decode(payload: Payload, spans: Spans, logs: Logs, scrubber: Scrubber | None) -> Outcome:
    rejected: Counter[str] = Counter()
    warning = ""
    try:
        if payload.encoding is Encoding.JSON:
            parsed = otlpjson.parse(payload.body, REQUESTS[payload.signal])
            request, rejected, warning = parsed.message, parsed.rejected, parsed.warning
        else:
            request = parse(payload.body, payload.encoding, REQUESTS[payload.signal])
    except Undecodable as error:
        return error
    if scrubber:
        scrubber.scrub(request, payload.body if payload.encoding is Encoding.PROTOBUF else None)
    add = logs.add if payload.signal is Signal.LOGS else spans.add
    return _receipt(rejected + add(request, payload.received_at), _RECORD_NAMES[payload.signal], warning)


def _receipt(rejected: Counter[str], kind: str, warning: str = "") -> Receipt:
    reasons = [
        f"{number} {kind}{' was' if number == 1 else 's were'} rejected: {reason}."
        for reason, number in rejected.most_common(MAX_REASONS)
        if number
    ]
    if len(rejected) > MAX_REASONS:
        reasons.append(f"{len(rejected) - MAX_REASONS} further reasons are not listed.")
    return Receipt(rejected.total(), " ".join([*reasons, warning] if warning else reasons))


class ColumnarRequests:
    """Reads requests by columns, and keeps their tables."""

    def __init__(self, observations: Observations, origins: Origins, *, min_bytes: int = MIN_COLUMNAR_BYTES) -> None:
        """Creates a reader that leaves requests with fewer than `min_bytes` bytes to `decode`."""
        self._min_bytes = min_bytes
        self._observations = observations
        self._origins = origins
        self.spans: list[pa.Table] = []
        self.logs: list[pa.Table] = []
        self.links: list[tuple[Any, ...]] = []
        """Rows of `schema.LINKS`."""

    def read(self, payloads: Mapping[int, Payload]) -> dict[int, int]:
        """Reads requests and returns how many records of each were rejected; requests without entry were not read."""
        traces = {number: each for number, each in payloads.items() if _is_columnar(each, Signal.TRACES)}
        logs = {number: each for number, each in payloads.items() if _is_columnar(each, Signal.LOGS)}
        return self._read(traces, self._read_spans) | self._read(logs, self._read_logs)

    def _read(self, payloads: dict[int, Payload], read: Any) -> dict[int, int]:
        for _ in range(MAX_ATTEMPTS):
            if sum(len(each.body) for each in payloads.values()) < max(self._min_bytes, 1):
                break
            numbers = list(payloads)
            bodies, received_at = zip(*((each.body, each.received_at) for each in payloads.values()), strict=True)
            try:
                return dict(zip(numbers, read(bodies, received_at), strict=True))
            except Declined as declined:
                for each in declined.requests:
                    del payloads[numbers[each]]
        return {}

    def _read_spans(self, bodies: Sequence[bytes], received_at: Sequence[int]) -> list[int]:
        read = read_spans(bodies, received_at, self._origins, self._observations)
        self.spans.append(read.spans)
        self.links += read.links
        return read.rejected

    def _read_logs(self, bodies: Sequence[bytes], received_at: Sequence[int]) -> list[int]:
        self.logs.append(read_logs(bodies, received_at, self._origins, self._observations))
        return [0] * len(bodies)


def _is_columnar(payload: Payload, signal: Signal) -> bool:
    """Returns whether all records of a request may be read by columns."""
    if payload.encoding is not Encoding.PROTOBUF or payload.signal is not signal:
        return False
    # heartbeats become observations, which only the record-by-record path makes
    return signal is Signal.TRACES or _HEARTBEAT not in payload.body
