"""Spans of OTLP to columns, many requests at a time. Pure."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from google.protobuf.message import DecodeError
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from sagascope_collector.otlp import limits
from sagascope_collector.otlp.columnar import protobuf_schema
from sagascope_collector.otlp.columnar.attributes import Attributes
from sagascope_collector.otlp.columnar.declined import Bools, Declined, Integers, decline
from sagascope_collector.otlp.columnar.nesting import NestedRecords, sizes, unnest
from sagascope_collector.otlp.columnar.scopes import observe, receipts, senders
from sagascope_collector.otlp.columnar.texts import are_shallow, offsets
from sagascope_collector.otlp.columns import Origins
from sagascope_collector.otlp.observations import Observations
from sagascope_collector.otlp.spans import (
    KINDS,
    SPAN_ID_BYTES,
    STATUSES,
    TRACE_ID_BYTES,
    events_text,
    links_text,
    links_to_sagas,
    named,
)
from sagascope_collector.records import Mark
from sagascope_collector.storage import schema


class ReadSpans(NamedTuple):
    """What requests held."""

    spans: pa.Table
    links: list[tuple[Any, ...]]
    """Rows of `schema.LINKS`."""
    rejected: list[int]
    """Spans of each request that are no spans."""


def read_spans(
    bodies: Sequence[bytes], received_at: Sequence[int], origins: Origins, observations: Observations
) -> ReadSpans:
    """Read trace requests.

    Raises:
        Declined: some of them cannot be read here; nothing of the others was noted either.
    """
    nested = unnest(protobuf_schema.TRACES, bodies)
    valid = valid_ids(nested.records.field("trace_id"), TRACE_ID_BYTES)
    valid &= valid_ids(nested.records.field("span_id"), SPAN_ID_BYTES)
    rejected = np.bincount(nested.request[~valid], minlength=len(bodies)).tolist()
    if not valid.all():
        nested = nested.only(valid)
    attributes = Attributes(nested).columns()
    of = senders(nested, received_at, origins)
    own = _own(nested)
    table = pa.Table.from_arrays([*own, *attributes.arrays(), *receipts(nested, of)], schema=schema.SPANS)
    decline(limits.exceeding(table), nested.request)
    links = list(_links(table, nested.records.field("links"), origins.table()))
    start, end = (nested.records.field(name).to_numpy() for name in ("start", "end"))
    observe(nested, of, start, np.where(end == 0, start, end), observations)
    return ReadSpans(table, links, rejected)


def valid_ids(ids: pa.BinaryArray, size: int) -> Bools:
    """Which of them have this many bytes, and are not all zero."""
    sized = np.diff(offsets(ids)) == size if len(ids) else np.empty(0, np.bool_)
    said: Bools = sized & pc.not_equal(ids, bytes(size)).to_numpy(zero_copy_only=False)
    return said


def usable_ids(ids: pa.BinaryArray, size: int) -> pa.BinaryArray:
    """The ids, those that are not valid as ``b""``."""
    valid = valid_ids(ids, size)
    return ids if valid.all() else pc.if_else(pa.array(valid), ids, pa.scalar(b"", pa.binary()))


def _own(nested: NestedRecords) -> list[pa.Array]:
    """The columns of `schema.SPAN`."""
    field = nested.records.field
    code, message = _statuses(field("status"), nested.request)
    return [
        field("trace_id"),
        field("span_id"),
        usable_ids(field("parent_id"), SPAN_ID_BYTES),
        field("name"),
        _named(KINDS, field("kind").to_numpy()),
        field("start"),
        field("end"),
        _named(STATUSES, code),
        message,
        *(field(name) for name in ("trace_state", "flags", "dropped_attributes", "dropped_events", "dropped_links")),
        _texts(field("events"), Span.Event, events_text, nested.request),
        _texts(field("links"), Span.Link, links_text, nested.request),
    ]


def _statuses(lists: pa.ListArray, request: Integers) -> tuple[Integers, pa.StringArray]:
    """Code and message of each span; a span needs no status."""
    count = sizes(lists)
    decline(count > 1, request)
    said = lists.values
    if len(said) == len(lists):
        return said.field("code").to_numpy(), said.field("message")
    place = pa.array(np.cumsum(count) - 1, mask=count == 0)
    code = pc.fill_null(said.field("code").take(place), 0).to_numpy()
    return code, pc.fill_null(said.field("message").take(place), "")


def _named(names: Sequence[str], numbers: Integers) -> pa.StringArray:
    if not len(numbers) or (numbers.min() >= 0 and numbers.max() < len(names)):
        return pa.array(names, pa.string()).take(pa.array(numbers))
    return pa.array([named(names, number) for number in numbers.tolist()], pa.string())


def _texts(lists: pa.ListArray, message: Any, write: Callable[[Sequence[Any]], str], request: Integers) -> pa.Array:
    """The stored form of each span's events or links, most of which have none."""
    texts = [""] * len(lists)
    for place in np.flatnonzero(sizes(lists)).tolist():
        texts[place] = write(_messages(lists, place, message, request))
    return pa.array(texts, pa.string())


def _messages(lists: pa.ListArray, place: int, message: Any, request: Integers) -> list[Any]:
    try:
        read = [message.FromString(raw) for raw in lists[place].as_py()]
    except DecodeError:
        raise Declined([request[place]]) from None
    if not all(are_shallow(each.attributes) for each in read):
        raise Declined([request[place]])
    return read


_MARK: Final = [name for name, _ in schema.MARK]


def _links(table: pa.Table, lists: pa.ListArray, origins: pa.Table) -> Iterator[tuple[Any, ...]]:
    """Rows for links that name a saga; the links were read before."""
    for place in np.flatnonzero(sizes(lists)).tolist():
        links = [Span.Link.FromString(raw) for raw in lists[place].as_py()]
        own = Mark(*(table.column(name)[place].as_py() for name in _MARK))
        environment = origins.column("environment")[table.column("origin")[place].as_py()].as_py()
        ids = tuple(table.column(name)[place].as_py() for name in ("trace_id", "span_id"))
        yield from links_to_sagas(ids, links, environment, own)
