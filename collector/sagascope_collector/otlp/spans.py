"""Spans of OTLP to columns. Pure."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

import orjson
import pyarrow as pa
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from sagascope_collector.engines import BUILT_IN, AttributeMapping
from sagascope_collector.otlp import anyvalue, limits, marks, origins
from sagascope_collector.otlp.columns import Origin, Origins, Rows, mark_columns, table
from sagascope_collector.otlp.observations import Observations
from sagascope_collector.records import Mark
from sagascope_collector.storage import schema

KINDS: Final = ("unspecified", "internal", "server", "client", "producer", "consumer")
STATUSES: Final = ("unset", "ok", "error")

TRACE_ID_BYTES, SPAN_ID_BYTES = 16, 8

INVALID_IDS: Final = "a trace id has 16 bytes and a span id 8, not all of them zero"


def valid_id(id_: bytes, length: int) -> bytes:
    """The id, or nothing where it has another length or is all zero."""
    return id_ if len(id_) == length and any(id_) else b""


class Spans:
    """The spans of many requests, growing."""

    def __init__(
        self, observations: Observations, origins: Origins, attribute_mapping: AttributeMapping = BUILT_IN
    ) -> None:
        self._observations = observations
        self._rows = Rows(schema.SPAN, origins, attribute_mapping)
        self.links: list[tuple[Any, ...]] = []
        """Rows of `schema.LINKS`, for links that name a saga."""

    def add(self, request: ExportTraceServiceRequest, received_at: int) -> Counter[str]:
        """Adds a request's spans; returns how many were rejected, by reason."""
        rejected: Counter[str] = Counter()
        for of_resource in request.resource_spans:
            resource = origins.resource(of_resource.resource, of_resource.schema_url)
            for of_scope in of_resource.scope_spans:
                scope = origins.scope(of_scope.scope, of_scope.schema_url)
                origin = Origin(resource.process, resource.text, scope)
                self._rows.under(origin, received_at, of_scope.scope.name)
                rejected.update(filter(None, (self._add(span, origin, received_at) for span in of_scope.spans)))
        return rejected

    def table(self) -> pa.Table:
        """All spans, as `schema.SPANS`."""
        return self._rows.table()

    def _add(self, span: Span, origin: Origin, received_at: int) -> str:
        """Adds a span; returns why it is rejected, "" if it is not."""
        trace_id, span_id = valid_id(span.trace_id, TRACE_ID_BYTES), valid_id(span.span_id, SPAN_ID_BYTES)
        if not (trace_id and span_id):
            return INVALID_IDS
        start, end = span.start_time_unix_nano, span.end_time_unix_nano
        place = self._rows.attributes.place_of(span.attributes, span.name)
        if limits.is_too_long(place, origin.process, span.attributes):
            return limits.TOO_LONG
        self._rows.attributes.add(span.attributes, place)
        own = (
            trace_id,
            span_id,
            valid_id(span.parent_span_id, SPAN_ID_BYTES),
            limits.cut_text(span.name),
            named(KINDS, span.kind),
            start,
            end,
            named(STATUSES, span.status.code),
            span.status.message,
            span.trace_state,
            span.flags,
            span.dropped_attributes_count,
            span.dropped_events_count,
            span.dropped_links_count,
            events_text(span.events),
            links_text(span.links),
        )
        self.links += links_to_sagas((trace_id, span_id), span.links, origin.process.environment, place)
        self._rows.add(own, place)
        self._observations.see(origin.process, start, end or start, received_at)
        return ""


_LINK: Final = tuple((each.name, each.type) for each in schema.LINKS)


def links_table(rows: Sequence[tuple[Any, ...]]) -> pa.Table:
    """Rows of `links_to_sagas` as `schema.LINKS`."""
    return table(_LINK, rows)


def links_to_sagas(
    ids: tuple[bytes, bytes], links: Iterable[Span.Link], environment: str, own: Mark
) -> Iterator[tuple[Any, ...]]:
    """Returns a row of `schema.LINKS` for each link that names a saga; `ids` and `own` are its span's."""
    for link in links:
        other = marks.linked(anyvalue.plain(link.attributes), own) if link.attributes else marks.UNMARKED
        if other.id:
            yield *ids, environment, *mark_columns(other)


def events_text(events: Sequence[Span.Event]) -> str:
    """The stored form of a span's events."""
    if not events:
        return ""
    return orjson.dumps(
        [
            (each.name, each.time_unix_nano, anyvalue.encoded_pairs(each.attributes), each.dropped_attributes_count)
            for each in events
        ]
    ).decode()


def links_text(links: Sequence[Span.Link]) -> str:
    """The stored form of a span's links."""
    if not links:
        return ""
    return orjson.dumps(
        [
            (
                each.trace_id.hex(),
                each.span_id.hex(),
                anyvalue.encoded_pairs(each.attributes),
                each.trace_state,
                each.flags,
                each.dropped_attributes_count,
            )
            for each in links
        ]
    ).decode()


def named(names: Sequence[str], number: int) -> str:
    """An enum's value by name; one that OTLP does not know yet, as its number."""
    return names[number] if 0 <= number < len(names) else str(number)
