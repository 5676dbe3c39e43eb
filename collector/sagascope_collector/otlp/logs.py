"""Log records of OTLP to columns. Pure."""

from collections import Counter
from typing import Final

import pyarrow as pa
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord

from sagascope import semconv
from sagascope_collector.engines import BUILT_IN, AttributeMapping, Partial
from sagascope_collector.otlp import anyvalue, limits, origins
from sagascope_collector.otlp.columns import Origin, Origins, Rows
from sagascope_collector.otlp.heartbeats import beat, promise
from sagascope_collector.otlp.observations import Observations
from sagascope_collector.otlp.partials import read_partial
from sagascope_collector.otlp.spans import SPAN_ID_BYTES, TRACE_ID_BYTES, valid_id
from sagascope_collector.records import Mark
from sagascope_collector.storage import schema

EVENT_NAME: Final = "event.name"
"""Where older SDKs put what is a field now."""


class Logs:
    """The log records of many requests, growing."""

    def __init__(
        self, observations: Observations, origins: Origins, attribute_mapping: AttributeMapping = BUILT_IN
    ) -> None:
        self._observations = observations
        self._rows = Rows(schema.LOG, origins, attribute_mapping)

    def add(self, request: ExportLogsServiceRequest, received_at: int) -> Counter[str]:
        """Adds a request's log records; returns how many were rejected, by reason."""
        rejected: Counter[str] = Counter()
        for of_resource in request.resource_logs:
            resource = origins.resource(of_resource.resource, of_resource.schema_url)
            for of_scope in of_resource.scope_logs:
                scope = origins.scope(of_scope.scope, of_scope.schema_url)
                origin = Origin(resource.process, resource.text, scope)
                self._rows.under(origin, received_at, of_scope.scope.name)
                for record in of_scope.log_records:
                    rejected.update(filter(None, (self._add(record, origin, received_at),)))
        return rejected

    def table(self) -> pa.Table:
        """All log records, as `schema.LOGS`."""
        return self._rows.table()

    def _add(self, record: LogRecord, origin: Origin, received_at: int) -> str:
        """Adds a log record; returns why it is rejected, "" if it is not."""
        at = record.time_unix_nano or record.observed_time_unix_nano or received_at
        event_name = record.event_name or _event_name(record)
        partial = read_partial(record)
        place = self._placed(partial) if partial else None
        place = place or self._rows.attributes.place_of(record.attributes)
        if limits.is_too_long(place, origin.process, record.attributes):
            return limits.TOO_LONG
        self._rows.attributes.add(record.attributes, place=place)
        own = (
            at,
            record.time_unix_nano,
            record.observed_time_unix_nano,
            record.severity_number,
            record.severity_text,
            anyvalue.text(limits.cut(record.body, limits.MAX_BODY_BYTES)),
            event_name,
            valid_id(record.trace_id, TRACE_ID_BYTES),
            valid_id(record.span_id, SPAN_ID_BYTES),
            record.flags,
            record.dropped_attributes_count,
        )
        self._rows.add(own, place)
        self._observations.see(origin.process, at, at, received_at)
        if event_name == semconv.EVENT_HEARTBEAT:
            said = anyvalue.plain(record.attributes)
            self._observations.add_heartbeat(origin.process, beat(said, min(at, received_at)))
        elif partial and partial.interval and not partial.is_stop:
            self._observations.add_heartbeat(origin.process, promise(partial.interval, min(at, received_at)))
        return ""

    def _placed(self, partial: Partial) -> Mark | None:
        """Where the span in the body of a record of otel-partial belongs; None: it does not say it."""
        placed = self._rows.attributes.place(partial.attributes, partial.name)
        return placed if placed.id else None


def _event_name(record: LogRecord) -> str:
    return next((each.value.string_value for each in record.attributes if each.key == EVENT_NAME), "")
