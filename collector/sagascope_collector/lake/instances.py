"""What is known of processes, in the catalog of a lake, after the snapshots that said it have expired."""

from typing import Any

from sagascope_collector.lake.catalog import SQL
from sagascope_collector.observations import Identity
from sagascope_collector.storage import Storage


class InstanceTable:
    """The table `sagascope_instances`, as a copy of the lake writes it. For one thread."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._written: dict[Identity, str] = {}

    def write(self, session: Any) -> None:
        """Stores all that the copy knows; only then may snapshots expire that it has copied.

        Raises:
            psycopg.Error: nothing was stored.
        """
        known = self._storage.instances.documents()
        changed = [(*key, text) for key, text in known.items() if self._written.get(key) != text]
        with session.transaction(), session.cursor() as cursor:
            cursor.executemany(SQL["put_instance"], changed)
            cursor.executemany(SQL["delete_instance"], [key for key in self._written if key not in known])
        self._written = known
