"""Values of telemetry as JSON says them, for people and other programs. Pure."""

import math
from base64 import b64encode
from collections.abc import Mapping
from typing import Any

from sagascope_collector import records

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
