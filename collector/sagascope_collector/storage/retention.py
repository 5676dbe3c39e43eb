"""Decides which sagas are deleted: the oldest of those that ended and need no attention, by age or database size."""

import logging
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sagascope_collector.durations import NANOSECONDS_PER_SECOND
from sagascope_collector.records import SagaId
from sagascope_collector.storage import summaries
from sagascope_collector.storage.changes import Bounds, Changes, load_bounds
from sagascope_collector.storage.connection import statements
from sagascope_collector.storage.database import Database
from sagascope_collector.storage.lookup import TraceIndex
from sagascope_collector.storage.records import Records
from sagascope_collector.storage.sagas import SETTLED_AFTER_NS, Sagas

SQL: Final = statements("retention")

_log: Final = logging.getLogger(__name__)

DELETE_SAGAS: int = 20_000
"""Maximum number of sagas that are deleted in one transaction."""

CHECK_INTERVAL_SECONDS: float = 60.0
"""Time between two checks when there is nothing to delete."""

FREED_SHARE: Final = 0.95
"""Share of the allowed size to reach after it was exceeded: each checkpoint frees much space at a time."""

OTHER_ROWS: Final = 500_000
"""Records among which those in no saga are searched at a time."""

DAY_SECONDS: Final = 86_400

EXPIRED_IDS_DAYS: Final = 400
"""Days for which ids of deleted sagas are distinguished from ids never seen."""


@dataclass(frozen=True, slots=True)
class RetentionPolicy:
    """Limits of age and size for sagas that ended and need no attention. Other sagas are kept."""

    seconds: float | None = None
    """Maximum age since the last record of a saga; None: unlimited."""
    bytes: int | None = None
    """Maximum size of the database: blocks in use, and the write-ahead log; None: unlimited."""
    summary_seconds: float | None = None
    """Age since the last record of a completed saga after which only its summary is kept; None: never."""


FOREVER: Final = RetentionPolicy()


@dataclass(eq=False)
class Retention:
    """Deletes expired sagas. One thread at a time."""

    _keep: RetentionPolicy
    _database: Database
    _sagas: Sagas
    _records: Records
    _changes: Changes
    _traces: TraceIndex
    _size_bytes: Callable[[], int]
    _next_check_at: float = 0.0
    _is_exceeded: bool = False
    _others_seq: int = 0

    def step(self, now: int) -> bool:
        """Deletes some expired data; False: there is none, or the last check was recent.

        Raises:
            StorageUnavailable: nothing changed.
        """
        if self._keep == FOREVER or time.monotonic() < self._next_check_at:
            return False
        if self._delete_old(now) or self._free(now) or self._downsample(now):
            return True
        self._next_check_at = time.monotonic() + CHECK_INTERVAL_SECONDS
        return False

    def _delete_old(self, now: int) -> bool:
        if self._keep.seconds is None:
            return False
        before = now - max(round(self._keep.seconds * NANOSECONDS_PER_SECOND), SETTLED_AFTER_NS)
        return before > 0 and (self._delete_sagas("select_old", before, self._expire) or self._delete_others(before))

    def _free(self, now: int) -> bool:
        """Deletes some data to meet the size limit; False: the limit is met, or nothing may be deleted."""
        if self._keep.bytes is None:
            return False
        allowed = self._keep.bytes * (FREED_SHARE if self._is_exceeded else 1.0)
        excess = self._size_bytes() - allowed
        self._is_exceeded = excess > 0
        if excess <= 0:
            return False
        before = now - SETTLED_AFTER_NS
        if self._delete_sagas("select_old", before, self._expire) or self._delete_others(before):
            self._database.checkpoint()  # otherwise the space of deleted rows still counts as used
            return True
        _log.warning(
            "The database takes %.0f MB more than --keep-size allows: what is left is recent, or needs attention.",
            excess / 1e6,
        )
        return False

    def _delete_sagas(self, found: str, before: int, then: Callable[[Sequence[SagaId]], None]) -> bool:
        """Deletes the records of some sagas without records since `before`, the oldest first; False: there are none."""
        old = _read(self._database.rows(SQL[found], {"before": before, "limit": DELETE_SAGAS}))
        with self._sagas.writing, self._database.transaction():
            old = self._unchanged(old, before)
            if not old:
                return False
            self._records.delete(old)
            then(list(old))
        self._sagas.forget_bounds(old)  # again: they may have been read before the transaction ended
        return True

    def _expire(self, ids: Sequence[SagaId]) -> None:
        self._sagas.delete(ids)
        self._note_expired(ids)

    def _delete_others(self, before: int) -> bool:
        """Deletes records in no saga received before `before`, of some commits; False: these are the latest."""
        first, last = self._others_seq + 1, self._others_seq + OTHER_ROWS
        ((earliest, latest),) = self._database.rows(SQL["select_receipts"], {"first": first, "last": last})
        if earliest is not None and earliest < before:
            self._records.delete_others(before, first, last)
        if last > self._records.seq or (latest is not None and latest >= before):
            return False
        self._traces.delete(last)
        self._others_seq = last
        return True

    def _downsample(self, now: int) -> bool:
        """Deletes records of old completed sagas, and keeps their summaries; False: there are none."""
        if self._keep.summary_seconds is None:
            return False
        before = now - max(round(self._keep.summary_seconds * NANOSECONDS_PER_SECOND), SETTLED_AFTER_NS)
        return self._delete_sagas("select_downsampling", before, self._sagas.downsample)

    def _unchanged(self, sagas: Iterable[SagaId], before: int) -> dict[SagaId, Bounds]:
        """While `writing` is held: returns the sagas that were not reopened meanwhile and have no pending changes."""
        quiet = [saga for saga in sagas if not self._changes.holds(saga)]
        if not quiet:
            return {}
        wanted = summaries.ids_table(quiet)
        return _read(self._database.rows(SQL["select_unchanged"], {"before": before}, wanted=wanted))

    def has_expired(self, saga_id: str) -> bool:
        """Returns whether a saga of this id was deleted because of its age or the size limit; may be wrongly true.

        Four bytes of each id are stored: with forty million of them, one in a hundred ids never seen is a false
        positive.
        """
        return bool(self._database.rows(SQL["select_expired"], {"id": saga_id}))

    def _note_expired(self, ids: Iterable[SagaId]) -> None:
        """Within a transaction: stores the ids of deleted sagas, and deletes old ones."""
        day = int(time.time()) // DAY_SECONDS
        self._database.rows(SQL["insert_expired"], {"day": day}, gone=summaries.ids_table(ids))
        self._database.rows(SQL["delete_expired"], {"before": day - EXPIRED_IDS_DAYS})


def _read(rows: Sequence[tuple[Any, ...]]) -> dict[SagaId, Bounds]:
    return {SagaId(environment, id_): load_bounds(text) for environment, id_, text in rows}
