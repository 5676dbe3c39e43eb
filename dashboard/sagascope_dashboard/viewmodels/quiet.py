"""Stretches of a timeline in which nothing happened, to be squeezed."""

import itertools
from collections.abc import Iterable, Sequence

from sagascope_dashboard.viewmodels.bars import Bar

QUIET_AT_LEAST = 2_000.0
"""Milliseconds. A stretch without any event shorter than this is never squeezed."""

QUIET_SHARE = 0.25
"""A stretch without any event is squeezed when it would take more than this share of the width."""

MAX_QUIET_GAPS = 8
"""Stretches that are squeezed, the longest first."""


def instants(bars: Iterable[Bar]) -> list[float]:
    """Every moment at which something happened."""
    moments = {moment for bar in bars for moment in (bar.start, bar.end, bar.heard) if moment is not None}
    return sorted(moments | {mark.at for bar in bars for mark in bar.marks})


def quiet_stretches(moments: Sequence[float], end: float | None) -> tuple[tuple[float, float | None], ...]:
    """The stretches to squeeze: the longest first, while one would take more than its share of what is still drawn.

    The time from the last event to the present is one of them always, when the saga is open: it only grows.
    """
    gaps = sorted(itertools.pairwise(moments), key=lambda gap: gap[0] - gap[1])
    drawn = moments[-1] - moments[0] if moments else 0.0
    squeezed: list[tuple[float, float | None]] = [] if end is not None or not moments else [(moments[-1], None)]
    for start, stop in gaps[:MAX_QUIET_GAPS]:
        if stop - start < QUIET_AT_LEAST or stop - start <= QUIET_SHARE * drawn:
            break
        squeezed.append((start, stop))
        drawn -= stop - start
    return tuple(sorted(squeezed, key=lambda gap: gap[0]))
