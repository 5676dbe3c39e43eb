"""What finished sagas taught, one row a saga: plans and durations are learned from the latest of each type."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

import pyarrow as pa

from sagascope_collector.records import SagaKey
from sagascope_collector.storage.connection import statements
from sagascope_collector.storage.database import Database
from sagascope_collector.storage.schema import table
from sagascope_collector.storage.summaries import LATEST_TIME_NS

SQL: Final = statements("baselines")

MAX_SHARE: Final = 1.2
"""Rows of a type, as a multiple of those to keep, beyond which the oldest are deleted together."""


class BaselineRow(NamedTuple):
    """What one finished saga taught, as text that the storage does not read."""

    key: SagaKey
    ended_at: int
    document: str


class Baselines:
    """The table of baselines. Written while `Sagas.writing` is held; any thread may read."""

    def __init__(self, database: Database) -> None:
        """Reads which sagas have a row: most writes are one insertion, since nothing has to be deleted before."""
        self._database = database
        self._ended_at: defaultdict[tuple[str, str], dict[SagaKey, int]] = defaultdict(dict)
        for *key, ended_at in database.rows(SQL["select_keys"]):
            self._ended_at[key[0], key[1]][SagaKey(*key)] = ended_at

    def put(self, rows: Sequence[BaselineRow], keep: int, stale: Sequence[SagaKey] = ()) -> None:
        """Adds rows, or replaces those of the same saga; of each type the ``keep`` that ended last stay.

        Others are deleted together, when they are a fifth of those. Rows of ``stale`` sagas are deleted.

        Raises:
            StorageUnavailable: none was added.
        """
        if not rows and not stale:
            return
        new, known = {row.key: row for row in rows}, self._ended_at
        dropped: set[SagaKey] = set()
        for name in {key[:2] for key in new}:
            ended_at = known[name] | {key: row.ended_at for key, row in new.items() if key[:2] == name}
            if len(ended_at) > keep * MAX_SHARE:
                dropped.update(sorted(ended_at, key=lambda key: (ended_at[key], key))[:-keep])
        gone = {key for key in (*new, *stale, *dropped) if key in known.get(key[:2], ())}
        added = [row for key, row in new.items() if key not in dropped]
        with self._database.transaction():
            if gone:
                self._database.rows(SQL["delete_baselines"], batch=_table(BaselineRow(key, 0, "") for key in gone))
            if added:
                self._database.insert("baselines", _table(added))
        for key in gone:
            known[key[:2]].pop(key)
        for row in added:
            known[row.key[:2]][row.key] = row.ended_at

    def forget(self, keys: Iterable[SagaKey]) -> None:
        """Notes that the rows of these were deleted, so that they do not count among those to keep."""
        for key in keys:
            self._ended_at[key[:2]].pop(key, None)

    def all(self) -> Sequence[str]:
        """Returns the documents of all rows, in no particular order."""
        return [document for (document,) in self._database.rows(SQL["select_baselines"])]


def _table(rows: Iterable[BaselineRow]) -> pa.Table:
    written = ((*row.key, min(row.ended_at, LATEST_TIME_NS), row.document) for row in rows)
    return table(" ".join((*SagaKey._fields, "ended_at", "document")), written, ended_at=pa.int64())
