"""Liveness of processes by their heartbeats, and outages: most services stop reporting at once."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from operator import attrgetter

from sagascope_collector.analysis.context import Context, EvaluationClock
from sagascope_collector.analysis.spans import ProcessKey, process_key, processes
from sagascope_collector.durations import NANOSECONDS_PER_SECOND
from sagascope_collector.records import Instance, Process

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


MIN_SERVICES = 3
"""Minimum number of services that stop reporting at once in an outage; two may be lost independently."""

SIMULTANEOUS_SECONDS = 60.0
"""Seconds, in addition to their intervals, between the last reports of services that stop at once."""

MAX_AGE_SECONDS = 86_400.0
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
    is_most = 2 * len(simultaneous) > number and len(simultaneous) >= (MIN_SERVICES if is_any_reporting else 2)
    start = min(each.reported_at for each in simultaneous)
    return start if is_most and not clock.has_elapsed(end, MAX_AGE_SECONDS) else None


def _interval(instance: Instance) -> float:
    return instance.heartbeat.interval if instance.heartbeat else 0.0
