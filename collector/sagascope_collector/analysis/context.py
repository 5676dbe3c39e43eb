"""The context of a diagnosis: the current time, the evaluation clock, and facts from outside the saga."""

from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from sagascope_collector.analysis.baseline import Baseline
from sagascope_collector.analysis.runbooks import Runbook
from sagascope_collector.durations import NANOSECONDS_PER_SECOND
from sagascope_collector.records import Process, SagaKey


@dataclass(frozen=True, slots=True)
class StepSuccess:
    """A success of a step in some saga."""

    at: int
    """The start of the attempt that succeeded, on the saga's clock."""
    key: SagaKey
    process: Process
    trace_id: str
    span_id: str
    published_at: int | None = None
    """The time of publication of the message that the attempt processed; None if no message is known."""


@dataclass(frozen=True, slots=True)
class Context:
    """The time of a diagnosis, and the facts from outside the saga at that time."""

    now: int
    """Nanoseconds since the Unix epoch."""
    ingest_outages: tuple[tuple[int, int], ...] = ()
    """Intervals in which this collector could not receive telemetry; deadlines do not run during them."""
    step_timeouts: Mapping[tuple[str, str], float] = field(default_factory=dict)
    """Configured step timeouts in seconds, by (saga name, step)."""
    default_timeout: float = 30.0
    services: Mapping[tuple[str, str, str], str] = field(default_factory=dict)
    """The service that runs a step, by (environment, saga name, step), as observed in any saga."""
    baselines: Mapping[tuple[str, str], Baseline] = field(default_factory=dict)
    """Baselines of finished sagas, by (environment, saga name)."""
    telemetry_lost: Mapping[str, int] = field(default_factory=dict)
    """The start of the outage of each environment most of whose services stopped reporting: see `liveness.outages`."""
    services_last_seen: Mapping[tuple[str, str], int] = field(default_factory=dict)
    """The time of each service's last report in any saga, by (environment, service)."""
    stuck: Container[tuple[str, str]] = ()
    """(environment, saga id) of sagas that need attention; a parent that waits for one of them is also late."""
    runbooks: Sequence[Runbook] = ()
    """The team's runbooks, in display order."""
    latest_successes: Mapping[tuple[str, str, str], StepSuccess] = field(default_factory=dict)
    """The latest recent success of a step in any saga, by (environment, saga name, step)."""


IN_TRANSIT_SECONDS = 1.0
"""Seconds that telemetry may be in transit; nothing counts as missing before."""


class EvaluationClock:
    """Decides what is overdue, and records the next time of re-evaluation.

    Time in ingest outages does not count. ``delay`` is the time by which all telemetry of the saga is received late.
    """

    def __init__(self, now: int, ingest_outages: Iterable[tuple[int, int]] = (), delay: int = 0) -> None:
        self.now = now
        self._delay = delay
        self.due: int | None = None
        """The earliest requested time of re-evaluation after ``now``; None if none was requested."""
        self._ingest_outages = _merged(ingest_outages)

    def has_elapsed(self, start: int, seconds: float) -> bool:
        """Whether more than this many seconds have passed since ``start``, not counting ingest outages."""
        moment = self.moment(start, seconds) + self._delay
        if self.now > moment:
            return True
        self.reevaluate_at(moment + 1)
        return False

    def at(self, received_at: int) -> int:
        """Returns the time of an event that is received at a time."""
        return received_at - self._delay

    def reevaluate_at(self, moment: int) -> None:
        """Requests a re-evaluation at a time; a time in the past has no effect."""
        if moment > self.now:
            self.due = moment if self.due is None else min(self.due, moment)

    def reevaluate_with_backoff(self, start: int, interval_ns: int) -> None:
        """Requests a re-evaluation one interval after ``start``, then after twice the interval, and so on."""
        moment = start + interval_ns
        while moment <= self.now:
            moment = start + 2 * (moment - start)
        self.reevaluate_at(moment)

    def is_late(self, start: int, seconds: float) -> bool:
        """Whether an event due this many seconds after ``start`` is overdue, including time in transit."""
        return self.has_elapsed(start, seconds + IN_TRANSIT_SECONDS)

    def moment(self, start: int, seconds: float) -> int:
        """Returns the time this many seconds after ``start``, not counting ingest outages."""
        moment = start + round(seconds * NANOSECONDS_PER_SECOND)
        for begin, end in self._ingest_outages:
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
