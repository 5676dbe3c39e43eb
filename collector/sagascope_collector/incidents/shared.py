"""Where collectors share the changes of incidents."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol

from sagascope_collector.incident_records import IncidentChange
from sagascope_collector.storage import IncidentRecords


class SharedIncidents(Protocol):
    """The stored incidents, and their changes by any collector."""

    @property
    def leads(self) -> bool:
        """Whether this collector opens and resolves incidents; people change them on any."""

    def exclusive(self) -> AbstractContextManager[object]:
        """Returns a block in which no other collector changes incidents.

        Raises:
            StorageUnavailable: what was appended in the block may or may not be stored.
        """

    def read(self) -> Mapping[str, str]:
        """Copies changes that are new to the tables of this collector; returns their incidents as JSON texts, by key.

        Raises:
            StorageUnavailable: nothing was copied.
        """

    def append(self, documents: Mapping[str, str], changes: Sequence[IncidentChange]) -> None:
        """Stores incidents and their changes; to be called within `exclusive`, after `read`.

        Raises:
            StorageUnavailable: they are not stored.
        """


class UnsharedIncidents:
    """The `SharedIncidents` of a collector that shares them with none."""

    leads = True

    def __init__(self, records: IncidentRecords) -> None:
        self.append = records.store

    def exclusive(self) -> AbstractContextManager[object]:
        """Returns a block without effect."""
        return nullcontext()

    def read(self) -> Mapping[str, str]:
        """Returns nothing: no other collector changes the tables."""
        return {}
