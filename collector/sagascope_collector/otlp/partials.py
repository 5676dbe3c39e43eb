"""Finds otel-partial's records among log records. Pure."""

from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord

from sagascope_collector.engines import PARTIAL_EVENT, Partial, is_partial, parse_partial
from sagascope_collector.otlp import anyvalue


def read_partial(record: LogRecord) -> Partial | None:
    """What such a record says; None: it is another."""
    if not any(each.key == PARTIAL_EVENT for each in record.attributes):
        return None
    said = anyvalue.plain(record.attributes)
    return parse_partial(said, anyvalue.read(record.body)) if is_partial(said) else None
