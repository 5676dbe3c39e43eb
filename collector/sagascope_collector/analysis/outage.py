"""Most services stop reporting at once: then their telemetry may be lost, not they themselves."""

from collections import defaultdict
from collections.abc import Iterable, Mapping

from sagascope_collector.analysis.context import Context
from sagascope_collector.analysis.liveness import MISSED_BEATS
from sagascope_collector.analysis.values import SECOND
from sagascope_collector.analysis.watch import Watch
from sagascope_collector.records import Instance

MIN_SERVICES = 3
"""Services that must stop reporting at once, while others report: two may well be lost by themselves."""

SIMULTANEOUS_SECONDS = 60.0
"""Seconds, beside their intervals, between the last reports of services that stopped at once."""

MAX_AGE_SECONDS = 86_400.0
"""Seconds after which an outage is no longer reported: services come and go."""


def outages(instances: Iterable[Instance], context: Context, missed: float = MISSED_BEATS) -> Mapping[str, int]:
    """Since when most services of an environment have not reported, by environment; mostly there is none.

    Services that send no heartbeats count only where they report; those that reported a shutdown, and bridges, do not
    count. A service does not report once it ``missed`` so many of the intervals that it announced.
    """
    by_service: defaultdict[str, defaultdict[str, list[Instance]]] = defaultdict(lambda: defaultdict(list))
    others: defaultdict[str, dict[str, int]] = defaultdict(dict)
    for each in instances:
        said, process = each.heartbeat, each.process
        if said is None:
            seen = others[process.environment]
            seen[process.service] = max(seen.get(process.service, 0), each.last_seen)
        elif not said.final and not said.following and process.identity:
            by_service[process.environment][process.service].append(each)
    found = {environment: _outage(of, others[environment], context, missed) for environment, of in by_service.items()}
    return {environment: since for environment, since in found.items() if since is not None}


def _outage(
    services: Mapping[str, list[Instance]], others: Mapping[str, int], context: Context, missed: float
) -> int | None:
    watch = Watch(context.now, context.deaf)
    latest = [max(each, key=_last_seen) for each in services.values()]
    lost = [each for each in latest if watch.is_past(_last_seen(each), missed * _interval(each))]
    if not lost:
        return None
    end = max(_last_seen(each) for each in lost)
    span = SIMULTANEOUS_SECONDS
    together = [each for each in lost if _last_seen(each) >= end - round((span + _interval(each)) * SECOND)]
    without_heartbeats = [name for name, seen in others.items() if name not in services and seen > end]
    is_any_reporting = len(lost) < len(latest) or bool(without_heartbeats)
    number = len(latest) + len(without_heartbeats)
    is_most = 2 * len(together) > number and len(together) >= (MIN_SERVICES if is_any_reporting else 2)
    begun = min(_last_seen(each) for each in together)
    return begun if is_most and not watch.is_past(end, MAX_AGE_SECONDS) else None


def _last_seen(instance: Instance) -> int:
    return max(instance.last_seen, instance.heartbeat.at if instance.heartbeat else 0)


def _interval(instance: Instance) -> float:
    return instance.heartbeat.interval if instance.heartbeat else 0.0
