"""What a batch says of each process, and how it is joined to what was known. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final

from sagascope_collector.records import Following, Heartbeat, Instance, Listing, Process

SECOND: Final = 1_000_000_000

SETTLED_AFTER: Final = 10 * SECOND
"""How much older than the latest a list must be for a span that it lacks to be over."""


@dataclass(frozen=True, slots=True)
class Beat:
    """One heartbeat record: the whole of what a process said at that moment, or one part of it."""

    at: int
    interval: float
    sequence: int
    open_spans: frozenset[str]
    part: int = 1
    parts: int = 1
    dropped: int = 0
    final: bool = False
    following: Following | None = None


@dataclass(frozen=True, slots=True)
class Sighting:
    """What one batch says of one process; times as in `records.Instance`."""

    process: Process
    first_seen: int
    last_seen: int
    beats: tuple[Beat, ...] = ()


@dataclass(frozen=True, slots=True)
class Presence:
    """One process as it is kept: an `Instance` whose latest list of open spans may still lack parts."""

    process: Process
    first_seen: int
    last_seen: int
    beat: Beat | None = None
    """The latest; the parts that came of it are joined in ``open_spans``."""
    parts_seen: frozenset[int] = frozenset()
    past: tuple[Listing, ...] = ()
    """Complete lists before `beat`, oldest first: the first of each second in `SETTLED_AFTER`, one older."""

    def instance(self) -> Instance:
        """What everybody else gets to see."""
        return Instance(self.process, self.first_seen, self.last_seen, self._heartbeat(), self._earlier())

    def _earlier(self) -> Listing | None:
        if self.beat is None or not self.past or self.past[0].at > self.beat.at - SETTLED_AFTER:
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
            following=beat.following,
        )


Identity = tuple[str, str, str]
"""(environment, service, identity): what tells processes apart."""


def identity_of(process: Process) -> Identity:
    """What tells this process apart from others."""
    return process.environment, process.service, process.identity


def merge(known: Iterable[Presence], sightings: Iterable[Sighting]) -> list[Presence]:
    """Join sightings to what was known of the same processes, whatever order they came in."""
    merged = {identity_of(each.process): each for each in known}
    for sighting in sightings:
        identity = identity_of(sighting.process)
        merged[identity] = _seen(merged.get(identity), sighting)
    return list(merged.values())


def _seen(known: Presence | None, sighting: Sighting) -> Presence:
    presence = known or Presence(sighting.process, sighting.first_seen, sighting.last_seen)
    newer = sighting.last_seen >= presence.last_seen
    presence = replace(
        presence,
        process=sighting.process if newer else presence.process,
        first_seen=min(presence.first_seen, sighting.first_seen),
        last_seen=max(presence.last_seen, sighting.last_seen),
    )
    for beat in sighting.beats:
        presence = _heard(presence, beat)
    return presence


def _heard(presence: Presence, beat: Beat) -> Presence:
    current = presence.beat
    if current and _same_list(presence, current, beat):
        whole = replace(current, at=max(current.at, beat.at), open_spans=current.open_spans | beat.open_spans)
        return replace(presence, beat=whole, parts_seen=presence.parts_seen | {beat.part})
    if current is None:
        return replace(presence, beat=beat, parts_seen=frozenset({beat.part}))
    if (beat.at, beat.sequence) <= (current.at, current.sequence):
        return _remember(presence, beat, complete=beat.parts == 1)
    presence = _remember(presence, current, complete=len(presence.parts_seen) >= current.parts, latest=beat.at)
    return replace(presence, beat=beat, parts_seen=frozenset({beat.part}))


def _remember(presence: Presence, beat: Beat, *, complete: bool, latest: int = 0) -> Presence:
    """Keep a list that is not the latest, as long as it can tell when a span ended."""
    latest = max(latest, presence.beat.at if presence.beat else 0)
    if not complete or beat.at >= latest:
        return presence
    by_second = {each.at // SECOND: each for each in presence.past}
    known = by_second.get(beat.at // SECOND)
    if known is None or beat.at < known.at:  # the last of a second could push out the one that had settled
        by_second[beat.at // SECOND] = Listing(beat.at, beat.open_spans)
    ordered = sorted(by_second.values(), key=lambda each: each.at)
    settled = [each for each in ordered if each.at <= latest - SETTLED_AFTER]
    return replace(presence, past=(*settled[-1:], *ordered[len(settled) :]))


def _same_list(presence: Presence, current: Beat, beat: Beat) -> bool:
    """A missing part of the list that is being joined; a part that came already belongs to a later life."""
    return beat.sequence == current.sequence and beat.parts == current.parts and beat.part not in presence.parts_seen
