"""Values of attributes and timestamps. An implausible value counts as absent.

Stored records stay unchanged. For display and diagnosis, a negative duration is 0, and a timestamp that no clock can
have had is replaced by the time of receipt.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal, InvalidOperation, localcontext
from typing import Final

from sagascope import semconv
from sagascope_collector.durations import NANOSECONDS_PER_SECOND
from sagascope_collector.records import Attributes, Log, Span, Value

MAX_PLAUSIBLE_SECONDS: Final = 1e10
"""Seconds, about 300 years: longer durations and later times are implausible."""


def text(value: Value) -> str | None:
    """Returns a nonempty string; None for any other value."""
    return value if isinstance(value, str) and value else None


MAX_CURRENCY_CHARACTERS: Final = 32
"""A longer text names no currency."""


def currency(value: Value) -> str | None:
    """Returns the code or name of a currency; None for any other value."""
    given = text(value)
    return given if given and len(given) <= MAX_CURRENCY_CHARACTERS else None


def texts(value: Value) -> tuple[str, ...] | None:
    """Returns a list of strings, with ``""`` for other elements; None for any other value."""
    if not isinstance(value, list | tuple):
        return None
    return tuple(each if isinstance(each, str) else "" for each in value)


def seconds(value: Value) -> float | None:
    """Returns a duration above zero; None for any other value."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if 0 < value < MAX_PLAUSIBLE_SECONDS else None


def wait(value: Value) -> float | None:
    """Returns a duration of zero or more; None for any other value."""
    return 0.0 if value == 0 and not isinstance(value, bool) else seconds(value)


def count(value: Value) -> int | None:
    """Returns an integer of at least 1; None for any other value."""
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None


def moment(value: Value) -> int | None:
    """Converts Unix seconds to nanoseconds; None for any other value."""
    given = seconds(value)
    return None if given is None else round(given * NANOSECONDS_PER_SECOND)


def amount(value: Value) -> Decimal | None:
    """Returns a decimal amount. A number is read as written, not as its binary approximation."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    if isinstance(value, float) and not math.isfinite(value):
        return None
    try:
        read = Decimal(repr(value) if isinstance(value, float) else value)
    except InvalidOperation:
        return None
    is_short = read.is_finite() and len(read.as_tuple().digits) <= 2 * MAX_DIGITS
    return read if is_short and abs(read.adjusted()) < MAX_DIGITS else None


MAX_DIGITS: Final = 40
"""Maximum number of digits of an amount before the decimal point, and of zeros after it; half of all its digits."""


def total(amounts: Iterable[Decimal]) -> Decimal:
    """Returns the exact sum of amounts; Python rounds sums to 28 digits by default."""
    with localcontext(prec=5 * MAX_DIGITS):
        return sum(amounts, Decimal(0))


def business_keys(attributes: Attributes) -> dict[str, str]:
    """Returns the business keys by name."""
    start = len(semconv.KEY_PREFIX)
    return {
        name[start:]: value if isinstance(value, str) else str(value)
        for name, value in attributes.items()
        if name.startswith(semconv.KEY_PREFIX) and len(name) > start and isinstance(value, str | int | float)
    }


MAX_BUSINESS_KEYS: Final = 50
"""Business keys of one saga, by which it is searched and with which it is listed."""


def listed_keys(keys: Mapping[str, str]) -> dict[str, str]:
    """Returns business keys by name, the first `MAX_BUSINESS_KEYS`."""
    return dict(sorted(keys.items())[:MAX_BUSINESS_KEYS])


MIN_TIMESTAMP_NS: Final = 946_684_800 * NANOSECONDS_PER_SECOND
"""1 January 2000: no OpenTelemetry data is older."""

MAX_TIMESTAMP_NS: Final = 4_102_444_800 * NANOSECONDS_PER_SECOND
"""1 January 2100: no time is later, if the time of receipt is unknown."""

MAX_AHEAD_NS: Final = 366 * 86_400 * NANOSECONDS_PER_SECOND
"""Nanoseconds after receipt above which a time is implausible; a clock that is ahead by less is corrected."""

MAX_IMPLAUSIBLE_DURATION_NS: Final = 86_400 * NANOSECONDS_PER_SECOND
"""Maximum duration that is kept if both start and end are implausible."""

ROUNDING_TOLERANCE_NS: Final = 2_000_000
"""Nanoseconds by which a span may end before it starts without being an anomaly: some SDKs round to milliseconds."""


@dataclass(frozen=True, slots=True)
class ImpossibleTime:
    """A span with impossible times."""

    span: Span
    """The span as received."""
    ends_before_start: bool
    """Whether the end is before the start; if False, a time is before 2000 or in the far future."""


def plausible_times(
    spans: Sequence[Span], logs: Sequence[Log]
) -> tuple[Sequence[Span], Sequence[Log], list[ImpossibleTime]]:
    """Returns the records with plausible times, and the spans that had impossible times."""
    if _are_plausible(spans, logs):
        return spans, logs, []
    found = [_impossible(span) for span in spans]
    corrected = [_corrected(span) if each else span for span, each in zip(spans, found, strict=True)]
    distinct = {(each.span.trace_id, each.span.span_id): each for each in _in_order(found)}
    return corrected, [_with_receipt_time(log) for log in logs], list(distinct.values())


def _are_plausible(spans: Iterable[Span], logs: Iterable[Log]) -> bool:
    """Whether all times are plausible."""
    records = [(span.start, span.end or span.start, span.received_at) for span in spans]
    records += [(log.at, log.at, log.received_at) for log in logs]
    return all(
        MIN_TIMESTAMP_NS <= start <= end <= (received or MAX_TIMESTAMP_NS) + MAX_AHEAD_NS
        for start, end, received in records
    )


def _in_order(found: Iterable[ImpossibleTime | None]) -> list[ImpossibleTime]:
    return sorted(
        (each for each in found if each), key=lambda each: (each.span.start, each.span.end, each.span.span_id)
    )


def _impossible(span: Span) -> ImpossibleTime | None:
    start, end, received = span.start, span.end, span.received_at
    if not (_is_possible(start, received) and (not end or _is_possible(end, received))):
        return ImpossibleTime(span, ends_before_start=False)
    return ImpossibleTime(span, ends_before_start=True) if 0 < end < start else None


def _is_possible(moment: int, received_at: int) -> bool:
    latest = (received_at or MAX_TIMESTAMP_NS) + MAX_AHEAD_NS
    return MIN_TIMESTAMP_NS <= moment <= latest


def _corrected(span: Span) -> Span:
    start, end, received = span.start, span.end, span.received_at
    if not _is_possible(start, received):
        duration = max(end - start, 0)
        if end and _is_possible(end, received):
            start = end
        elif received:
            end = received if end else 0
            start = received - (duration if end and duration <= MAX_IMPLAUSIBLE_DURATION_NS else 0)
    elif end and not _is_possible(end, received) and received:
        end = received
    return replace(span, start=start, end=max(start, end) if end else 0, sent_start=span.start)


def _with_receipt_time(log: Log) -> Log:
    if _is_possible(log.at, log.received_at) or not log.received_at:
        return log
    observed = log.observed_at if _is_possible(log.observed_at, log.received_at) else log.received_at
    return replace(log, at=observed, observed_at=observed)
