"""The observations of processes in one batch: first and last timestamps, and heartbeats."""

from dataclasses import dataclass, field

from sagascope_collector.records import Process
from sagascope_collector.storage import Beat, Observation


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
