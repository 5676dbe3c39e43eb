"""From stored columns to records. Pure.

Every saga that changes is read anew, so this is a hot path: values are parsed all at once, what repeats is built once,
and columns are taken by place.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache, lru_cache
from typing import Any, Final

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

_MARK: Final = [name for name, _ in schema.MARK]
_PROCESS: Final = [name for name, _ in schema.PROCESS]
_RECEIVED: Final = schema.RECEIPT[0][0]
_SPAN: Final = [*(name for name, _ in schema.SPAN if name != "key"), _RECEIVED]
_LOG: Final = [*(name for name, _ in schema.LOG if name != "key"), _RECEIVED]
_UNKNOWN: Final = (None,) * len(schema.MARK)
_UNDER: Final = ["resource", "scope"]


def spans(table: pa.Table) -> Iterator[tuple[SagaId, Span]]:
    """The spans of a table of stored ones, each with the saga that it marks itself as part of."""
    resource, scope = cache(_resource), cache(_scope)
    for own, mark, process, attributes, (under, within) in _parts(table, _SPAN):
        yield (
            SagaId(process.environment, mark.id),
            _span(own, mark, process, attributes, resource(under), scope(within)),
        )


def logs(table: pa.Table) -> Iterator[tuple[SagaId, Log]]:
    """The log records of a table of stored ones, each with its saga."""
    resource, scope = cache(_resource), cache(_scope)
    for own, mark, process, attributes, (under, within) in _parts(table, _LOG):
        yield (
            SagaId(process.environment, mark.id),
            _log(own, mark, process, attributes, resource(under), scope(within)),
        )


def mark(row: Mapping[str, Any]) -> Mark:
    """What a row says of its place in a saga."""
    return Mark(*(row[name] for name in _MARK))


Parts = tuple[tuple[Any, ...], Mark, Process, Attributes, tuple[str, str]]
"""A record's own columns, and what every kind of record has: its resource and scope are still texts."""


def _parts(table: pa.Table, own: Sequence[str]) -> Iterator[Parts]:
    mark, process = cache(Mark), cache(Process)
    return zip(
        _columns(table, own),
        (mark(*each) for each in _columns(table, _MARK)),
        (process(*each) for each in _columns(table, _PROCESS)),
        _attributes_of(table),
        _columns(table, _UNDER),
        strict=True,
    )


def _columns(table: pa.Table, names: Sequence[str]) -> Iterator[tuple[Any, ...]]:
    return zip(*(table.column(name).to_pylist() for name in names), strict=True)


def _attributes_of(table: pa.Table) -> Iterator[Attributes]:
    """Values are parsed in one go, which is several times faster than one by one."""
    keys, texts = (table.column(name).to_pylist() for name, _ in schema.ATTRIBUTES)
    spelt = orjson.loads(f"[{','.join(texts)}]")
    return map(_attributes, map(cache(_keys), keys), spelt, _columns(table, _MARK))


def attributes(keys: str, spelt: str) -> Attributes:
    """The attributes of one record, but for those that columns hold: they are None."""
    return _attributes(known_keys(keys), orjson.loads(spelt), _UNKNOWN)


@lru_cache(maxsize=4096)
def known_keys(text: str) -> list[tuple[str, int | None]]:
    """Keys, each with the number of the column of `schema.MARK` that holds its value; not to be changed."""
    return _keys(text)


def _keys(text: str) -> list[tuple[str, int | None]]:
    """Keys, each with the number of the column of `schema.MARK` that holds its value."""
    return [(schema.MARK_KEYS[key], key) if isinstance(key, int) else (key, None) for key in orjson.loads(text)]


def _attributes(keys: Sequence[tuple[str, int | None]], spelt: Iterable[Any], mark: Sequence[Any]) -> Attributes:
    following = iter(spelt)
    return values.attributes((key, next(following) if place is None else mark[place]) for key, place in keys)


def _span(
    own: tuple[Any, ...], mark: Mark, process: Process, attributes: Attributes, resource: Resource, scope: Scope
) -> Span:
    (
        trace_id,
        span_id,
        parent_id,
        name,
        kind,
        start,
        end,
        status,
        status_message,
        trace_state,
        flags,
        dropped_attributes,
        dropped_events,
        dropped_links,
        events,
        links,
        received_at,
    ) = own
    return Span(
        trace_id.hex(),
        span_id.hex(),
        parent_id.hex(),
        name,
        kind,
        start,
        end,
        status,
        status_message,
        mark,
        process,
        attributes,
        _listed(events, _event),
        _listed(links, _link),
        resource,
        scope,
        trace_state,
        flags,
        dropped_attributes,
        dropped_events,
        dropped_links,
        received_at,
    )


def _log(
    own: tuple[Any, ...], mark: Mark, process: Process, attributes: Attributes, resource: Resource, scope: Scope
) -> Log:
    (
        at,
        timestamp,
        observed_at,
        severity,
        severity_text,
        body,
        event_name,
        trace_id,
        span_id,
        flags,
        dropped_attributes,
        received_at,
    ) = own
    return Log(
        at,
        observed_at,
        severity,
        severity_text,
        values.decode(body),
        event_name,
        trace_id.hex(),
        span_id.hex(),
        mark,
        process,
        attributes,
        resource,
        scope,
        timestamp,
        flags,
        dropped_attributes,
        received_at,
    )


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


def _listed(text: str, read: Callable[[Sequence[Any]], Any]) -> tuple[Any, ...]:
    return tuple(map(read, orjson.loads(text))) if text else ()
