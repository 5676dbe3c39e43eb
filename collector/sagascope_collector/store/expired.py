"""Ids of sagas that were removed: four bytes of each are kept, so that search can tell them from ids never seen.

Of ids never seen, one in a hundred is taken for one of forty million removed sagas.
"""

import time
from collections.abc import Iterable
from typing import Final

import numpy as np
import pyarrow as pa

from sagascope_collector.records import SagaId
from sagascope_collector.store import fingerprints
from sagascope_collector.store.database import Database
from sagascope_collector.store.sql import Query

DAY: Final = 86_400

KEPT: Final = 400
"""Days for which a removed saga is remembered."""


class Expired:
    """What is remembered of removed sagas."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, ids: Iterable[SagaId]) -> None:
        """Within a transaction: remember these, and forget those of long ago."""
        marks = np.array([_mark(each.id) for each in ids], np.uint32)
        day = int(time.time()) // DAY
        self._database.count(Query.INSERT_EXPIRED, {"day": day}, marks=pa.table({"mark": marks}))
        self._database.count(Query.DELETE_EXPIRED, {"before": day - KEPT})

    def may_hold(self, saga_id: str) -> bool:
        """Whether a saga of this id was removed."""
        return bool(self._database.rows(Query.SELECT_EXPIRED, {"mark": _mark(saga_id)}))


def _mark(saga_id: str) -> int:
    return fingerprints.of_text(saga_id) >> 32
