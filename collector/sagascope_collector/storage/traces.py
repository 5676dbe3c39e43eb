"""Which commits hold the records of a trace, so that a trace is found without reading the whole history.

Commits are indexed in parts, a while after they were made; later commits, and those before the index, are read.
"""

from collections.abc import Sequence
from typing import Final

from sagascope_collector.storage.changes import Interval, merged
from sagascope_collector.storage.connection import statements
from sagascope_collector.storage.database import Database
from sagascope_collector.storage.records import Records

SQL: Final = statements("traces")

PART_RECORDS: int = 500_000
"""Number of records that are indexed together."""


class TraceIndex:
    """Finds the commits of a trace. One thread indexes; any thread may read."""

    def __init__(self, database: Database, records: Records) -> None:
        self._database = database
        self._records = records
        ((self._first, self._last),) = database.rows(SQL["select_indexed"])

    def index(self) -> bool:
        """Indexes the next commits once there are many records; False: there are few.

        Raises:
            StorageUnavailable: nothing was indexed.
        """
        first, last = self._last + 1, self._last + PART_RECORDS
        if last > self._records.seq:
            return False
        self._database.rows(SQL["insert_trace_commits"], {"first": first, "last": last})
        self._first, self._last = self._first or first, last
        return True

    def commits(self, trace_id: bytes) -> Sequence[Interval]:
        """Returns intervals of commits that contain all records of a trace; others may be in them."""
        while True:
            first, last = self._first, self._last
            found = self._database.rows(SQL["select_commits_of_trace"], {"trace": trace_id.hex().upper()})
            if (first, last) == (self._first, self._last):  # otherwise the index changed meanwhile
                return merged([(0, max(first, 1) - 1), *found, (last + 1, self._records.seq)])

    def delete(self, last: int) -> None:
        """Removes commits up to `last` from the index: few of their records are left.

        Raises:
            StorageUnavailable: nothing was removed.
        """
        self._first = max(self._first, last + 1)
        with self._database.transaction():
            self._database.rows(SQL["delete_trace_commits"], {"last": last})
            self._database.rows(SQL["update_trace_commits"], {"last": last})

    def clear(self) -> None:
        """Within a transaction: removes all traces. They are indexed again."""
        self._first = self._last = 0
        self._database.rows(SQL["clear_trace_commits"])
