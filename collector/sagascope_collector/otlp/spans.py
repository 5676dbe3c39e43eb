"""Spans of OTLP to columns. Pure."""

from collections.abc import Sequence
from typing import Any, Final

import orjson
import pyarrow as pa
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from sagascope_collector.otlp import anyvalue, marks, origins
from sagascope_collector.otlp.columns import Origin, Origins, Rows, mark_columns, table
from sagascope_collector.otlp.sightings import Sightings
from sagascope_collector.records import Mark
from sagascope_collector.store import schema

OPEN, FINAL = b"\x00", b"\x01"
"""The last byte of a span's key."""

KINDS: Final = ("unspecified", "internal", "server", "client", "producer", "consumer")
STATUSES: Final = ("unset", "ok", "error")

TRACE_ID_BYTES, SPAN_ID_BYTES = 16, 8


def valid_id(id_: bytes, length: int) -> bytes:
    """The id, or nothing where it has another length or is all zero."""
    return id_ if len(id_) == length and any(id_) else b""


class Spans:
    """The spans of many requests, growing."""

    def __init__(self, sightings: Sightings, origins: Origins) -> None:
        self._sightings = sightings
        self._rows = Rows(schema.SPAN, origins)
        self._links: list[tuple[Any, ...]] = []

    def add(self, request: ExportTraceServiceRequest, received_at: int) -> int:
        """Add a request's spans; how many had to be rejected."""
        rejected = 0
        for of_resource in request.resource_spans:
            resource = origins.resource(of_resource.resource, of_resource.schema_url)
            for of_scope in of_resource.scope_spans:
                scope = origins.scope(of_scope.scope, of_scope.schema_url)
                origin = Origin(resource.process, resource.text, scope)
                self._rows.under(origin, received_at)
                rejected += sum(not self._add(span, origin, received_at) for span in of_scope.spans)
        return rejected

    def table(self) -> pa.Table:
        """All spans, as `schema.SPANS`."""
        return self._rows.table()

    def links(self) -> pa.Table:
        """All links that name a saga, as `schema.LINKS`."""
        return table(((each.name, each.type) for each in schema.LINKS), self._links)

    def _add(self, span: Span, origin: Origin, received_at: int) -> bool:
        trace_id, span_id = valid_id(span.trace_id, TRACE_ID_BYTES), valid_id(span.span_id, SPAN_ID_BYTES)
        if not (trace_id and span_id):
            return False
        start, end = span.start_time_unix_nano, span.end_time_unix_nano
        key = trace_id + span_id + (FINAL if end else OPEN)
        place = self._rows.attributes.add(span.attributes)
        own = (
            key,
            trace_id,
            span_id,
            valid_id(span.parent_span_id, SPAN_ID_BYTES),
            span.name,
            _named(KINDS, span.kind),
            start,
            end,
            _named(STATUSES, span.status.code),
            span.status.message,
            span.trace_state,
            span.flags,
            span.dropped_attributes_count,
            span.dropped_events_count,
            span.dropped_links_count,
            _events(span) if span.events else "",
            self._linked(key, span, origin, place) if span.links else "",
        )
        self._rows.add(own, place)
        self._sightings.see(origin.process, start, end or start, received_at)
        return True

    def _linked(self, key: bytes, span: Span, origin: Origin, place: Mark) -> str:
        """Note the sagas that a span's links name; the links in their stored form."""
        for number, link in enumerate(span.links):
            other = marks.linked(anyvalue.plain(link.attributes), place) if link.attributes else marks.UNMARKED
            if other.id:
                self._links.append(
                    (
                        key + number.to_bytes(4, "big"),
                        span.trace_id,
                        span.span_id,
                        origin.process.environment,
                        *mark_columns(other),
                    )
                )
        return _links(span)


def _events(span: Span) -> str:
    return orjson.dumps(
        [
            (each.name, each.time_unix_nano, anyvalue.spelt(each.attributes), each.dropped_attributes_count)
            for each in span.events
        ]
    ).decode()


def _links(span: Span) -> str:
    return orjson.dumps(
        [
            (
                each.trace_id.hex(),
                each.span_id.hex(),
                anyvalue.spelt(each.attributes),
                each.trace_state,
                each.flags,
                each.dropped_attributes_count,
            )
            for each in span.links
        ]
    ).decode()


def _named(names: Sequence[str], number: int) -> str:
    """An enum's value by name; one that OTLP does not know yet, as its number."""
    return names[number] if 0 <= number < len(names) else str(number)
