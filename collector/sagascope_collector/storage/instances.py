"""The registry of instances: every known process, in memory.

The table has their state as of `state.seq`; later observations are in the rows of the commits.
"""

import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from pydantic import TypeAdapter

from sagascope_collector.observations import Identity, KnownInstance, Observation, Registry, Service, identity_of
from sagascope_collector.records import Instance
from sagascope_collector.storage.connection import statements
from sagascope_collector.storage.database import Database
from sagascope_collector.storage.schema import table

SQL: Final = statements("instances")

_INSTANCE: Final = TypeAdapter(KnownInstance)


class Instances:
    """The instances by service. Thread-safe."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._lock = threading.Lock()
        self._registry = Registry()
        self._unwritten: set[Identity] = set()
        for (document,) in database.rows(SQL["select_instances"]):
            self._registry.put(_INSTANCE.validate_json(document))

    def observe(self, observations: Sequence[Observation]) -> None:
        """Merges the observations of a commit."""
        with self._lock:
            self._unwritten |= self._registry.observe(observations)

    def adopt(self, documents: Iterable[str]) -> None:
        """Replaces instances by what another collector knew of them later."""
        for later in map(_INSTANCE.validate_json, documents):
            with self._lock:
                known = self._registry.get(identity := identity_of(later.process))
                if known is None or known.last_seen <= later.last_seen:
                    self._registry.put(later)
                    self._unwritten.add(identity)

    def documents(self) -> dict[Identity, str]:
        """Returns the stored form of all instances, for `adopt`."""
        with self._lock:
            every = self._registry.all()
        return {identity_of(each.process): _INSTANCE.dump_json(each).decode() for each in every}

    def all(self) -> Sequence[Instance]:
        """Returns all instances, the last seen first."""
        with self._lock:
            every = self._registry.all()
        ordered = sorted(every, key=lambda each: (-each.last_seen, identity_of(each.process)))
        return [each.instance() for each in ordered]

    def of_services(self, services: Iterable[Service]) -> tuple[Instance, ...]:
        """Returns the instances of some services."""
        with self._lock:
            found = [each for service in services for each in self._registry.of_service(service)]
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
        """Within a transaction: writes the state of these instances, and deletes those that were forgotten."""
        with self._lock:
            known = {each: self._registry.get(each) for each in identities}
        if rows := [(*identity, _INSTANCE.dump_json(each).decode()) for identity, each in known.items() if each]:
            self._database.rows(
                SQL["put_instances"], batch_instances=table("environment service identity document", rows)
            )
        if forgotten := [identity for identity, each in known.items() if each is None]:
            self._database.rows(SQL["delete_instances"], forgotten=table("environment service identity", forgotten))
