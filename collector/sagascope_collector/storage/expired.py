"""Ids of sagas that were deleted: four bytes of each are kept, so that search can tell them from ids never seen.

Of ids never seen, one in a hundred is taken for one of forty million deleted sagas.
"""

import time
from collections.abc import Iterable
from typing import Final

from sagascope_collector.records import SagaId
from sagascope_collector.storage import summaries
from sagascope_collector.storage.database import Database
from sagascope_collector.storage.statements import load

SQL: Final = load("retention")

DAY_SECONDS: Final = 86_400

KEPT_DAYS: Final = 400


class Expired:
    """What is remembered of deleted sagas."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, ids: Iterable[SagaId]) -> None:
        """Within a transaction: remembers these, and forgets those of long ago."""
        day = int(time.time()) // DAY_SECONDS
        self._database.rows(SQL["insert_expired"], {"day": day}, gone=summaries.ids_table(ids))
        self._database.rows(SQL["delete_expired"], {"before": day - KEPT_DAYS})

    def may_hold(self, saga_id: str) -> bool:
        """Returns whether a saga of this id was deleted; wrong for one id in many."""
        return bool(self._database.rows(SQL["select_expired"], {"id": saga_id}))
