"""The two ways of reading protobuf, by columns and record by record, made comparable."""

from collections.abc import Sequence
from typing import Any

import pyarrow as pa
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from sagascope_collector.ingest import Payload, Signal
from sagascope_collector.otlp.columns import Origins
from sagascope_collector.otlp.decode import ColumnarRequests
from sagascope_collector.otlp.logs import Logs
from sagascope_collector.otlp.origins import Observations
from sagascope_collector.otlp.spans import Spans

REQUESTS = {Signal.TRACES: ExportTraceServiceRequest, Signal.LOGS: ExportLogsServiceRequest}


def fast(payloads: Sequence[Payload]) -> tuple[dict[str, Any], dict[int, int]]:
    """What was read by columns, and how many records of which request were rejected."""
    observations, origins = Observations(), Origins()
    reading = ColumnarRequests(observations, origins, min_bytes=0)
    rejected = reading.read(dict(enumerate(payloads)))
    return _stored(reading.spans, reading.logs, reading.links, origins, observations), rejected


def exact(payloads: Sequence[Payload]) -> tuple[dict[str, Any], list[int]]:
    """The same, record by record; raises `DecodeError`."""
    observations, origins = Observations(), Origins()
    spans, logs = Spans(observations, origins), Logs(observations, origins)
    rejected = []
    for each in payloads:
        request = REQUESTS[each.signal].FromString(each.body)
        if each.signal is Signal.TRACES:
            rejected.append(spans.add(request, each.received_at).total())
        else:
            rejected.append(logs.add(request, each.received_at).total())
    return _stored([spans.table()], [logs.table()], spans.links, origins, observations), rejected


def _stored(
    spans: list[pa.Table], logs: list[pa.Table], links: list[Any], origins: Origins, observations: Observations
) -> dict[str, Any]:
    under = origins.table().to_pylist()
    rows = {
        name: [row | {"origin": under[row["origin"]]} for table in tables for row in table.to_pylist()]
        for name, tables in (("spans", spans), ("logs", logs))
    }
    return rows | {"links": links, "processes": {each.process: each for each in observations.all()}}
