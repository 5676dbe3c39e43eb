"""The clock of one judgement."""

from collections.abc import Iterable

from sagascope_collector.analysis.values import SECOND

UNDER_WAY = 1.0
"""Seconds that telemetry of what has happened may be under way: nothing is missed before."""


class Watch:
    """Says what is late, and remembers when the next thing will be.

    Time in ingest outages does not count.
    """

    def __init__(self, now: int, deaf: Iterable[tuple[int, int]] = ()) -> None:
        self.now = now
        self.due: int | None = None
        """The earliest moment that was asked for and has not come; None: none was."""
        self._deaf = _merged(deaf)

    def is_past(self, start: int, seconds: float) -> bool:
        """Whether more than so many heard seconds have gone by since ``start``."""
        moment = self.moment(start, seconds)
        if self.now > moment:
            return True
        self.remind(moment + 1)
        return False

    def remind(self, moment: int) -> None:
        """Ask to be judged again at a moment; one that has come already is as if not asked for."""
        if moment > self.now:
            self.due = moment if self.due is None else min(self.due, moment)

    def remind_ever_later(self, start: int, interval_ns: int) -> None:
        """Ask to be judged again an interval after ``start``, then at twice that, and so on."""
        moment = start + interval_ns
        while moment <= self.now:
            moment = start + 2 * (moment - start)
        self.remind(moment)

    def is_late(self, start: int, seconds: float) -> bool:
        """Whether what should be here so many seconds after ``start`` is not under way either."""
        return self.is_past(start, seconds + UNDER_WAY)

    def moment(self, start: int, seconds: float) -> int:
        """When so many heard seconds have gone by since ``start``."""
        moment = start + round(seconds * SECOND)
        for begin, end in self._deaf:
            if begin >= moment:
                break
            if end > start:
                moment += end - max(begin, start)
        return moment


def _merged(intervals: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    merged: list[tuple[int, int]] = []
    for begin, end in sorted(each for each in intervals if each[0] < each[1]):
        if merged and begin <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], end))
        else:
            merged.append((begin, end))
    return merged
