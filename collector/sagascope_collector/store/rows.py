"""From stored columns to records. Pure."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from typing import Any

import orjson
import pyarrow as pa

from sagascope_collector.records import (
    Attributes,
    Entity,
    Event,
    Link,
    Log,
    Mark,
    Process,
    Resource,
    SagaId,
    Scope,
    Span,
)
from sagascope_collector.store import schema, values

Row = Mapping[str, Any]

_MARK = tuple(name for name, _ in schema.MARK)
_PROCESS = tuple(name for name, _ in schema.PROCESS)


def spans(table: pa.Table) -> Iterator[tuple[SagaId, Span]]:
    """The spans of a table of stored ones, each with the saga that it marks itself as part of."""
    resource, scope = cache(_resource), cache(_scope)
    for row in _records(table):
        yield SagaId(row["environment"], row["saga_id"]), _span(row, resource, scope)


def logs(table: pa.Table) -> Iterator[tuple[SagaId, Log]]:
    """The log records of a table of stored ones, each with its saga."""
    resource, scope = cache(_resource), cache(_scope)
    for row in _records(table):
        yield SagaId(row["environment"], row["saga_id"]), _log(row, resource, scope)


def mark(row: Row) -> Mark:
    """What a row says of its place in a saga."""
    return Mark(*(row[name] for name in _MARK))


def _records(table: pa.Table) -> Iterator[Row]:
    columns = {name: table.column(name).to_pylist() for name in table.column_names if name != "attributes"}
    columns["attributes"] = _attributes_of(table.column("attributes"))
    names = list(columns)
    for row in zip(*columns.values(), strict=True):
        yield dict(zip(names, row, strict=True))


def _attributes_of(column: pa.ChunkedArray) -> list[Attributes]:
    """Read all keys and values at once; one by one costs several times as much."""
    lists = column.combine_chunks() if column.num_chunks != 1 else column.chunk(0)
    pairs = lists.flatten()
    keys, texts = pairs.field("k").to_pylist(), map(values.decode, pairs.field("v").to_pylist())
    every = iter(list(zip(keys, texts, strict=True)))
    return [dict(next(every) for _ in range(length)) for length in lists.value_lengths().to_pylist()]


def _span(row: Row, resource: Callable[[str], Resource], scope: Callable[[str], Scope]) -> Span:
    return Span(
        trace_id=row["trace_id"].hex(),
        span_id=row["span_id"].hex(),
        parent_id=row["parent_id"].hex(),
        name=row["name"],
        kind=row["kind"],
        start=row["start"],
        end=row["end"],
        status=row["status"],
        status_message=row["status_message"],
        mark=mark(row),
        process=_process(row),
        attributes=row["attributes"],
        events=tuple(_event(each) for each in _listed(row["events"])),
        links=tuple(_link(each) for each in _listed(row["links"])),
        resource=resource(row["resource"]),
        scope=scope(row["scope"]),
        trace_state=row["trace_state"],
        flags=row["flags"],
        dropped_attributes=row["dropped_attributes"],
        dropped_events=row["dropped_events"],
        dropped_links=row["dropped_links"],
    )


def _log(row: Row, resource: Callable[[str], Resource], scope: Callable[[str], Scope]) -> Log:
    return Log(
        at=row["at"],
        observed_at=row["observed_at"],
        severity=row["severity"],
        severity_text=row["severity_text"],
        body=values.decode(row["body"]),
        event_name=row["event_name"],
        trace_id=row["trace_id"].hex(),
        span_id=row["span_id"].hex(),
        mark=mark(row),
        process=_process(row),
        attributes=row["attributes"],
        resource=resource(row["resource"]),
        scope=scope(row["scope"]),
        timestamp=row["timestamp"],
        flags=row["flags"],
        dropped_attributes=row["dropped_attributes"],
    )


def _process(row: Row) -> Process:
    return Process(*(row[name] for name in _PROCESS))


def _resource(text: str) -> Resource:
    attributes, dropped, schema_url, entities = orjson.loads(text)
    return Resource(values.attributes(attributes), dropped, schema_url, tuple(map(_entity, entities)))


def _entity(spelt: Sequence[Any]) -> Entity:
    schema_url, type_, id_keys, description_keys = spelt
    return Entity(type_, tuple(id_keys), tuple(description_keys), schema_url)


def _scope(text: str) -> Scope:
    name, version, attributes, dropped, schema_url = orjson.loads(text)
    return Scope(name, version, values.attributes(attributes), dropped, schema_url)


def _event(spelt: Sequence[Any]) -> Event:
    name, at, attributes, dropped = spelt
    return Event(name, at, values.attributes(attributes), dropped)


def _link(spelt: Sequence[Any]) -> Link:
    trace_id, span_id, attributes, trace_state, flags, dropped = spelt
    return Link(trace_id, span_id, values.attributes(attributes), trace_state, flags, dropped)


def _listed(text: str) -> list[Any]:
    listed: list[Any] = orjson.loads(text) if text else []
    return listed
