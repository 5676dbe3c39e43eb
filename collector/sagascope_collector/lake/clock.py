"""The time by PostgreSQL's clock, by which all processes of a lake agree."""

import time
from typing import Any, Final

from sagascope_collector.durations import NANOSECONDS_PER_SECOND

TOLERANCE_NS: Final = NANOSECONDS_PER_SECOND
"""A deviation up to this stays: PostgreSQL may take as long to answer."""


class CatalogClock:
    """The clock of this machine, corrected if it is wrong. Thread-safe."""

    def __init__(self) -> None:
        """Creates it; it is not corrected before `adjust`."""
        self._offset_ns = 0

    def __call__(self) -> int:
        """Returns nanoseconds since 1970."""
        return time.time_ns() + self._offset_ns

    def adjust(self, session: Any) -> None:
        """Compares the clock with PostgreSQL's.

        Raises:
            psycopg.Error: PostgreSQL does not answer.
        """
        asked = self()
        ((at,),) = session.execute("SELECT (extract(epoch FROM clock_timestamp()) * 1000000000)::bigint").fetchall()
        deviation = at - (asked + self()) // 2
        if abs(deviation) > TOLERANCE_NS:
            self._offset_ns += deviation
