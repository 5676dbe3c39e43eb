"""Units of time. Times are whole nanoseconds since 1970, UTC."""

import time
from typing import Final

SECOND: Final = 1_000_000_000
"""Nanoseconds."""

LATEST: Final = 2**63 - 1
"""The latest time that is kept, in the year 2262: a record may carry any number of 64 bits."""


def steady_clock() -> int:
    """Returns nanoseconds since the machine started: sleep counts, setting the wall clock does not."""
    return time.clock_gettime_ns(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))
