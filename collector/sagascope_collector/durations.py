"""Stretches of time and sizes as a person writes them."""

import re
from collections.abc import Mapping
from typing import Final

from sagascope_collector.errors import BadValue

NANOSECONDS_PER_SECOND: Final = 1_000_000_000

SECONDS: Final = {"s": 1, "m": 60, "min": 60, "h": 3_600, "d": 86_400, "w": 7 * 86_400}
BYTES: Final = {"": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12}

_AMOUNT: Final = re.compile(r"(\d+(?:\.\d+)?)\s*([A-Za-z]*)")


def seconds(text: str) -> float:
    """How long ``30d`` is, or ``12h``.

    Raises:
        BadValue: it is not written so, or nothing.
    """
    return _read(text, SECONDS, "for example 30d or 12h: weeks (w), days (d), hours (h), minutes (min) or seconds (s)")


def size(text: str) -> int:
    """How many bytes ``200GB`` are.

    Raises:
        BadValue: it is not written so, or nothing.
    """
    return round(_read(text, BYTES, "for example 200GB: TB, GB, MB, KB or bytes (B)"))


def _read(text: str, units: Mapping[str, int], how: str) -> float:
    found = _AMOUNT.fullmatch(text.strip())
    if not found or not (amount := float(found[1]) * units.get(found[2].lower(), 0)):
        raise BadValue(f"{text!r} cannot be read; it is written {how}.")
    return amount
