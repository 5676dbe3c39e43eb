"""Converts attribute values of any OTLP type to JSON text and back, without loss.

JSON does not distinguish integers from floats, has no bytes and no NaN, and its objects lose repeated keys. So a double
always has a fraction or an exponent; bytes are ``{"$bytes": base64}``, and NaN and the infinities ``{"$double":
"NaN"}``. A kvlist is an object; with repeated keys or a key that begins with ``$`` it is ``{"$kv": [[key, value],
...]}``, so that received text cannot imitate one of these forms.
"""

import math
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import orjson

from sagascope_collector.records import Value


class Pairs(NamedTuple):
    """A kvlist as received: in order, with repeated keys."""

    items: tuple[tuple[str, Value], ...]


def encode(value: Value) -> str:
    """Encodes a value, or `Pairs`, as JSON text."""
    return orjson.dumps(to_json(value)).decode()


def decode(text: str) -> Value:
    """Decodes the output of `encode`; the last of a kvlist's repeated keys wins."""
    return _from_json(orjson.loads(text))


def attributes(pairs: Iterable[tuple[str, Any]]) -> dict[str, Value]:
    """Decodes attributes that are encoded as pairs of key and value; the last of repeated keys wins."""
    return {key: _from_json(value) if isinstance(value, list | dict) else value for key, value in pairs}


def to_json(value: Value) -> Any:
    """Converts a value to types that JSON supports."""
    if isinstance(value, float):
        return value if math.isfinite(value) else {"$double": non_finite_name(value)}
    if isinstance(value, bytes):
        return {"$bytes": b64encode(value).decode("ascii")}
    if isinstance(value, Pairs):
        return _object(value.items)
    if isinstance(value, Mapping):
        return _object(tuple(value.items()))
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [to_json(each) for each in value]
    return value


def _object(items: Sequence[tuple[str, Value]]) -> dict[str, Any]:
    converted = {key: to_json(each) for key, each in items}
    if len(converted) < len(items) or any(key.startswith("$") for key in converted):
        return {"$kv": [[key, to_json(each)] for key, each in items]}
    return converted


def non_finite_name(value: float) -> str:
    """Returns the name of NaN or an infinity, as JavaScript and OTLP/JSON write it."""
    if math.isnan(value):
        return "NaN"
    return "Infinity" if value > 0 else "-Infinity"


def _from_json(encoded: Any) -> Value:
    if isinstance(encoded, list):
        return [_from_json(each) for each in encoded]
    if not isinstance(encoded, dict):
        return encoded
    form = next(iter(encoded), "")
    return _FORMS[form](encoded[form]) if form.startswith("$") else {k: _from_json(v) for k, v in encoded.items()}


_FORMS: dict[str, Callable[[Any], Value]] = {"$double": float, "$bytes": b64decode, "$kv": attributes}
