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
    return orjson.dumps(spell(value)).decode()


def decode(text: str) -> Value:
    """Decodes the output of `encode`; the last of a kvlist's repeated keys wins."""
    return _read(orjson.loads(text))


def attributes(pairs: Iterable[tuple[str, Any]]) -> dict[str, Value]:
    """Decodes attributes that are encoded as pairs of key and value; the last of repeated keys wins."""
    return {key: _read(value) if isinstance(value, list | dict) else value for key, value in pairs}


def spell(value: Value) -> Any:
    """Converts a value to types that JSON supports."""
    if isinstance(value, float):
        return value if math.isfinite(value) else {"$double": _name_of(value)}
    if isinstance(value, bytes):
        return {"$bytes": b64encode(value).decode("ascii")}
    if isinstance(value, Pairs):
        return _object(value.items)
    if isinstance(value, Mapping):
        return _object(tuple(value.items()))
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [spell(each) for each in value]
    return value


def _object(items: Sequence[tuple[str, Value]]) -> dict[str, Any]:
    spelled = {key: spell(each) for key, each in items}
    if len(spelled) < len(items) or any(key.startswith("$") for key in spelled):
        return {"$kv": [[key, spell(each)] for key, each in items]}
    return spelled


def _name_of(value: float) -> str:
    if math.isnan(value):
        return "NaN"
    return "Infinity" if value > 0 else "-Infinity"


def _read(spelt: Any) -> Value:
    if isinstance(spelt, list):
        return [_read(each) for each in spelt]
    if isinstance(spelt, dict):
        form = next(iter(spelt), "")
        return _FORMS[form](spelt[form]) if form.startswith("$") else {key: _read(each) for key, each in spelt.items()}
    return spelt


_FORMS: dict[str, Callable[[Any], Value]] = {"$double": float, "$bytes": b64decode, "$kv": attributes}
