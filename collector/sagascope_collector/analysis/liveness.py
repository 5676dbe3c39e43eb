"""Which processes are alive, as far as they were heard."""

from collections.abc import Iterable, Mapping

from sagascope_collector.analysis.context import Context
from sagascope_collector.analysis.spans import ProcessKey, process_key, processes
from sagascope_collector.analysis.values import SECOND
from sagascope_collector.analysis.watch import Watch
from sagascope_collector.records import Instance, Process

MISSED_BEATS = 3
"""Promised intervals without a word after which a process is taken for lost."""


class Liveness:
    """What is known of the processes of a saga's services."""

    def __init__(self, instances: Iterable[Instance], watch: Watch, offsets: Mapping[ProcessKey, int]) -> None:
        self._instances = processes(instances)
        self._watch = watch
        self._offsets = offsets
        self.promises: dict[ProcessKey, int | None] = {}
        """What each process that was asked about had promised then, as `promised_until` tells it."""

    def instance(self, process: Process) -> Instance | None:
        """The process as it was last heard."""
        return self._instances.get(process_key(process))

    def beats(self, process: Process) -> bool:
        """Whether it ever sent a heartbeat; one that never did counts as alive."""
        instance = self.instance(process)
        return instance is not None and instance.heartbeat is not None

    def said_final(self, process: Process) -> bool:
        """Whether it said that it was shutting down."""
        instance = self.instance(process)
        return instance is not None and instance.heartbeat is not None and instance.heartbeat.final

    def is_lost(self, process: Process) -> bool:
        """Whether it said farewell, or broke its promise to be heard again."""
        if not process.identity:
            return False
        instance = self.instance(process)
        self.promises[process_key(process)] = promised_until(instance)
        if instance is None or instance.heartbeat is None:
            return False
        if instance.heartbeat.final:
            return True
        return self._watch.is_past(self.last_heard(instance), MISSED_BEATS * instance.heartbeat.interval)

    def last_heard(self, instance: Instance) -> int:
        """The latest sign of life, on the saga's clock."""
        latest = max(instance.last_seen, instance.heartbeat.at if instance.heartbeat else 0)
        return self.at(instance.process, latest)

    def at(self, process: Process, moment: int) -> int:
        """When it gave a sign of life, on the saga's clock.

        Signs are never later than they came, so that the time of a clock that is ahead is right as it stands.
        """
        return moment + max(self._offsets.get(process_key(process), 0), 0)

    def lists(self, process: Process, span_id: str) -> bool:
        """Whether its latest heartbeat says that this span is open."""
        instance = self.instance(process)
        beat = instance.heartbeat if instance else None
        return beat is not None and span_id in beat.open_spans

    def successor(self, process: Process) -> Instance | None:
        """The latest other process of the same service that was first seen after this one."""
        own = self.instance(process)
        born = own.first_seen if own else 0
        others = [
            each
            for each in self._instances.values()
            if each.process.service == process.service
            and process_key(each.process) != process_key(process)
            and each.first_seen > born
        ]
        return max(others, key=lambda each: each.first_seen, default=None)

    def heard_since(self, service: str | None, moment: int) -> bool:
        """Whether any process of a service was heard after a moment."""
        return any(
            each.process.service == service and self.last_heard(each) > moment for each in self._instances.values()
        )


def promised_until(instance: Instance | None) -> int | None:
    """Until when a process must be heard to count as alive, by its own clock; None where it never promised anything."""
    if instance is None or instance.heartbeat is None:
        return None
    if instance.heartbeat.final:
        return 0
    return max(instance.last_seen, instance.heartbeat.at) + round(MISSED_BEATS * instance.heartbeat.interval * SECOND)


def is_alive(instance: Instance, context: Context) -> bool:
    """Whether a process is alive, as far as it was heard; one that never sent a heartbeat counts as alive."""
    return not Liveness([instance], Watch(context.now, context.deaf), {}).is_lost(instance.process)
