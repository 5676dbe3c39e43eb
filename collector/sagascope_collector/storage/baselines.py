"""What finished sagas taught, one row a saga: plans and durations are learned from the latest of each type."""

from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

import pyarrow as pa

from sagascope_collector.records import SagaKey
from sagascope_collector.storage.database import Database
from sagascope_collector.storage.statements import load
from sagascope_collector.storage.summaries import LATEST_TIME_NS

SQL: Final = load("baselines")

SCHEMA: Final = pa.schema(
    [*((name, pa.string()) for name in SagaKey._fields), ("ended_at", pa.int64()), ("document", pa.string())]
)


class BaselineRow(NamedTuple):
    """What one finished saga taught, as text that the storage does not read."""

    key: SagaKey
    ended_at: int
    document: str


class Baselines:
    """The table of baselines. Safe from any thread."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def put(self, rows: Sequence[BaselineRow], keep: int, stale: Sequence[SagaKey] = ()) -> None:
        """Adds rows, or replaces those of the same saga; of each type the ``keep`` that ended last stay.

        Rows of ``stale`` sagas are deleted.

        Raises:
            StorageUnavailable: none was added.
        """
        if not rows and not stale:
            return
        batch = _table(rows)
        gone = _table([*rows, *(BaselineRow(key, 0, "") for key in stale)])
        with self._database.transaction():
            self._database.rows(SQL["delete_baselines"], batch=gone)
            self._database.rows(SQL["insert_baselines"], batch=batch)
            for environment, name in {row.key[:2] for row in rows}:
                values = {"environment": environment, "name": name, "keep": keep}
                self._database.rows(SQL["prune_baselines"], values)

    def all(self) -> Sequence[str]:
        """Returns the documents of all rows, in no particular order."""
        return [document for (document,) in self._database.rows(SQL["select_baselines"])]


def _table(rows: Iterable[BaselineRow]) -> pa.Table:
    latest = {row.key: row for row in rows}.values()
    written = [
        row.key._asdict() | {"ended_at": min(row.ended_at, LATEST_TIME_NS), "document": row.document} for row in latest
    ]
    return pa.Table.from_pylist(written, schema=SCHEMA)
