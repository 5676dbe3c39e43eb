"""Moments and stretches of time as a person would say them; moments are UTC."""

from datetime import UTC, datetime

_UNITS = ((86_400, "d"), (3_600, "h"), (60, "min"))


def now() -> datetime:
    """This moment."""
    return datetime.now(UTC)


def duration(seconds: float) -> str:
    """A stretch of time in at most two units: ``80 ms``, ``3.4 s``, ``12 min``, ``2 h 5 min``."""
    if seconds < 0:
        return f"-{duration(-seconds)}"
    if seconds < 0.9995:
        return f"{seconds * 1_000:.0f} ms"
    if seconds < 59.95:
        return f"{seconds:.1f} s".replace(".0 s", " s")
    return _in_two_units(round(seconds) if seconds < 600 else round(seconds / 60) * 60)


def between(start: datetime, end: datetime) -> str:
    """The time from one moment to another."""
    return duration((end - start).total_seconds())


def time_of_day(moment: datetime) -> str:
    """``14:02:11.120``."""
    return moment.astimezone(UTC).strftime("%H:%M:%S.%f")[:-3]


def day_and_time(moment: datetime) -> str:
    """``2026-11-22 14:02:11 UTC``."""
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _in_two_units(seconds: int) -> str:
    for position, (size, unit) in enumerate(_UNITS):
        if seconds >= size:
            smaller, its_unit = (*_UNITS, (1, "s"))[position + 1]
            rest = seconds % size // smaller
            return f"{seconds // size} {unit}" + (f" {rest} {its_unit}" if rest else "")
    return f"{seconds} s"
