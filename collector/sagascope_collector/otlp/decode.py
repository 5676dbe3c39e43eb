"""From the bytes of export requests to the columns that are stored. Pure."""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, Final

import pyarrow as pa
from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from sagascope_collector.engines import BUILT_IN, AttributeMapping
from sagascope_collector.errors import Undecodable
from sagascope_collector.ingest import Decoded, Encoding, Outcome, Payload, Receipt, Signal
from sagascope_collector.otlp import otlpjson
from sagascope_collector.otlp.columnar import Requests
from sagascope_collector.otlp.columns import Origins
from sagascope_collector.otlp.logs import Logs
from sagascope_collector.otlp.observations import Observations
from sagascope_collector.otlp.spans import INVALID_IDS, Spans, links_table
from sagascope_collector.scrubbing import Scrubber
from sagascope_collector.storage import Batch

_REQUESTS: Final[dict[Signal, Any]] = {Signal.TRACES: ExportTraceServiceRequest, Signal.LOGS: ExportLogsServiceRequest}


def decode(
    payloads: Sequence[Payload], scrubber: Scrubber | None = None, attribute_mapping: AttributeMapping = BUILT_IN
) -> Decoded:
    """Decode requests together. One that is no OTLP is answered `Undecodable`, and adds nothing to the batch.

    What `scrubber` takes out is gone before anything else reads a request. `attribute_mapping` maps records
    without ``saga.*`` attributes to sagas.
    """
    observations, origins = Observations(), Origins()
    quick, spans, logs = (
        Requests(observations, origins),
        Spans(observations, origins, attribute_mapping),
        Logs(observations, origins, attribute_mapping),
    )
    outcomes: dict[int, Outcome] = {
        number: _receipt(Counter({INVALID_IDS: rejected}), "span")
        for number, rejected in quick.read(dict(_plain(payloads, scrubber, attribute_mapping))).items()
    }
    for number, payload in enumerate(payloads):
        if number not in outcomes:
            outcomes[number] = _decode(payload, spans, logs, scrubber)
    batch = Batch(
        spans=_joined([*quick.spans, spans.table()]),
        logs=_joined([*quick.logs, logs.table()]),
        links=links_table([*quick.links, *spans.links]),
        origins=origins.table(),
        observations=observations.all(),
    )
    return Decoded(batch, [outcomes[number] for number in range(len(payloads))])


def _joined(tables: Sequence[pa.Table]) -> pa.Table:
    """One table of all; the last may be empty."""
    return pa.concat_tables([each for each in tables if each.num_rows] or tables[-1:])


def parse(body: bytes, encoding: Encoding, request: Any) -> Any:
    """Read one message of the type `request`.

    Raises:
        Undecodable: the bytes are no such message.
    """
    if encoding is Encoding.JSON:
        return otlpjson.parse(body, request)
    try:
        return request.FromString(body)
    except DecodeError as error:
        raise Undecodable(f"This is no OTLP in protobuf: {error}.") from error


def _plain(
    payloads: Sequence[Payload], scrubber: Scrubber | None, attribute_mapping: AttributeMapping
) -> Iterator[tuple[int, Payload]]:
    """Requests, by number, of which nothing is to be taken out, and in which nothing of others stands."""
    may_be_mapped = attribute_mapping.prefilter([each.body for each in payloads])
    for number, payload in enumerate(payloads):
        if payload.encoding is not Encoding.PROTOBUF or may_be_mapped[number]:
            continue
        if not (scrubber and scrubber.may_change(payload.body)):
            yield number, payload


def _decode(payload: Payload, spans: Spans, logs: Logs, scrubber: Scrubber | None) -> Outcome:
    try:
        request = parse(payload.body, payload.encoding, _REQUESTS[payload.signal])
    except Undecodable as error:
        return error
    if scrubber:
        scrubber.scrub(request, payload.body if payload.encoding is Encoding.PROTOBUF else None)
    if payload.signal is Signal.LOGS:
        return _receipt(logs.add(request, payload.received_at), "log record")
    return _receipt(spans.add(request, payload.received_at), "span")


def _receipt(rejected: Counter[str], kind: str) -> Receipt:
    reasons = [
        f"{number} {kind}{' was' if number == 1 else 's were'} rejected: {reason}."
        for reason, number in rejected.items()
        if number
    ]
    return Receipt(rejected.total(), " ".join(reasons))
