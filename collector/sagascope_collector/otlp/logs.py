"""Log records of OTLP to columns. Pure."""

from typing import Final

import pyarrow as pa
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord

from sagascope import semconv
from sagascope_collector.foreign import BUILT_IN, Forms, Partial
from sagascope_collector.otlp import anyvalue, origins
from sagascope_collector.otlp.columns import Origin, Origins, Rows
from sagascope_collector.otlp.digests import keyed
from sagascope_collector.otlp.heartbeats import beat, promise
from sagascope_collector.otlp.partials import read_partial
from sagascope_collector.otlp.sightings import Sightings
from sagascope_collector.otlp.spans import SPAN_ID_BYTES, TRACE_ID_BYTES, valid_id
from sagascope_collector.records import Mark
from sagascope_collector.store import schema

EVENT_NAME: Final = "event.name"
"""Where older SDKs put what is a field now."""


class Logs:
    """The log records of many requests, growing."""

    def __init__(self, sightings: Sightings, origins: Origins, forms: Forms = BUILT_IN) -> None:
        self._sightings = sightings
        self._origins = origins
        self._rows = Rows(schema.LOG[1:], origins, forms)

    def add(self, request: ExportLogsServiceRequest, received_at: int) -> None:
        """Add a request's log records; none is ever rejected."""
        for of_resource in request.resource_logs:
            resource = origins.resource(of_resource.resource, of_resource.schema_url)
            for of_scope in of_resource.scope_logs:
                scope = origins.scope(of_scope.scope, of_scope.schema_url)
                origin = Origin(resource.process, resource.text, scope)
                self._rows.under(origin, received_at, of_scope.scope.name)
                for record in of_scope.log_records:
                    self._add(record, origin, received_at)

    def table(self) -> pa.Table:
        """All log records, as `schema.LOGS`."""
        return keyed(self._rows.table(), self._origins)

    def _add(self, record: LogRecord, origin: Origin, received_at: int) -> None:
        at = record.time_unix_nano or record.observed_time_unix_nano or received_at
        event_name = record.event_name or _event_name(record)
        partial = read_partial(record)
        place = self._rows.attributes.add(record.attributes, place=self._placed(partial) if partial else None)
        own = (
            at,
            record.time_unix_nano,
            record.observed_time_unix_nano,
            record.severity_number,
            record.severity_text,
            anyvalue.text(record.body),
            event_name,
            valid_id(record.trace_id, TRACE_ID_BYTES),
            valid_id(record.span_id, SPAN_ID_BYTES),
            record.flags,
            record.dropped_attributes_count,
        )
        self._rows.add(own, place)
        self._sightings.see(origin.process, at, at, received_at)
        if event_name == semconv.EVENT_HEARTBEAT:
            said = anyvalue.plain(record.attributes)
            self._sightings.hear(origin.process, beat(said, min(at, received_at)))
        elif partial and partial.interval and not partial.is_stop:
            self._sightings.hear(origin.process, promise(partial.interval, min(at, received_at)))

    def _placed(self, partial: Partial) -> Mark | None:
        """Where the span in the body of a record of otel-partial belongs; None: it does not say it."""
        placed = self._rows.attributes.place(partial.attributes, partial.name)
        return placed if placed.id else None


def _event_name(record: LogRecord) -> str:
    return next((each.value.string_value for each in record.attributes if each.key == EVENT_NAME), "")
