"""The context of a diagnosis: the time, facts from outside the saga, and which processes are alive.

Processes are alive as long as they send heartbeats. In an outage, most services stop reporting at once.
"""

from collections import defaultdict
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from operator import attrgetter

from sagascope_collector.analysis.baseline import Baseline
from sagascope_collector.analysis.runbooks import Runbook
from sagascope_collector.analysis.spans import ProcessKey, process_key, processes
from sagascope_collector.durations import NANOSECONDS_PER_SECOND
from sagascope_collector.records import Instance, Process, SagaKey


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
    """Seconds after which an attempt, or what should follow it, is late where nothing else is known."""
    services: Mapping[tuple[str, str, str], str] = field(default_factory=dict)
    """The service that runs a step, by (environment, saga name, step), as observed in any saga."""
    baselines: Mapping[tuple[str, str], Baseline] = field(default_factory=dict)
    """Baselines of finished sagas, by (environment, saga name)."""
    telemetry_lost: Mapping[str, int] = field(default_factory=dict)
    """The start of the outage of each environment most of whose services stopped reporting: see `outages`."""
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
        # at `moment` itself it has not elapsed yet
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


MISSED_HEARTBEATS = 3
"""Heartbeat intervals without a report after which a process counts as lost."""


class Liveness:
    """The liveness of the processes of a saga's services."""

    def __init__(
        self, instances: Iterable[Instance], clock: EvaluationClock, offsets: Mapping[ProcessKey, int]
    ) -> None:
        self._instances = processes(instances)
        self._clock = clock
        self._offsets = offsets
        self.report_deadlines: dict[ProcessKey, int | None] = {}
        """The `must_report_by` of each process that was queried."""

    def instance(self, process: Process) -> Instance | None:
        """The latest report of the process."""
        return self._instances.get(process_key(process))

    def sends_heartbeats(self, process: Process) -> bool:
        """Whether the process ever sent a heartbeat; if not, it counts as alive."""
        instance = self.instance(process)
        return instance is not None and instance.heartbeat is not None

    def has_shut_down(self, process: Process) -> bool:
        """Whether the process reported its shutdown."""
        instance = self.instance(process)
        return instance is not None and instance.heartbeat is not None and instance.heartbeat.final

    def is_lost(self, process: Process) -> bool:
        """Whether the process shut down, or its heartbeats are overdue."""
        if not process.identity:
            return False
        instance = self.instance(process)
        self.report_deadlines[process_key(process)] = must_report_by(instance)
        if instance is None or instance.heartbeat is None:
            return False
        if instance.heartbeat.final:
            return True
        allowed = MISSED_HEARTBEATS * instance.heartbeat.interval
        return self._clock.has_elapsed(max(self.last_seen_at(instance), self._clock.at(instance.reported_at)), allowed)

    def last_seen_at(self, instance: Instance) -> int:
        """The time of the latest report, on the saga's clock."""
        return self.at(instance.process, instance.reported_at - instance.behind)

    def at(self, process: Process, moment: int) -> int:
        """Converts the time of a report to the saga's clock.

        A report is never later than its receipt, so a clock that is ahead is not corrected here.
        """
        return moment + max(self._offsets.get(process_key(process), 0), 0)

    def lists_as_open(self, process: Process, span_id: str) -> bool:
        """Whether the process's latest heartbeat lists this span as open."""
        instance = self.instance(process)
        heartbeat = instance.heartbeat if instance else None
        return heartbeat is not None and span_id in heartbeat.open_spans

    def replacement(self, process: Process) -> Instance | None:
        """The latest other process of the same service that was first seen after this one."""
        own = self.instance(process)
        first_seen = own.first_seen if own else 0
        others = [
            each
            for each in self._instances.values()
            if each.process.service == process.service
            and process_key(each.process) != process_key(process)
            and each.first_seen > first_seen
        ]
        return max(others, key=lambda each: each.first_seen, default=None)

    def reported_since(self, service: str | None, moment: int) -> bool:
        """Whether any process of a service reported after a time."""
        return any(
            each.process.service == service and self.last_seen_at(each) > moment for each in self._instances.values()
        )


def must_report_by(instance: Instance | None) -> int | None:
    """The deadline of a process's next report; None if it sends no heartbeats."""
    if instance is None or instance.heartbeat is None:
        return None
    if instance.heartbeat.final:
        return 0
    allowed = MISSED_HEARTBEATS * instance.heartbeat.interval
    return instance.reported_at + round(allowed * NANOSECONDS_PER_SECOND)


def is_other_deadline(held: int | None, deadline: int | None, now: int) -> bool:
    """Whether a diagnosis based on one `must_report_by` may change with another.

    It may if the other is earlier, or if the process was lost and reports again.
    """
    if deadline is None or held is None:
        return deadline is not held
    return deadline < held or held < now < deadline


def is_alive(instance: Instance, context: Context) -> bool:
    """Whether a process is alive according to its reports; True if it never sent a heartbeat."""
    return not Liveness([instance], EvaluationClock(context.now, context.ingest_outages), {}).is_lost(instance.process)


MIN_OUTAGE_SERVICES = 3
"""Minimum number of services that stop reporting at once in an outage; two may be lost independently."""

SIMULTANEOUS_SECONDS = 60.0
"""Seconds, in addition to their intervals, between the last reports of services that stop at once."""

MAX_OUTAGE_AGE_SECONDS = 86_400.0
"""Seconds after which an outage is no longer reported: services may be decommissioned."""


def outages(instances: Iterable[Instance], context: Context, missed: float = MISSED_HEARTBEATS) -> Mapping[str, int]:
    """Returns the start of the outage of each environment most of whose services stopped reporting; usually empty.

    Services without heartbeats count only while they report. Bridges, and services that reported a shutdown, do not
    count. A service counts as not reporting after ``missed`` of its announced intervals.
    """
    by_service: defaultdict[str, defaultdict[str, list[Instance]]] = defaultdict(lambda: defaultdict(list))
    others: defaultdict[str, dict[str, int]] = defaultdict(dict)
    for each in instances:
        heartbeat, process = each.heartbeat, each.process
        if heartbeat is None:
            seen = others[process.environment]
            seen[process.service] = max(seen.get(process.service, 0), each.last_seen)
        elif not heartbeat.final and not heartbeat.bridge and process.identity:
            by_service[process.environment][process.service].append(each)
    found = {environment: _outage(of, others[environment], context, missed) for environment, of in by_service.items()}
    return {environment: since for environment, since in found.items() if since is not None}


def _outage(
    services: Mapping[str, list[Instance]], others: Mapping[str, int], context: Context, missed: float
) -> int | None:
    clock = EvaluationClock(context.now, context.ingest_outages)
    latest = [max(each, key=attrgetter("reported_at")) for each in services.values()]
    lost = [each for each in latest if clock.has_elapsed(each.reported_at, missed * _interval(each))]
    if not lost:
        return None
    end = max(each.reported_at for each in lost)
    simultaneous = [
        each
        for each in lost
        if each.reported_at >= end - round((SIMULTANEOUS_SECONDS + _interval(each)) * NANOSECONDS_PER_SECOND)
    ]
    without_heartbeats = [name for name, seen in others.items() if name not in services and seen > end]
    is_any_reporting = len(lost) < len(latest) or bool(without_heartbeats)
    number = len(latest) + len(without_heartbeats)
    is_most = 2 * len(simultaneous) > number and len(simultaneous) >= (MIN_OUTAGE_SERVICES if is_any_reporting else 2)
    start = min(each.reported_at for each in simultaneous)
    return start if is_most and not clock.has_elapsed(end, MAX_OUTAGE_AGE_SECONDS) else None


def _interval(instance: Instance) -> float:
    return instance.heartbeat.interval if instance.heartbeat else 0.0
