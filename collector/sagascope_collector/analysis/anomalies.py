"""What should not have happened in a saga, whether or not anybody is needed. Each says what it rests on."""

from collections.abc import Callable, Iterator
from itertools import islice
from typing import Final

from sagascope_collector.analysis import missteps, tracing
from sagascope_collector.analysis.chronicle import Chronicle
from sagascope_collector.analysis.model import Anomaly

FINDERS: Final[tuple[Callable[[Chronicle], Iterator[Anomaly]], ...]] = (
    missteps.duplicate_execution,
    missteps.compensated_twice,
    missteps.compensation_order,
    missteps.compensated_without_action,
    missteps.forward_after_compensation,
    missteps.out_of_order,
    missteps.unexpected_step,
    missteps.skipped_step,
    missteps.progress_after_end,
    tracing.clock_skew,
    tracing.missing_span,
    missteps.version_straddle,
)
"""One for each code, named for it, in the order in which they are shown."""

MOST: Final = 20
"""Anomalies of one code that are said of one saga."""


def find(saga: Chronicle) -> tuple[Anomaly, ...]:
    """The anomalies of a saga, of each code the first `MOST`."""
    return tuple(each for finder in FINDERS for each in islice(finder(saga), MOST))
