"""Whether all steps of the sagas of one name are slower than usual at once: then it is no single one that is stuck."""

from collections.abc import Iterable, Mapping, Sequence
from statistics import median
from typing import Final

from sagascope_collector.analysis.lessons import Lesson

RECENT: Final = 50
"""Finished sagas, the latest, whose times are compared with the usual ones."""

ENOUGH: Final = 20
"""Times of a step by which it can be compared."""

FEWEST: Final = 3
"""Steps that must be compared: one that is slow alone is a matter of its own."""

SLOWER: Final = 2.0
"""How many times as long more than half of the steps must take."""

MOST: Final = 10.0
"""Times as much patience as usual, at most."""

FORGOTTEN: Final = 3_600.0
"""Seconds after which half of what was usual is replaced by what is: what stays slow is not slow any more."""


class Pace:
    """The usual times of the sagas of one name, in one thread."""

    def __init__(self) -> None:
        self._usual: dict[str, float] = {}
        self._at: float | None = None

    def slower(self, lessons: Sequence[Lesson], at: float) -> float:
        """How many times as long as usual everything takes at ``at`` (seconds, of any clock); 1: not everything does.

        Args:
            lessons: what the finished sagas taught, the latest last.
            at: not before the moment of an earlier call.
        """
        times = _times(lessons[-RECENT:])
        ratios = [time / self._usual[step] for step, time in times.items() if step in self._usual]
        self._get_used_to(times, at)
        is_general = len(ratios) >= FEWEST and 2 * sum(each >= SLOWER for each in ratios) > len(ratios)
        return min(MOST, median(ratios)) if is_general else 1.0

    def _get_used_to(self, times: Mapping[str, float], at: float) -> None:
        share = 0.5 ** (max(0.0, at - (self._at if self._at is not None else at)) / FORGOTTEN)
        for step, time in times.items():
            self._usual[step] = self._usual.get(step, time) ** share * time ** (1 - share)
        self._at = at


def _times(lessons: Iterable[Lesson]) -> dict[str, float]:
    """The time that half of the attempts of each step took at most, in nanoseconds; never 0."""
    found: dict[str, list[int]] = {}
    for lesson in lessons:
        for each in lesson.passages:
            found.setdefault(each.name, []).extend(each.durations)
    return {step: max(1.0, float(median(times))) for step, times in found.items() if len(times) >= ENOUGH}
