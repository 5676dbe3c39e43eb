"""The table of samples from which baselines are learned, one row per ended saga."""

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
"""Maximum rows of a type as a multiple of those to keep; beyond it the oldest are deleted together."""


class BaselineRow(NamedTuple):
    """The sample of one ended saga, as text that the storage does not parse."""

    key: SagaKey
    ended_at: int
    document: str


class Baselines:
    """The table of samples. Callers hold `Sagas.writing` to write; any thread may read."""

    def __init__(self, database: Database) -> None:
        """Reads which sagas have a row, so that most writes need one insertion and no deletion."""
        self._database = database
        self._ended_at: defaultdict[tuple[str, str], dict[SagaKey, int]] = defaultdict(dict)
        for *key, ended_at in database.rows(SQL["select_keys"]):
            self._ended_at[key[0], key[1]][SagaKey(*key)] = ended_at

    def put(self, rows: Sequence[BaselineRow], keep: int, stale: Sequence[SagaKey] = ()) -> None:
        """Adds rows, or replaces those of the same saga, and deletes rows of ``stale`` sagas.

        Of each type, the ``keep`` rows of sagas that ended last are kept. Others are deleted in batches of a fifth of
        ``keep``.

        Raises:
            StorageUnavailable: no row was added.
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
        """Records that the rows of these sagas were deleted, so that they do not count as kept."""
        for key in keys:
            self._ended_at[key[:2]].pop(key, None)

    def all(self) -> Sequence[str]:
        """Returns the documents of all rows, in no particular order."""
        return [document for (document,) in self._database.rows(SQL["select_baselines"])]


def _table(rows: Iterable[BaselineRow]) -> pa.Table:
    written = ((*row.key, min(row.ended_at, LATEST_TIME_NS), row.document) for row in rows)
    return table(" ".join((*SagaKey._fields, "ended_at", "document")), written, ended_at=pa.int64())
