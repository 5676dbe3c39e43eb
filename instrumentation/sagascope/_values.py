"""Turns what people pass into attribute values."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from sagascope import semconv

if TYPE_CHECKING:
    from datetime import datetime
    from decimal import Decimal

    Amount = str | int | float | Decimal
else:
    Amount = object


def money(amount: "Amount | None", currency: str | None) -> dict[str, str]:
    """Attributes for the value at stake. A `Decimal` is written out in full, never with an exponent."""
    attributes = {}
    if amount is not None:
        plain = hasattr(amount, "as_tuple")
        attributes[semconv.AMOUNT] = format(amount, "f") if plain else str(amount)
    if currency is not None:
        attributes[semconv.CURRENCY] = str(currency)
    return attributes


def business_keys(keys: Mapping[str, Any] | None) -> dict[str, str]:
    """Attributes for searchable business keys."""
    return {semconv.KEY_PREFIX + name: str(value) for name, value in (keys or {}).items()}


def plain(value: Any) -> str | bool | int | float:
    """A captured value as an attribute's."""
    return value if isinstance(value, (str, bool, int, float)) else str(value)


def moment(when: "datetime | float") -> float:
    """Unix seconds. A `datetime` without a zone is local time, as everywhere in Python."""
    return float(when) if isinstance(when, (int, float)) else when.timestamp()
