"""Summaries that are at rest: of sagas that ended, need nobody, and were not heard of for a while.

They are nearly all there are. Kept apart, they cost the others nothing: whether a saga is among them is known in
memory, by 8 bytes each, and their table is only touched when one is heard of again.
"""

from typing import Final

import numpy as np
import pyarrow as pa

from sagascope_collector.store.database import Database
from sagascope_collector.store.fingerprints import Fingerprints
from sagascope_collector.store.known import Known
from sagascope_collector.store.sql import Query

AFTER: Final = 60_000_000_000
"""Nanoseconds since a saga's last sign of life after which it is at rest."""

TOGETHER: int = 20_000
"""Summaries that are moved at once, at least: each move reads all that are not at rest."""


class Rested:
    """One of the two tables of summaries. Not for two threads at once."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._known = Known()
        self._known.add(_fingerprints(database.arrow(Query.SELECT_RESTED)))
        ((self._written,),) = database.rows(Query.COUNT_SAGAS)

    def wake(self, settled: pa.Table) -> None:
        """Within a transaction: take out the summaries of sagas that are about to get new ones."""
        fingerprints = _fingerprints(self._database.arrow(Query.SELECT_FINGERPRINTS, settled=settled))
        asleep = self._known.holds(fingerprints)
        if asleep.any():
            self._database.count(Query.DELETE_RESTED, settled=settled.filter(pa.array(asleep)))

    def written(self, rows: int) -> None:
        """So many summaries were written to the other table."""
        self._written += rows

    def move(self, now: int) -> bool:
        """Move what has come to rest, if it may be enough; whether anything was moved.

        Raises:
            StoreUnavailable: nothing was.
        """
        if self._written < TOGETHER:
            return False
        self._written = 0
        with self._database.transaction():
            resting = self._database.arrow(Query.SELECT_RESTING, {"before": now - AFTER})
            if not resting.num_rows:
                return False
            self._database.count(Query.INSERT_RESTED, resting=resting)
            self._database.count(Query.DELETE_SAGAS, settled=resting)
        moved = np.unique(_fingerprints(resting))
        self._known.add(moved[~self._known.holds(moved)])
        return True


def _fingerprints(table: pa.Table) -> Fingerprints:
    return np.asarray(table["fingerprint"].to_numpy(), np.uint64)
