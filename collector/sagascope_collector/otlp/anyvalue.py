"""OTLP attribute values: as the JSON text that is stored, and as plain values. Pure."""

from collections.abc import Iterable
from typing import Any, Final

import orjson
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue

from sagascope_collector.records import Value
from sagascope_collector.storage import values

_PLAIN: Final = frozenset({"string_value", "bool_value", "int_value"})
"""Kinds that JSON carries as they are."""


def text(value: AnyValue) -> str:
    """The stored form of a value; an unset one, or one of the profiles signal, is ``null``."""
    kind = value.WhichOneof("value")
    if kind in _PLAIN:
        return orjson.dumps(getattr(value, kind)).decode()
    return values.encode(read(value))


def read(value: AnyValue) -> Value:
    """A value as it is; kvlists are `values.Pairs`, which keeps repeated keys."""
    match value.WhichOneof("value"):
        case None | "string_value_strindex":
            return None
        case "array_value":
            return [read(each) for each in value.array_value.values]
        case "kvlist_value":
            return values.Pairs(tuple((each.key, read(each.value)) for each in value.kvlist_value.values))
        case kind:
            return getattr(value, kind)


def encoded_pairs(attributes: Iterable[KeyValue]) -> list[tuple[str, Any]]:
    """Attributes as pairs inside a stored JSON text."""
    return [(each.key, values.spell(read(each.value))) for each in attributes]


def plain(attributes: Iterable[KeyValue]) -> dict[str, Value]:
    """Attributes by key; of repeated ones the last wins."""
    return {each.key: read(each.value) for each in attributes}
