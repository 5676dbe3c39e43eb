"""Every process ever heard, in memory; the database has them as of the last sealing, the journals what came since."""

import threading
from collections import defaultdict
from collections.abc import Iterable, Sequence

import pyarrow as pa

from sagascope_collector.records import Instance
from sagascope_collector.store import presences
from sagascope_collector.store.presence import Identity, Presence, Sighting, identity_of, merge

Service = tuple[str, str]
"""(environment, service)."""


class Census:
    """The processes, by their services. Safe from any thread."""

    def __init__(self, known: Iterable[Presence]) -> None:
        self._lock = threading.Lock()
        self._of_service: defaultdict[Service, dict[Identity, Presence]] = defaultdict(dict)
        self._unwritten: set[Identity] = set()
        for each in known:
            self._put(each)

    def see(self, sightings: Sequence[Sighting]) -> None:
        """Join what a commit says of processes."""
        with self._lock:
            seen = {identity_of(each.process) for each in sightings}
            known = [found for each in seen if (found := self._of_service[each[:2]].get(each))]
            for presence in merge(known, sightings):
                self._put(presence)
            self._unwritten |= seen

    def instances(self) -> Sequence[Instance]:
        """All of them, latest first."""
        with self._lock:
            every = [each for of in self._of_service.values() for each in of.values()]
        ordered = sorted(every, key=lambda each: (-each.last_seen, identity_of(each.process)))
        return [each.instance() for each in ordered]

    def of(self, service: Service) -> Sequence[Instance]:
        """Those of one service."""
        with self._lock:
            found = list(self._of_service[service].values()) if service in self._of_service else []
        return [each.instance() for each in found]

    def unwritten(self) -> pa.Table:
        """What changed since this was last asked, as `presences.SCHEMA`."""
        with self._lock:
            changed, self._unwritten = self._unwritten, set()
            return presences.table(self._of_service[each[:2]][each] for each in sorted(changed))

    def _put(self, presence: Presence) -> None:
        identity = identity_of(presence.process)
        self._of_service[identity[:2]][identity] = presence
