"""The registry of instances: every known process, in memory.

The table has their state as of `state.seq`; later observations are in the rows of the commits.
"""

import threading
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from pydantic import TypeAdapter

from sagascope_collector.observations import Identity, KnownInstance, Observation, identity_of, merge
from sagascope_collector.records import Instance
from sagascope_collector.storage.connection import statements
from sagascope_collector.storage.database import Database
from sagascope_collector.storage.schema import table

SQL: Final = statements("instances")

Service = tuple[str, str]
"""(environment, service)."""

_INSTANCE: Final = TypeAdapter(KnownInstance)
_OBSERVATIONS: Final = TypeAdapter(list[Observation])


class Instances:
    """The instances by service. Thread-safe."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._lock = threading.Lock()
        self._of_service: defaultdict[Service, dict[Identity, KnownInstance]] = defaultdict(dict)
        self._unwritten: set[Identity] = set()
        for (document,) in database.rows(SQL["select_instances"]):
            self._put(_INSTANCE.validate_json(document))

    def observe(self, observations: Sequence[Observation]) -> None:
        """Merges the observations of a commit."""
        with self._lock:
            seen = {identity_of(each.process) for each in observations}
            known = [found for each in seen if (found := self._of_service[each[:2]].get(each))]
            for instance in merge(known, observations):
                self._put(instance)
            self._unwritten |= seen

    def all(self) -> Sequence[Instance]:
        """Returns all instances, the last seen first."""
        with self._lock:
            every = [each for of in self._of_service.values() for each in of.values()]
        ordered = sorted(every, key=lambda each: (-each.last_seen, identity_of(each.process)))
        return [each.instance() for each in ordered]

    def of_services(self, services: Iterable[Service]) -> tuple[Instance, ...]:
        """Returns the instances of some services."""
        with self._lock:
            found = [
                each
                for service in services
                if service in self._of_service
                for each in self._of_service[service].values()
            ]
        return tuple(each.instance() for each in found)

    @contextmanager
    def writing(self) -> Iterator[list[Identity]]:
        """Yields the changed instances, to be written in a transaction in the block; if it fails, they stay changed."""
        with self._lock:
            changed, self._unwritten = self._unwritten, set()
        try:
            yield sorted(changed)
        except BaseException:
            with self._lock:
                self._unwritten |= changed
            raise

    def write(self, identities: Sequence[Identity]) -> None:
        """Within a transaction: writes the state of these instances."""
        if not identities:
            return
        with self._lock:
            documents = [_INSTANCE.dump_json(self._of_service[each[:2]][each]).decode() for each in identities]
        rows = ((*identity, document) for identity, document in zip(identities, documents, strict=True))
        self._database.rows(SQL["put_instances"], batch_instances=table("environment service identity document", rows))

    def _put(self, instance: KnownInstance) -> None:
        identity = identity_of(instance.process)
        self._of_service[identity[:2]][identity] = instance


def dump(observations: Sequence[Observation]) -> str:
    """Returns the stored form of a commit's observations."""
    return _OBSERVATIONS.dump_json(list(observations)).decode()


def load_observations(text: str) -> list[Observation]:
    """Parses the output of `dump`."""
    return _OBSERVATIONS.validate_json(text)
