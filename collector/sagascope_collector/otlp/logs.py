"""Converts log records of OTLP to columns: one by one (`Logs`), or many requests at a time (`read_logs`). Pure."""

from collections import Counter
from collections.abc import Sequence
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord

from sagascope import semconv
from sagascope_collector.engines import BUILT_IN, PARTIAL_EVENT, AttributeMapping, Partial, is_partial, parse_partial
from sagascope_collector.otlp import anyvalue, limits, origins, protobuf_columns
from sagascope_collector.otlp.anyvalue import single_values
from sagascope_collector.otlp.columns import NestedAttributes, Origin, Origins, Rows
from sagascope_collector.otlp.origins import (
    Observations,
    observe,
    partial_heartbeat,
    read_heartbeat,
    read_origins,
    receipt_columns,
)
from sagascope_collector.otlp.protobuf_columns import Integers, NestedRecords, decline, sizes, unnest
from sagascope_collector.otlp.spans import SPAN_ID_BYTES, TRACE_ID_BYTES, usable_ids, valid_id
from sagascope_collector.records import Mark
from sagascope_collector.storage import schema


def read_partial(record: LogRecord) -> Partial | None:
    """Returns the open span that a record of otel-partial carries; None for another record."""
    if not any(each.key == PARTIAL_EVENT for each in record.attributes):
        return None
    attributes = anyvalue.as_dict(record.attributes)
    return parse_partial(attributes, anyvalue.read(record.body)) if is_partial(attributes) else None


EVENT_NAME: Final = "event.name"
"""The attribute in which older SDKs send the event name, which is a field now."""


class Logs:
    """Collects the log records of many requests."""

    def __init__(
        self, observations: Observations, origins: Origins, attribute_mapping: AttributeMapping = BUILT_IN
    ) -> None:
        self._observations = observations
        self._rows = Rows(schema.LOG, origins, attribute_mapping)

    def add(self, request: ExportLogsServiceRequest, received_at: int) -> Counter[str]:
        """Adds a request's log records; returns how many were rejected, by reason."""
        rejected: Counter[str] = Counter()
        for origin, scope in origins.by_scope(request.resource_logs, "scope_logs"):
            self._rows.set_origin(origin, received_at, scope.scope.name)
            rejected.update(filter(None, (self._add(record, origin, received_at) for record in scope.log_records)))
        return rejected

    def table(self) -> pa.Table:
        """Returns all log records as `schema.LOGS`."""
        return self._rows.table()

    def _add(self, record: LogRecord, origin: Origin, received_at: int) -> str:
        """Adds a log record; returns why it is rejected, "" if it is not."""
        limits.trim(record)
        at = record.time_unix_nano or record.observed_time_unix_nano or received_at
        event_name = record.event_name or next(
            (each.value.string_value for each in record.attributes if each.key == EVENT_NAME), ""
        )
        partial = read_partial(record)
        mark = self._mark_of_partial(partial) if partial else None
        mark = mark or self._rows.attributes.mark_of(record.attributes)
        if limits.is_too_long(mark, origin.process, record.attributes):
            return limits.TOO_LONG
        self._rows.attributes.add(record.attributes, mark=mark)
        own = (
            at,
            record.time_unix_nano,
            record.observed_time_unix_nano,
            record.severity_number,
            record.severity_text,
            anyvalue.text(limits.cut(record.body, limits.MAX_LOG_BODY_BYTES)),
            event_name,
            valid_id(record.trace_id, TRACE_ID_BYTES),
            valid_id(record.span_id, SPAN_ID_BYTES),
            record.flags,
            record.dropped_attributes_count,
        )
        self._rows.add(own, mark)
        self._observations.see(origin.process, at, at, received_at)
        if event_name == semconv.EVENT_HEARTBEAT:
            attributes = anyvalue.as_dict(record.attributes)
            self._observations.add_heartbeat(origin.process, read_heartbeat(attributes, at, received_at))
        elif partial and partial.interval and not partial.is_stop:
            self._observations.add_heartbeat(origin.process, partial_heartbeat(partial.interval, at, received_at))
        return ""

    def _mark_of_partial(self, partial: Partial) -> Mark | None:
        """Returns the saga of the span in the body of a record of otel-partial; None if it names none."""
        mark = self._rows.attributes.mark(partial.attributes, partial.name)
        return mark if mark.id else None


def read_logs(
    bodies: Sequence[bytes], received_at: Sequence[int], origins: Origins, observations: Observations
) -> pa.Table:
    """Reads requests of log records by columns, as `schema.LOGS`.

    Raises:
        Declined: some of them cannot be read here; nothing of the others was noted either.
    """
    nested = unnest(protobuf_columns.LOGS, bodies)
    decline(sizes(nested.records.field("attributes")) > limits.MAX_ITEMS_PER_LIST, nested.request)
    attributes = NestedAttributes(nested)
    scopes = read_origins(nested, received_at, origins)
    at = _record_times(nested, scopes.received_at)
    columns = [pa.array(at), *_log_columns(nested, attributes), *attributes.columns(), *receipt_columns(nested, scopes)]
    table = pa.Table.from_arrays(columns, schema=schema.LOGS)
    decline(limits.exceeding(table), nested.request)
    observe(nested, scopes, at, at, observations)
    return table


def _record_times(nested: NestedRecords, received_at: Integers) -> Integers:
    timestamp, observed = (nested.records.field(name).to_numpy() for name in ("timestamp", "observed_at"))
    received = received_at[nested.request].astype(np.uint64)
    at: Integers = np.where(timestamp != 0, timestamp, np.where(observed != 0, observed, received))
    return at


def _log_columns(nested: NestedRecords, attributes: NestedAttributes) -> list[pa.Array]:
    """Returns the columns of `schema.LOG` after its time."""
    field = nested.records.field
    return [
        field("timestamp"),
        field("observed_at"),
        field("severity"),
        field("severity_text"),
        single_values(field("body"), nested.request).texts(np.arange(len(nested.records))),
        _event_names(field("event_name"), attributes),
        usable_ids(field("trace_id"), TRACE_ID_BYTES),
        usable_ids(field("span_id"), SPAN_ID_BYTES),
        field("flags"),
        field("dropped_attributes"),
    ]


def _event_names(names: pa.StringArray, attributes: NestedAttributes) -> pa.StringArray:
    """Returns the event names from the field, else from the attribute that older SDKs use."""
    if EVENT_NAME not in attributes.names:
        return names
    older = attributes.first_strings(EVENT_NAME)
    missing = np.flatnonzero(pc.equal(names, "").to_numpy(zero_copy_only=False)).tolist()
    found = names.to_pylist()
    for position in missing:
        found[position] = older.get(position, "")
    return pa.array(found, pa.string())
