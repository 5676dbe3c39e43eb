"""Durations, sizes and times: one parser for options, files and query parameters, one formatter, and conversions."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Final

from sagascope_collector.errors import BadValue

NANOSECONDS_PER_SECOND: Final = 1_000_000_000

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

UNIT_SECONDS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3_600.0, "d": 86_400.0, "w": 604_800.0}
UNIT_BYTES: Final = {"": 1.0, "b": 1.0, "kb": 1e3, "mb": 1e6, "gb": 1e9, "tb": 1e12}

_LEAP_SECOND: Final = re.compile(r"(?<=:\d\d):60(?!\d)")

_QUANTITY: Final = re.compile(r"(\d{1,15}(?:\.\d{1,9})?)\s*([A-Za-z]*)")

_FORMAT_UNITS: Final = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))


def to_datetime(nanoseconds: int) -> datetime:
    """Returns a time in nanoseconds since 1970 as a datetime in UTC, truncated to microseconds."""
    return _EPOCH + timedelta(microseconds=nanoseconds // 1_000)


def to_nanoseconds(time: datetime) -> int:
    """Returns a datetime as nanoseconds since 1970; one without a time zone is in UTC."""
    aware = time if time.tzinfo else time.replace(tzinfo=UTC)
    return (aware - _EPOCH) // timedelta(microseconds=1) * 1_000


def parse_duration(text: str) -> float:
    """Returns the seconds of a text such as ``90s``, ``5m``, ``12h``, ``30d`` or ``1w``.

    Raises:
        BadValue: the text is not a duration.
    """
    examples = "for example 90s, 5m or 30d, in weeks (w), days (d), hours (h), minutes (m), seconds (s) or ms"
    return _parse(text, UNIT_SECONDS, f"a duration; write it {examples}")


def parse_size(text: str) -> int:
    """Returns the bytes of a text such as ``200GB``.

    Raises:
        BadValue: the text is not a size.
    """
    return round(_parse(text, UNIT_BYTES, "a size; write it for example 200GB, in TB, GB, MB, KB or B"))


def _parse(text: str, units: Mapping[str, float], expected: str) -> float:
    match = _QUANTITY.fullmatch(text.strip())
    unit = units.get(match[2].lower()) if match else None
    if match is None or unit is None:
        raise BadValue(f"{text!r} is not {expected}.")
    return float(match[1]) * unit


def parse_datetime(text: str) -> datetime:
    """Parses a date and time in ISO 8601. A leap second, which Unix time does not have, is the second after it.

    Raises:
        ValueError: the text is not such a time.
        OverflowError: it is after the year 9999.
    """
    known = _LEAP_SECOND.sub(":59", text)
    return datetime.fromisoformat(known) + timedelta(seconds=known != text)


def format_duration(seconds: float) -> str:
    """Formats a duration in at most two units: ``80 ms``, ``3.4 s``, ``12 min``, ``2 h 5 min``."""
    if seconds < 0:
        return f"-{format_duration(-seconds)}"
    if seconds < 0.9995:  # more would be rounded to 1000 ms
        return f"{seconds * 1_000:.0f} ms"
    if seconds < 59.95:  # more would be rounded to 60 s
        return f"{seconds:.1f} s".replace(".0 s", " s")
    whole = round(seconds) if seconds < 600 else round(seconds / 60) * 60
    index = next(index for index, (size, _) in enumerate(_FORMAT_UNITS) if whole >= size)
    size, unit = _FORMAT_UNITS[index]
    smaller_size, smaller_unit = _FORMAT_UNITS[index + 1]
    rest = whole % size // smaller_size
    return f"{whole // size} {unit}" + (f" {rest} {smaller_unit}" if rest else "")
