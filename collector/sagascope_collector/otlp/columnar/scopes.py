"""The resources and scopes of records, and when the processes that sent them were last seen."""

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from google.protobuf.message import DecodeError
from opentelemetry.proto.common.v1.common_pb2 import InstrumentationScope
from opentelemetry.proto.resource.v1.resource_pb2 import Resource

from sagascope_collector.otlp import limits, origins
from sagascope_collector.otlp.columnar.declined import Declined, Integers
from sagascope_collector.otlp.columnar.nesting import NestedRecords, ScopeFields
from sagascope_collector.otlp.columnar.texts import are_shallow
from sagascope_collector.otlp.columns import Origin, Origins
from sagascope_collector.otlp.marks import UNMARKED
from sagascope_collector.otlp.observations import Observations


class Senders(NamedTuple):
    """The origins of the scopes, and when their requests were received."""

    origins: Sequence[Origin]
    numbers: Integers
    received_at: Integers
    """Of each request."""


def senders(nested: NestedRecords, received_at: Sequence[int], known: Origins) -> Senders:
    """Reads the resources and scopes of nested records; raises `Declined`."""
    read = [_origin(each) for each in nested.scopes]
    used = np.unique(nested.scope)
    numbers = np.zeros(len(read), np.int32)
    for scope in used:
        numbers[scope] = known.number(read[scope])
    return Senders(read, numbers, np.array(received_at, np.int64))


def receipts(nested: NestedRecords, of: Senders) -> list[pa.Array]:
    """Returns the columns of `schema.RECEIPT`."""
    return [pa.array(of.received_at[nested.request]), pa.array(of.numbers[nested.scope])]


def observe(nested: NestedRecords, of: Senders, first: Integers, last: Integers, observations: Observations) -> None:
    """Notes the timestamps of records; 0: a record has none."""
    received = of.received_at[nested.request].astype(np.uint64)
    begins = np.flatnonzero(np.diff(nested.scope, prepend=-1))
    if not len(begins):
        return
    firsts = np.minimum.reduceat(np.where(first == 0, received, first), begins)
    lasts = np.maximum.reduceat(np.minimum(np.where(last == 0, received, last), received), begins)
    for begin, earliest, latest in zip(begins, _integers(firsts), _integers(lasts), strict=True):
        observations.see(of.origins[nested.scope[begin]].process, earliest, latest, int(received[begin]))


def _integers(numbers: Integers) -> Iterable[int]:
    return map(int, numbers)


def _origin(fields: ScopeFields) -> Origin:
    try:
        process, text = _resource(fields.resource, fields.resource_schema)
        origin = Origin(process, text, _scope(fields.scope, fields.scope_schema))
    except (DecodeError, _Deep):
        raise Declined([fields.request]) from None
    if limits.is_too_long(UNMARKED, process, ()):
        raise Declined([fields.request])
    return origin


class _Deep(Exception):
    """It nests deeper than is read here."""


def _resource(raw: bytes, schema_url: str) -> origins.ReadResource:
    return (_kept_resource if len(raw) <= origins.KEPT_BYTES else _read_resource)(raw, schema_url)


def _scope(raw: bytes, schema_url: str) -> str:
    return (_kept_scope if len(raw) <= origins.KEPT_BYTES else _read_scope)(raw, schema_url)


def _read_resource(raw: bytes, schema_url: str) -> origins.ReadResource:
    message = Resource.FromString(raw)
    if not are_shallow(message.attributes):
        raise _Deep
    return origins.resource(message, schema_url)


def _read_scope(raw: bytes, schema_url: str) -> str:
    message = InstrumentationScope.FromString(raw)
    if not are_shallow(message.attributes):
        raise _Deep
    return origins.scope(message, schema_url)


_kept_resource = lru_cache(maxsize=1024)(_read_resource)
_kept_scope = lru_cache(maxsize=1024)(_read_scope)
