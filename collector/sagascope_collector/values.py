"""What an attribute's value says where one word, or one number, is meant. Pure."""

import math
from base64 import b64encode
from collections.abc import Mapping
from typing import Any

from sagascope_collector import records
from sagascope_collector.records import Value


def word(value: Value) -> str:
    """A string, or a whole number as people write it; anything else says nothing."""
    if isinstance(value, str):
        return value
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else ""


def count(value: Value) -> int:
    """A whole number from 1, or its digits; anything else is 0."""
    if isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) < len(str(2**63)):
        value = int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0


DEPTH: int = 64
"""Levels to which a nested attribute value is followed; what lies below is the text ``…``."""


def natural(value: records.Value, depth: int = DEPTH) -> Any:
    """An attribute value as JSON says it: bytes as ``{"base64": ...}``, NaN and the infinities as strings."""
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, bytes):
        return {"base64": b64encode(value).decode("ascii")}
    if isinstance(value, list | tuple):
        return [natural(each, depth - 1) for each in value] if depth else "…"
    if isinstance(value, Mapping):
        return attributes(value, depth - 1) if depth else "…"
    return value


def attributes(given: records.Attributes, depth: int = DEPTH) -> dict[str, Any]:
    """Attributes as a JSON object."""
    return {name: natural(value, depth) for name, value in given.items()}
