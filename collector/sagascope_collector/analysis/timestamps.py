"""Timestamps that cannot be: a span that ends before it starts, a clock in 1970 or years ahead.

The records stay as they came. What is shown and judged has a duration of 0 instead of a negative one, and the time at
which a record was received instead of one that no clock can have had.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final

from sagascope_collector.analysis.identity import Share
from sagascope_collector.analysis.values import SECOND
from sagascope_collector.records import Log, Span

EARLIEST_NS: Final = 946_684_800 * SECOND
"""1 January 2000: nothing that sends OpenTelemetry is older."""

LATEST_NS: Final = 4_102_444_800 * SECOND
"""1 January 2100: likewise, where the time of receipt is not known."""

AHEAD_NS: Final = 366 * 86_400 * SECOND
"""Nanoseconds after its receipt from which a moment lies in the far future; a clock that is ahead by less is set."""

LONGEST_NS: Final = 86_400 * SECOND
"""Duration up to which one is kept where both of its ends are impossible."""

MARGIN_NS: Final = 2_000_000
"""Nanoseconds by which a span may end before it starts without being an anomaly: some SDKs round to milliseconds."""


@dataclass(frozen=True, slots=True)
class ImpossibleTime:
    """A span whose own times cannot be."""

    span: Span
    """As it was received."""
    ends_before_start: bool
    """Else it lies before 2000, or in the far future."""


def settle(share: Share) -> tuple[Share, list[ImpossibleTime]]:
    """The records with possible times, and the spans that had others."""
    if _are_plausible(share):
        return share, []
    found = [_impossible(span) for span in share.spans]
    spans = [_settled(span) if each else span for span, each in zip(share.spans, found, strict=True)]
    distinct = {(each.span.trace_id, each.span.span_id): each for each in _in_order(found)}
    return Share(spans, [_received(log) for log in share.logs]), list(distinct.values())


def _are_plausible(share: Share) -> bool:
    """Whether all times are possible, and no clock is so far ahead that the moments of receipt are to be asked."""
    records = [(span.start, span.end or span.start, span.received_at) for span in share.spans]
    records += [(log.at, log.at, log.received_at) for log in share.logs]
    return all(EARLIEST_NS <= start <= end <= (received or LATEST_NS) + AHEAD_NS for start, end, received in records)


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
    latest = (received_at or LATEST_NS) + AHEAD_NS
    return EARLIEST_NS <= moment <= latest


def _settled(span: Span) -> Span:
    start, end, received = span.start, span.end, span.received_at
    if not _is_possible(start, received):
        duration = max(end - start, 0)
        if end and _is_possible(end, received):
            start = end
        elif received:
            end = received if end else 0
            start = received - (duration if end and duration <= LONGEST_NS else 0)
    elif end and not _is_possible(end, received) and received:
        end = received
    return replace(span, start=start, end=max(start, end) if end else 0, sent_start=span.start)


def _received(log: Log) -> Log:
    if _is_possible(log.at, log.received_at) or not log.received_at:
        return log
    observed = log.observed_at if _is_possible(log.observed_at, log.received_at) else log.received_at
    return replace(log, at=observed, observed_at=observed)
