"""Silence of most services at once: then it is the telemetry that was lost, not the services."""

from collections import defaultdict
from collections.abc import Iterable, Mapping

from sagascope_collector.records import Instance
from sagascope_collector.sagas.context import Context
from sagascope_collector.sagas.liveness import MISSED_BEATS
from sagascope_collector.sagas.values import SECOND
from sagascope_collector.sagas.watch import Watch

FEWEST = 2
"""Services that must fall silent for it to be more than their own silence."""

AT_ONCE = 60.0
"""Seconds, beside their intervals, that lie between the last words of services that fell silent at once."""

RECENT = 86_400.0
"""Seconds after which a silence is no news any more: services come and go."""


def outages(instances: Iterable[Instance], context: Context, missed: float = MISSED_BEATS) -> Mapping[str, int]:
    """Since when most services of an environment have been silent at once, by environment; mostly there is none.

    Services that send no heartbeats, or said farewell, do not count, nor do bridges. Silent are those that ``missed``
    so many of the intervals that they promised.
    """
    by_service: defaultdict[str, defaultdict[str, list[Instance]]] = defaultdict(lambda: defaultdict(list))
    for each in instances:
        said = each.heartbeat
        if said is not None and not said.final and not said.following and each.process.identity:
            by_service[each.process.environment][each.process.service].append(each)
    found = {environment: _outage(of.values(), context, missed) for environment, of in by_service.items()}
    return {environment: since for environment, since in found.items() if since is not None}


def _outage(services: Iterable[list[Instance]], context: Context, missed: float) -> int | None:
    watch = Watch(context.now, context.deaf)
    latest = [max(each, key=_heard) for each in services]
    lost = [each for each in latest if watch.is_past(_heard(each), missed * _interval(each))]
    if not lost:
        return None
    end = max(_heard(each) for each in lost)
    together = [each for each in lost if _heard(each) >= end - round((AT_ONCE + _interval(each)) * SECOND)]
    begun = min(_heard(each) for each in together)
    is_most = len(together) >= FEWEST and len(together) > len(latest) - len(lost)
    return begun if is_most and not watch.is_past(end, RECENT) else None


def _heard(instance: Instance) -> int:
    return max(instance.last_seen, instance.heartbeat.at if instance.heartbeat else 0)


def _interval(instance: Instance) -> float:
    return instance.heartbeat.interval if instance.heartbeat else 0.0
