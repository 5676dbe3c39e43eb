"""Resources and scopes, which repeat in every request, and observations of the processes that sent them."""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final, NamedTuple

import numpy as np
import orjson
import pyarrow as pa
from google.protobuf.message import DecodeError
from opentelemetry.proto.common.v1.common_pb2 import InstrumentationScope
from opentelemetry.proto.resource.v1.resource_pb2 import Resource

from sagascope import semconv
from sagascope_collector.observations import Beat, Observation
from sagascope_collector.otlp import anyvalue, limits
from sagascope_collector.otlp.columns import Origin, Origins
from sagascope_collector.otlp.protobuf_columns import Declined, Integers, NestedRecords, ScopeFields
from sagascope_collector.records import UNMARKED, Attributes, BridgeState, Process, Value, count, process_of

MAX_CACHED_BYTES: Final = 8 * 1024
"""A larger resource or scope is parsed each time, so that the caches stay small."""


DEFAULT_HEARTBEAT_INTERVAL_SECONDS: Final = 60.0
"""The interval to the next heartbeat if a record does not have it."""

MAX_HEARTBEAT_PARTS: Final = 10_000
"""A larger number of parts is read as this one."""


@dataclass(slots=True)
class _Seen:
    first: int
    last: int
    beats: list[Beat] = field(default_factory=list)


class Observations:
    """Collects the observations of a batch."""

    def __init__(self) -> None:
        self._seen: dict[Process, _Seen] = {}

    def see(self, process: Process, earliest: int, latest: int, received_at: int) -> None:
        """Notes the timestamps of a record of a process, 0 where it has none.

        Nothing was sent after it was received: a later time is a wrong clock, and would hide that it stops reporting.
        """
        first, last = min(earliest or received_at, received_at), min(latest or received_at, received_at)
        seen = self._seen.get(process)
        if seen is None:
            self._seen[process] = _Seen(first, last)
            return
        seen.first, seen.last = min(seen.first, first), max(seen.last, last)

    def add_heartbeat(self, process: Process, beat: Beat) -> None:
        """Adds a heartbeat of a process that was seen."""
        self._seen[process].beats.append(beat)

    def all(self) -> tuple[Observation, ...]:
        """Returns one observation for each process."""
        seen = self._seen.items()
        return tuple(Observation(process, each.first, each.last, tuple(each.beats)) for process, each in seen)


class ReadResource(NamedTuple):
    """A resource, and the process that it describes."""

    process: Process
    text: str
    """The stored form of the resource."""
    is_shallow: bool


class ReadScope(NamedTuple):
    """The stored form of a scope."""

    text: str
    is_shallow: bool


def by_scope(resources: Iterable[Any], scopes: str) -> Iterator[tuple[Origin, Any]]:
    """Yields the scopes of a decoded request, each with what its records share; `scopes` is the field's name."""
    for of_resource in resources:
        read_resource = resource(of_resource.resource.SerializeToString(), of_resource.schema_url)
        for of_scope in getattr(of_resource, scopes):
            read_scope = scope(of_scope.scope.SerializeToString(), of_scope.schema_url)
            yield Origin(read_resource.process, read_resource.text, read_scope.text), of_scope


def resource(raw: bytes, schema_url: str) -> ReadResource:
    """Reads a resource; raises `DecodeError`."""
    return (_cached_resource if len(raw) <= MAX_CACHED_BYTES else _resource)(raw, schema_url)


def scope(raw: bytes, schema_url: str) -> ReadScope:
    """Reads a scope; raises `DecodeError`."""
    return (_cached_scope if len(raw) <= MAX_CACHED_BYTES else _scope)(raw, schema_url)


def _resource(raw: bytes, schema_url: str) -> ReadResource:
    message = Resource.FromString(raw)
    attributes = message.attributes
    entities = [
        (each.schema_url, each.type, list(each.id_keys), list(each.description_keys)) for each in message.entity_refs
    ]
    text = orjson.dumps(
        (anyvalue.encoded_pairs(attributes), message.dropped_attributes_count, schema_url, entities)
    ).decode()
    return ReadResource(process_of(anyvalue.as_dict(attributes)), text, anyvalue.are_shallow(attributes))


def _scope(raw: bytes, schema_url: str) -> ReadScope:
    message = InstrumentationScope.FromString(raw)
    attributes = anyvalue.encoded_pairs(message.attributes)
    dropped = message.dropped_attributes_count
    text = orjson.dumps((message.name, message.version, attributes, dropped, schema_url)).decode()
    return ReadScope(text, anyvalue.are_shallow(message.attributes))


_cached_resource = lru_cache(maxsize=1024)(_resource)
_cached_scope = lru_cache(maxsize=1024)(_scope)


class ScopeOrigins(NamedTuple):
    """The origins of the scopes, and when their requests were received."""

    origins: Sequence[Origin]
    numbers: Integers
    received_at: Integers
    """The time of receipt of each request."""


def read_origins(nested: NestedRecords, received_at: Sequence[int], known: Origins) -> ScopeOrigins:
    """Reads the resources and scopes of nested records; raises `Declined`."""
    read = [_origin(each) for each in nested.scopes]
    used = np.unique(nested.scope)
    numbers = np.zeros(len(read), np.int32)
    for number in used:
        numbers[number] = known.number(read[number])
    return ScopeOrigins(read, numbers, np.array(received_at, np.int64))


def receipt_columns(nested: NestedRecords, scopes: ScopeOrigins) -> list[pa.Array]:
    """Returns the columns of `schema.RECEIPT`."""
    return [pa.array(scopes.received_at[nested.request]), pa.array(scopes.numbers[nested.scope])]


def observe(
    nested: NestedRecords, scopes: ScopeOrigins, first: Integers, last: Integers, observations: Observations
) -> None:
    """Notes the timestamps of records; 0: a record has none."""
    received = scopes.received_at[nested.request].astype(np.uint64)
    begins = np.flatnonzero(np.diff(nested.scope, prepend=-1))  # records are ordered by scope
    if not len(begins):
        return
    firsts = np.minimum.reduceat(np.where(first == 0, received, first), begins)
    lasts = np.maximum.reduceat(np.minimum(np.where(last == 0, received, last), received), begins)
    for begin, earliest, latest in zip(begins, map(int, firsts), map(int, lasts), strict=True):
        observations.see(scopes.origins[nested.scope[begin]].process, earliest, latest, int(received[begin]))


def _origin(fields: ScopeFields) -> Origin:
    try:
        read_resource = resource(fields.resource, fields.resource_schema)
        read_scope = scope(fields.scope, fields.scope_schema)
    except DecodeError:
        raise Declined([fields.request]) from None
    # protobuf limits the depth from the top of a request, which only the parser of whole requests can count
    is_shallow = read_resource.is_shallow and read_scope.is_shallow
    if not is_shallow or limits.is_too_long(UNMARKED, read_resource.process, ()):
        raise Declined([fields.request])
    return Origin(read_resource.process, read_resource.text, read_scope.text)


def read_heartbeat(attributes: Attributes, at: int, received_at: int) -> Beat:
    """Reads a heartbeat; a missing or invalid attribute has no effect."""
    parts = min(count(attributes.get(semconv.HEARTBEAT_PARTS)) or 1, MAX_HEARTBEAT_PARTS)
    return Beat(
        at=min(at, received_at),
        interval=_positive(attributes.get(semconv.HEARTBEAT_INTERVAL)) or DEFAULT_HEARTBEAT_INTERVAL_SECONDS,
        sequence=count(attributes.get(semconv.HEARTBEAT_SEQUENCE)),
        open_spans=_span_ids(attributes.get(semconv.HEARTBEAT_OPEN_SPANS)),
        part=min(count(attributes.get(semconv.HEARTBEAT_PART)) or 1, parts),
        parts=parts,
        dropped=count(attributes.get(semconv.HEARTBEAT_DROPPED)),
        final=attributes.get(semconv.HEARTBEAT_FINAL) is True,
        bridge=_bridge_state(attributes),
        received_at=received_at,
        ahead=max(at - received_at, 0),
    )


def _bridge_state(attributes: Attributes) -> BridgeState | None:
    kind = attributes.get(semconv.BRIDGE_KIND)
    if not isinstance(kind, str) or not kind:
        return None
    error = attributes.get(semconv.BRIDGE_ERROR)
    return BridgeState(
        kind=kind,
        lag=_positive(attributes.get(semconv.BRIDGE_LAG)) or 0.0,
        watching=count(attributes.get(semconv.BRIDGE_WATCHING)),
        error=error if isinstance(error, str) else "",
    )


def partial_heartbeat(interval: float, at: int, received_at: int) -> Beat:
    """Returns a heartbeat for a process that announced only when it sends one open span again.

    It is the first of two parts, of which the second never comes: no other span is over because it is not listed.
    """
    return Beat(
        min(at, received_at),
        interval,
        sequence=0,
        open_spans=frozenset(),
        part=1,
        parts=2,
        received_at=received_at,
        ahead=max(at - received_at, 0),
    )


def _positive(value: Value) -> float | None:
    if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value > 0:
        return float(value)
    return None


def _span_ids(value: Value) -> frozenset[str]:
    listed = value if isinstance(value, list) else ()
    return frozenset(each.lower() for each in listed if isinstance(each, str))
