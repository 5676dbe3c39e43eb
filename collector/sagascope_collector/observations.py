"""Merges the observations of processes that batches contain, in any order of arrival, and remembers the latest."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from pydantic import TypeAdapter

from sagascope_collector.durations import NANOSECONDS_PER_SECOND
from sagascope_collector.records import BridgeState, Heartbeat, Instance, OpenSpanList, Process

SETTLED_AFTER_NS: Final = 10 * NANOSECONDS_PER_SECOND
"""A span absent from a list has ended if the list is this much older than the latest."""

LIVE_TOLERANCE_NS: Final = NANOSECONDS_PER_SECOND
"""Maximum difference between the interval of two heartbeats and that of their receipts, if neither was delayed."""


@dataclass(frozen=True, slots=True)
class Beat:
    """One heartbeat record: the complete report of a process at a time, or one part of it."""

    at: int
    interval: float
    sequence: int
    open_spans: frozenset[str]
    part: int = 1
    parts: int = 1
    dropped: int = 0
    final: bool = False
    bridge: BridgeState | None = None
    received_at: int = 0
    ahead: int = 0
    """Nanoseconds by which it is dated after its receipt; ``at`` is its receipt then."""


@dataclass(frozen=True, slots=True)
class Observation:
    """Observations of one process in one batch; times are as in `records.Instance`."""

    process: Process
    first_seen: int
    last_seen: int
    beats: tuple[Beat, ...] = ()


@dataclass(frozen=True, slots=True)
class KnownInstance:
    """The stored form of an `Instance`, whose latest list of open spans may still lack parts."""

    process: Process
    first_seen: int
    last_seen: int
    beat: Beat | None = None
    """The latest heartbeat; the parts received so far are joined in ``open_spans``."""
    parts_seen: frozenset[int] = frozenset()
    past: tuple[OpenSpanList, ...] = ()
    """Complete lists before `beat`, oldest first: the first of each second in `SETTLED_AFTER_NS`, and one older."""
    lag: int | None = None
    """As in `records.Instance`."""
    version_since: int = 0
    """As in `records.Instance`; 0: not stored."""

    def listed_spans(self) -> int:
        """Returns the number of spans in all lists."""
        return (len(self.beat.open_spans) if self.beat else 0) + sum(len(each.open_spans) for each in self.past)

    def instance(self) -> Instance:
        """Returns the process as the rest of the collector uses it."""
        return Instance(
            self.process,
            self.first_seen,
            self.last_seen,
            self._heartbeat(),
            self._earlier(),
            self.lag,
            self.version_since or self.first_seen,
        )

    def _earlier(self) -> OpenSpanList | None:
        if self.beat is None or not self.past or self.past[0].at > self.beat.at - SETTLED_AFTER_NS:
            return None
        return self.past[0]

    def _heartbeat(self) -> Heartbeat | None:
        beat = self.beat
        if beat is None:
            return None
        complete = len(self.parts_seen) >= beat.parts
        return Heartbeat(
            beat.at,
            beat.interval,
            beat.sequence,
            beat.open_spans,
            complete,
            dropped=beat.dropped,
            final=beat.final,
            bridge=beat.bridge,
            ahead=beat.ahead,
        )


Service = tuple[str, str]
"""(environment, service)."""

Identity = tuple[str, str, str]
"""(environment, service, identity), which distinguishes processes."""

MAX_INSTANCES: Final = 50_000
"""Maximum number of known processes; those that were not seen for the longest time are forgotten."""

MAX_OPEN_SPANS: Final = 500_000
"""Maximum number of open spans in the lists of all known processes."""

KEPT_SHARE: Final = 0.9
"""Share of a maximum that is left when it was exceeded, so that it is not exceeded again at once."""


def identity_of(process: Process) -> Identity:
    """Returns the identity of a process."""
    return process.environment, process.service, process.identity


class Registry:
    """The known instances. If there are too many, those are forgotten that were not seen for the longest time."""

    def __init__(self) -> None:
        self._of_service: defaultdict[Service, dict[Identity, KnownInstance]] = defaultdict(dict)
        self._number = self._open_spans = 0

    def observe(self, observations: Sequence[Observation]) -> set[Identity]:
        """Merges observations; returns the instances that changed or were forgotten."""
        seen = {identity_of(each.process) for each in observations}
        for instance in merge([found for each in seen if (found := self.get(each))], observations):
            self.put(instance)
        return seen | self._forget_some()

    def get(self, identity: Identity) -> KnownInstance | None:
        """Returns one instance; None: it is not known."""
        return self._of_service.get(identity[:2], {}).get(identity)

    def all(self) -> list[KnownInstance]:
        """Returns every instance."""
        return [each for of in self._of_service.values() for each in of.values()]

    def of_service(self, service: Service) -> list[KnownInstance]:
        """Returns the instances of a service."""
        return list(self._of_service.get(service, {}).values())

    def put(self, instance: KnownInstance) -> None:
        """Adds or replaces an instance."""
        self._remove(identity := identity_of(instance.process))
        self._of_service[identity[:2]][identity] = instance
        self._number += 1
        self._open_spans += instance.listed_spans()

    def _remove(self, identity: Identity) -> None:
        if known := self._of_service[identity[:2]].pop(identity, None):
            self._number -= 1
            self._open_spans -= known.listed_spans()
        if not self._of_service[identity[:2]]:
            del self._of_service[identity[:2]]

    def _forget_some(self) -> set[Identity]:
        forgotten: set[Identity] = set()
        if self._number <= MAX_INSTANCES and self._open_spans <= MAX_OPEN_SPANS:
            return forgotten
        for each in sorted(self.all(), key=lambda each: each.last_seen):
            if self._number <= MAX_INSTANCES * KEPT_SHARE and self._open_spans <= MAX_OPEN_SPANS * KEPT_SHARE:
                break
            forgotten.add(identity := identity_of(each.process))
            self._remove(identity)
        return forgotten


def merge(known: Iterable[KnownInstance], observations: Iterable[Observation]) -> list[KnownInstance]:
    """Merges observations into the known instances, in any order of arrival."""
    merged = {identity_of(each.process): each for each in known}
    for observation in observations:
        identity = identity_of(observation.process)
        merged[identity] = _observed(merged.get(identity), observation)
    return list(merged.values())


def _observed(earlier: KnownInstance | None, observation: Observation) -> KnownInstance:
    known = earlier or KnownInstance(observation.process, observation.first_seen, observation.last_seen)
    newer = observation.last_seen >= known.last_seen
    version_since = known.version_since or known.first_seen
    if observation.process.version == known.process.version:
        version_since = min(version_since, observation.first_seen)
    elif newer:
        version_since = observation.first_seen
    known = replace(
        known,
        process=observation.process if newer else known.process,
        first_seen=min(known.first_seen, observation.first_seen),
        last_seen=max(known.last_seen, observation.last_seen),
        version_since=version_since,
    )
    for beat in observation.beats:
        known = _reported(known, beat)
    return known


def _reported(known: KnownInstance, beat: Beat) -> KnownInstance:
    current = known.beat
    if current and _same_list(known, current, beat):
        whole = replace(current, at=max(current.at, beat.at), open_spans=current.open_spans | beat.open_spans)
        return replace(known, beat=whole, parts_seen=known.parts_seen | {beat.part})
    if current is None:
        return replace(known, beat=beat, parts_seen=frozenset({beat.part}))
    if (beat.at, beat.sequence) <= (current.at, current.sequence):
        return _remember(known, beat, complete=beat.parts == 1)
    known = _remember(known, current, complete=len(known.parts_seen) >= current.parts, latest=beat.at)
    lag = _lag(current, beat)
    if lag is None and known.lag is not None and beat.received_at > 0:
        lag = min(known.lag, beat.received_at - beat.at - beat.ahead)  # it was set meanwhile
    return replace(known, beat=beat, parts_seen=frozenset({beat.part}), lag=lag)


def _lag(earlier: Beat, later: Beat) -> int | None:
    """Returns the lag of two heartbeats; None: one was delivered late, so that their receipts prove nothing.

    Heartbeats that arrive together, as in an import, were not received at the intervals at which they were sent.
    """
    lags = [each.received_at - each.at - each.ahead for each in (earlier, later)]
    is_apart = later.received_at - earlier.received_at >= LIVE_TOLERANCE_NS
    is_live = earlier.received_at > 0 and is_apart and abs(lags[0] - lags[1]) <= LIVE_TOLERANCE_NS
    return min(lags) if is_live else None


def _remember(known: KnownInstance, beat: Beat, *, complete: bool, latest: int = 0) -> KnownInstance:
    """Stores a list that is not the latest, as long as it can determine when a span ended."""
    latest = max(latest, known.beat.at if known.beat else 0)
    if not complete or beat.at >= latest:
        return known
    by_second = {each.at // NANOSECONDS_PER_SECOND: each for each in known.past}
    of_second = by_second.get(beat.at // NANOSECONDS_PER_SECOND)
    if of_second is None or beat.at < of_second.at:  # the last list of a second could replace the one that has settled
        by_second[beat.at // NANOSECONDS_PER_SECOND] = OpenSpanList(beat.at, beat.open_spans, beat.ahead)
    ordered = sorted(by_second.values(), key=lambda each: each.at)
    settled = [each for each in ordered if each.at <= latest - SETTLED_AFTER_NS]
    return replace(known, past=(*settled[-1:], *ordered[len(settled) :]))


def _same_list(known: KnownInstance, current: Beat, beat: Beat) -> bool:
    """Returns whether this is a missing part of the list being joined; a repeated part belongs to a later list."""
    return beat.sequence == current.sequence and beat.parts == current.parts and beat.part not in known.parts_seen


_OBSERVATIONS: Final = TypeAdapter(list[Observation])


def dump_observations(observations: Sequence[Observation]) -> str:
    """Returns the stored form of a commit's observations."""
    return _OBSERVATIONS.dump_json(list(observations)).decode()


def load_observations(text: str) -> list[Observation]:
    """Parses the output of `dump_observations`."""
    return _OBSERVATIONS.validate_json(text)
