"""How far a database has the records of a lake."""

from sagascope_collector.lake.catalog import SQL
from sagascope_collector.storage import Storage


class LakeCursor:
    """The table `lake_cursor`."""

    def __init__(self, storage: Storage) -> None:
        self._database = storage.database

    def read(self) -> tuple[str, int] | None:
        """Returns the lake's identity, and the last snapshot that is stored; None: the database follows no lake."""
        found = self._database.rows(SQL["select_cursor"])
        return (str(found[0][0]), int(found[0][1])) if found else None

    def write(self, lake: str, snapshot: int) -> None:
        """Stores both."""
        with self._database.transaction():
            self._database.rows(SQL["delete_cursor"])
            self._database.rows(SQL["insert_cursor"], {"lake": lake, "id": snapshot})
