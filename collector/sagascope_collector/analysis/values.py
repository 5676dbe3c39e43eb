"""Attributes read as what they are meant to be; a value that cannot be meant is as if absent."""

import math
from decimal import Decimal, InvalidOperation
from typing import Final

from sagascope import semconv
from sagascope_collector.records import Attributes, Value

SECOND: Final = 1_000_000_000
"""Nanoseconds."""

LONGEST: Final = 1e10
"""Seconds, about 300 years: what is longer, or later after the epoch, cannot be meant."""


def text(value: Value) -> str | None:
    """A string that is not empty."""
    return value if isinstance(value, str) and value else None


def texts(value: Value) -> tuple[str, ...] | None:
    """A list of strings; other elements are read as empty."""
    if not isinstance(value, list | tuple):
        return None
    return tuple(each if isinstance(each, str) else "" for each in value)


def seconds(value: Value) -> float | None:
    """A duration above zero."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if 0 < value < LONGEST else None


def wait(value: Value) -> float | None:
    """A duration that may be zero."""
    return 0.0 if value == 0 and not isinstance(value, bool) else seconds(value)


def count(value: Value) -> int | None:
    """A whole number from 1."""
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None


def moment(value: Value) -> int | None:
    """Unix seconds, as nanoseconds."""
    given = seconds(value)
    return None if given is None else round(given * SECOND)


def amount(value: Value) -> Decimal | None:
    """A decimal amount; a number is taken as it is written, never as its binary approximation."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    if isinstance(value, float) and not math.isfinite(value):
        return None
    try:
        read = Decimal(repr(value) if isinstance(value, float) else value)
    except InvalidOperation:
        return None
    return read if read.is_finite() and abs(read.adjusted()) < DIGITS else None


DIGITS: Final = 40
"""Places before or after the decimal point that an amount may have."""


def business_keys(attributes: Attributes) -> dict[str, str]:
    """The searchable keys, by name."""
    start = len(semconv.KEY_PREFIX)
    return {
        name[start:]: value if isinstance(value, str) else str(value)
        for name, value in attributes.items()
        if name.startswith(semconv.KEY_PREFIX) and len(name) > start and isinstance(value, str | int | float)
    }
