"""How far a database has the records of a lake."""

from typing import NamedTuple

from sagascope_collector.lake.catalog import SQL
from sagascope_collector.storage import Storage


class Position(NamedTuple):
    """A position in a lake; the first one is before all records."""

    lake: str
    """The lake's identity."""
    snapshot: int = 0
    """The last snapshot that is stored completely."""
    spans: int = 0
    """The rows of each table with smaller row ids are stored, in whatever snapshot they are."""
    logs: int = 0
    linked_spans: int = 0


class LakeCursor:
    """The table `lake_cursor`."""

    def __init__(self, storage: Storage) -> None:
        self._database = storage.database

    def read(self) -> Position | None:
        """Returns the stored position; None: the database follows no lake."""
        found = self._database.rows(SQL["select_cursor"])
        return Position(*found[0]) if found else None

    def write(self, position: Position) -> None:
        """Stores a position."""
        with self._database.transaction():
            self._database.rows(SQL["delete_cursor"])
            self._database.rows(SQL["insert_cursor"], position._asdict())
