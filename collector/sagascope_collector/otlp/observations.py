"""The observations of processes in one batch: first and last timestamps, and heartbeats."""

import math
from dataclasses import dataclass, field
from typing import Final

from sagascope import semconv
from sagascope_collector.observations import Beat, Observation
from sagascope_collector.records import Attributes, Following, Process, Value, count

DEFAULT_HEARTBEAT_INTERVAL_SECONDS: Final = 60.0
"""The interval to the next heartbeat if a record does not have it."""

MAX_HEARTBEAT_PARTS: Final = 10_000


@dataclass(slots=True)
class _Seen:
    first: int
    last: int
    beats: list[Beat] = field(default_factory=list)


class Observations:
    """Collects the observations of a batch."""

    def __init__(self) -> None:
        self._seen: dict[Process, _Seen] = {}

    def see(self, process: Process, earliest: int, latest: int, received_at: int) -> None:
        """Notes the timestamps of a record of a process, 0 where it has none.

        Nothing was sent after it was received: a later time is a wrong clock, and would hide that it stops reporting.
        """
        first, last = min(earliest or received_at, received_at), min(latest or received_at, received_at)
        seen = self._seen.get(process)
        if seen is None:
            self._seen[process] = _Seen(first, last)
            return
        seen.first, seen.last = min(seen.first, first), max(seen.last, last)

    def add_heartbeat(self, process: Process, beat: Beat) -> None:
        """Adds a heartbeat of a process that was seen."""
        self._seen[process].beats.append(beat)

    def all(self) -> tuple[Observation, ...]:
        """Returns one observation for each process."""
        seen = self._seen.items()
        return tuple(Observation(process, each.first, each.last, tuple(each.beats)) for process, each in seen)


def beat(attributes: Attributes, at: int) -> Beat:
    """Reads a heartbeat; a missing or invalid attribute has no effect."""
    parts = min(count(attributes.get(semconv.HEARTBEAT_PARTS)) or 1, MAX_HEARTBEAT_PARTS)
    return Beat(
        at=at,
        interval=_positive(attributes.get(semconv.HEARTBEAT_INTERVAL)) or DEFAULT_HEARTBEAT_INTERVAL_SECONDS,
        sequence=count(attributes.get(semconv.HEARTBEAT_SEQUENCE)),
        open_spans=_ids(attributes.get(semconv.HEARTBEAT_OPEN_SPANS)),
        part=min(count(attributes.get(semconv.HEARTBEAT_PART)) or 1, parts),
        parts=parts,
        dropped=count(attributes.get(semconv.HEARTBEAT_DROPPED)),
        final=attributes.get(semconv.HEARTBEAT_FINAL) is True,
        following=_following(attributes),
    )


def _following(attributes: Attributes) -> Following | None:
    kind = attributes.get(semconv.BRIDGE_KIND)
    if not isinstance(kind, str) or not kind:
        return None
    error = attributes.get(semconv.BRIDGE_ERROR)
    return Following(
        kind=kind,
        lag=_positive(attributes.get(semconv.BRIDGE_LAG)) or 0.0,
        watching=count(attributes.get(semconv.BRIDGE_WATCHING)),
        error=error if isinstance(error, str) else "",
    )


def promise(interval: float, at: int) -> Beat:
    """Returns a heartbeat for a process that announced only when it sends one open span again.

    It is the first of two parts, of which the second never comes: no other span is over because it is not listed.
    """
    return Beat(at=at, interval=interval, sequence=0, open_spans=frozenset(), part=1, parts=2)


def _positive(value: Value) -> float | None:
    if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value > 0:
        return float(value)
    return None


def _ids(value: Value) -> frozenset[str]:
    listed = value if isinstance(value, list) else ()
    return frozenset(each.lower() for each in listed if isinstance(each, str))
