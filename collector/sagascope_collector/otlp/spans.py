"""Converts spans of OTLP to columns: record by record (`Spans`), or many requests at a time (`read_spans`). Pure."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from sagascope_collector.engines import BUILT_IN, AttributeMapping
from sagascope_collector.otlp import anyvalue, limits, origins, protobuf_columns
from sagascope_collector.otlp.anyvalue import are_shallow, offsets
from sagascope_collector.otlp.columns import NestedAttributes, Origin, Origins, Rows, mark_columns, table
from sagascope_collector.otlp.origins import Observations, observe, read_origins, receipt_columns
from sagascope_collector.otlp.protobuf_columns import Bools, Declined, Integers, NestedRecords, decline, sizes, unnest
from sagascope_collector.records import UNMARKED, Mark, mark_of_link
from sagascope_collector.storage import schema

KINDS: Final = ("unspecified", "internal", "server", "client", "producer", "consumer")
STATUSES: Final = ("unset", "ok", "error")

TRACE_ID_BYTES, SPAN_ID_BYTES = 16, 8

INVALID_IDS: Final = "a trace id has 16 bytes and a span id 8, not all of them zero"


def valid_id(id_: bytes, length: int) -> bytes:
    """Returns the id, or ``b""`` if it has another length or is all zero."""
    return id_ if len(id_) == length and any(id_) else b""


class Spans:
    """Collects the spans of many requests."""

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
        for origin, scope in origins.by_scope(request.resource_spans, "scope_spans"):
            self._rows.set_origin(origin, received_at, scope.scope.name)
            rejected.update(filter(None, (self._add(span, origin, received_at) for span in scope.spans)))
        return rejected

    def table(self) -> pa.Table:
        """Returns all spans as `schema.SPANS`."""
        return self._rows.table()

    def _add(self, span: Span, origin: Origin, received_at: int) -> str:
        """Adds a span; returns why it is rejected, "" if it is not."""
        trace_id, span_id = valid_id(span.trace_id, TRACE_ID_BYTES), valid_id(span.span_id, SPAN_ID_BYTES)
        if not (trace_id and span_id):
            return INVALID_IDS
        limits.trim(span)
        start, end = span.start_time_unix_nano, span.end_time_unix_nano
        mark = self._rows.attributes.mark_of(span.attributes, span.name, enum_name(KINDS, span.kind))
        if limits.is_too_long(mark, origin.process, span.attributes):
            return limits.TOO_LONG
        self._rows.attributes.add(span.attributes, mark)
        own = (
            trace_id,
            span_id,
            valid_id(span.parent_span_id, SPAN_ID_BYTES),
            limits.cut_text(span.name),
            enum_name(KINDS, span.kind),
            start,
            end,
            enum_name(STATUSES, span.status.code),
            span.status.message,
            span.trace_state,
            span.flags,
            span.dropped_attributes_count,
            span.dropped_events_count,
            span.dropped_links_count,
            events_text(span.events),
            links_text(span.links),
        )
        self.links += links_to_sagas((trace_id, span_id), span.links, origin.process.environment, mark)
        self._rows.add(own, mark)
        self._observations.see(origin.process, start, end or start, received_at)
        return ""


_LINK: Final = tuple((each.name, each.type) for each in schema.LINKS)


def links_table(rows: Sequence[tuple[Any, ...]]) -> pa.Table:
    """Returns rows of `links_to_sagas` as `schema.LINKS`."""
    return table(_LINK, rows)


def links_to_sagas(
    ids: tuple[bytes, bytes], links: Iterable[Span.Link], environment: str, own: Mark
) -> Iterator[tuple[Any, ...]]:
    """Returns a row of `schema.LINKS` for each link that names a saga; `ids` and `own` are its span's."""
    for link in links:
        other = mark_of_link(anyvalue.as_dict(link.attributes), own) if link.attributes else UNMARKED
        if other.id:
            yield *ids, environment, *mark_columns(other)


def events_text(events: Sequence[Span.Event]) -> str:
    """Returns the stored form of a span's events."""
    if not events:
        return ""
    return orjson.dumps(
        [
            (each.name, each.time_unix_nano, anyvalue.encoded_pairs(each.attributes), each.dropped_attributes_count)
            for each in events
        ]
    ).decode()


def links_text(links: Sequence[Span.Link]) -> str:
    """Returns the stored form of a span's links."""
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


def enum_name(names: Sequence[str], number: int) -> str:
    """Returns the name of an enum's value; a value that OTLP does not know yet, as its number."""
    return names[number] if 0 <= number < len(names) else str(number)


class ReadSpans(NamedTuple):
    """The spans of requests."""

    spans: pa.Table
    links: list[tuple[Any, ...]]
    """Rows of `schema.LINKS`."""
    rejected: list[int]
    """The number of rejected spans of each request."""


def read_spans(
    bodies: Sequence[bytes], received_at: Sequence[int], origins: Origins, observations: Observations
) -> ReadSpans:
    """Reads trace requests by columns.

    Raises:
        Declined: some of them cannot be read here; nothing of the others was noted either.
    """
    nested = unnest(protobuf_columns.TRACES, bodies)
    valid = valid_ids(nested.records.field("trace_id"), TRACE_ID_BYTES)
    valid &= valid_ids(nested.records.field("span_id"), SPAN_ID_BYTES)
    rejected = np.bincount(nested.request[~valid], minlength=len(bodies)).tolist()
    if not valid.all():
        nested = nested.only(valid)
    for name in limits.RECORD_LISTS:  # read record by record, the excess is cut
        decline(sizes(nested.records.field(name)) > limits.MAX_ITEMS_PER_LIST, nested.request)
    attributes = NestedAttributes(nested).columns()
    scopes = read_origins(nested, received_at, origins)
    own = _span_columns(nested)
    table = pa.Table.from_arrays([*own, *attributes, *receipt_columns(nested, scopes)], schema=schema.SPANS)
    decline(limits.exceeding(table), nested.request)
    links = list(_link_rows(table, nested.records.field("links"), origins.table()))
    start, end = (nested.records.field(name).to_numpy() for name in ("start", "end"))
    observe(nested, scopes, start, np.where(end == 0, start, end), observations)
    return ReadSpans(table, links, rejected)


def valid_ids(ids: pa.BinaryArray, size: int) -> Bools:
    """Returns which ids have this many bytes, and are not all zero."""
    sized = np.diff(offsets(ids)) == size if len(ids) else np.empty(0, np.bool_)
    valid: Bools = sized & pc.not_equal(ids, bytes(size)).to_numpy(zero_copy_only=False)
    return valid


def usable_ids(ids: pa.BinaryArray, size: int) -> pa.BinaryArray:
    """Returns the ids; an invalid one is ``b""``."""
    valid = valid_ids(ids, size)
    return ids if valid.all() else pc.if_else(pa.array(valid), ids, pa.scalar(b"", pa.binary()))


def _span_columns(nested: NestedRecords) -> list[pa.Array]:
    """Returns the columns of `schema.SPAN`."""
    field = nested.records.field
    code, message = _statuses(field("status"), nested.request)
    return [
        field("trace_id"),
        field("span_id"),
        usable_ids(field("parent_id"), SPAN_ID_BYTES),
        field("name"),
        _enum_names(KINDS, field("kind").to_numpy()),
        field("start"),
        field("end"),
        _enum_names(STATUSES, code),
        message,
        *(field(name) for name in ("trace_state", "flags", "dropped_attributes", "dropped_events", "dropped_links")),
        _texts(field("events"), Span.Event, events_text, nested.request),
        _texts(field("links"), Span.Link, links_text, nested.request),
    ]


def _statuses(lists: pa.ListArray, request: Integers) -> tuple[Integers, pa.StringArray]:
    """Returns the code and message of each span, which may have no status."""
    count = sizes(lists)
    decline(count > 1, request)
    statuses = lists.values
    if len(statuses) == len(lists):
        return statuses.field("code").to_numpy(), statuses.field("message")
    position = pa.array(np.cumsum(count) - 1, mask=count == 0)
    code = pc.fill_null(statuses.field("code").take(position), 0).to_numpy()
    return code, pc.fill_null(statuses.field("message").take(position), "")


def _enum_names(names: Sequence[str], numbers: Integers) -> pa.StringArray:
    if not len(numbers) or (numbers.min() >= 0 and numbers.max() < len(names)):
        return pa.array(names, pa.string()).take(pa.array(numbers))
    return pa.array([enum_name(names, number) for number in numbers.tolist()], pa.string())


def _texts(lists: pa.ListArray, message: Any, write: Callable[[Sequence[Any]], str], request: Integers) -> pa.Array:
    """Returns the stored form of each span's events or links; most spans have none."""
    texts = [""] * len(lists)
    for position in np.flatnonzero(sizes(lists)).tolist():
        texts[position] = write(_messages(lists, position, message, request))
    return pa.array(texts, pa.string())


def _messages(lists: pa.ListArray, position: int, message: Any, request: Integers) -> list[Any]:
    try:
        read = [message.FromString(raw) for raw in lists[position].as_py()]
    except DecodeError:
        raise Declined([request[position]]) from None
    if not all(are_shallow(each.attributes) for each in read):
        raise Declined([request[position]])
    return read


_MARK: Final = [name for name, _ in schema.MARK]


def _link_rows(table: pa.Table, lists: pa.ListArray, origins: pa.Table) -> Iterator[tuple[Any, ...]]:
    """Yields rows for links that name a saga; the links were read before."""
    for position in np.flatnonzero(sizes(lists)).tolist():
        links = [Span.Link.FromString(raw) for raw in lists[position].as_py()]
        own = Mark(*(table.column(name)[position].as_py() for name in _MARK))
        environment = origins.column("environment")[table.column("origin")[position].as_py()].as_py()
        ids = tuple(table.column(name)[position].as_py() for name in ("trace_id", "span_id"))
        yield from links_to_sagas(ids, links, environment, own)
