"""Maintenance of stored records: deletes those of expired sagas, and moves those of long-running sagas together.

Of the sagas that ended and need no attention, the oldest are deleted, by age or database size. A saga that is retried
every hour for weeks has records in many intervals of commits, and reading each interval costs milliseconds. When there
are too many, all of its records are moved into separate tables, where they are adjacent.
"""

import logging
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from sagascope_collector.durations import NANOSECONDS_PER_SECOND
from sagascope_collector.records import SagaId
from sagascope_collector.storage import summaries
from sagascope_collector.storage.changes import MAX_INTERVALS, Bounds, Changes, Interval, load_bounds, merged
from sagascope_collector.storage.connection import statements
from sagascope_collector.storage.database import Database
from sagascope_collector.storage.lookup import TraceIndex
from sagascope_collector.storage.records import Records
from sagascope_collector.storage.sagas import SETTLED_AFTER_NS, Sagas
from sagascope_collector.storage.schema import Origins
from sagascope_collector.storage.statistics import Statistics

RETENTION: Final = statements("retention")
LONG_RUNNING: Final = statements("long_running")

_log: Final = logging.getLogger(__name__)

MAX_DELETED_SAGAS: int = 20_000
"""Maximum number of sagas that are deleted in one transaction."""

RETENTION_INTERVAL_SECONDS: float = 60.0
"""Time between two checks for expired sagas when there is nothing to delete."""

FREED_SHARE: Final = 0.95
"""Share of the allowed size to reach after it was exceeded: each checkpoint frees much space at a time."""

UNASSIGNED_RANGE: Final = 500_000
"""Number of records among which those in no saga are deleted in one transaction."""

DAY_SECONDS: Final = 86_400

EXPIRED_IDS_DAYS: Final = 400
"""Days for which ids of deleted sagas are distinguished from ids never seen."""

SCATTERED_INTERVALS: Final = MAX_INTERVALS - 4
"""Number of intervals from which the records of a saga are moved together."""

MAX_MOVED_RECORDS: Final = 50_000
"""Maximum number of records of a saga that is moved. Of a larger one, only the first and last records are read."""

LONG_RUNNING_INTERVAL_SECONDS: float = 2.0
"""Time between two checks for sagas whose records are in too many intervals."""


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
    _unassigned_seq: int = 0

    def step(self, now: int) -> bool:
        """Deletes some expired data; False: there is none, or the last check was recent.

        Raises:
            StorageUnavailable: nothing changed.
        """
        if self._keep == FOREVER or time.monotonic() < self._next_check_at:
            return False
        if self._delete_old(now) or self._free(now) or self._downsample(now):
            return True
        self._next_check_at = time.monotonic() + RETENTION_INTERVAL_SECONDS
        return False

    def _delete_old(self, now: int) -> bool:
        if self._keep.seconds is None:
            return False
        before = now - max(round(self._keep.seconds * NANOSECONDS_PER_SECOND), SETTLED_AFTER_NS)
        return before > 0 and self._delete_before(before)

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
        if self._delete_before(before):
            self._database.rows("CHECKPOINT")  # otherwise the space of deleted rows still counts as used
            return True
        _log.warning(
            "The database takes %.0f MB more than --keep-size allows: what is left is recent, or needs attention.",
            excess / 1e6,
        )
        return False

    def _delete_before(self, before: int) -> bool:
        return self._delete_sagas("select_old", before, self._expire) or self._delete_unassigned(before)

    def _delete_sagas(self, statement: str, before: int, then: Callable[[Sequence[SagaId]], None]) -> bool:
        """Deletes the records of some sagas without records since `before`, the oldest first; False: there are none.

        Calls `then` with these sagas in the same transaction.
        """
        old = _read(self._database.rows(RETENTION[statement], {"before": before, "limit": MAX_DELETED_SAGAS}))
        with self._sagas.writing, self._database.transaction():
            old = self._unchanged(old, before)
            if not old:
                return False
            self._records.delete(old)
            then(list(old))
        self._sagas.forget_bounds(old)  # again: they may have been read before the transaction ended
        return True

    def _expire(self, ids: Sequence[SagaId]) -> None:
        """Within a transaction: deletes summaries, stores the ids of these sagas, and deletes old ids."""
        self._sagas.delete(ids)
        day = int(time.time()) // DAY_SECONDS
        self._database.rows(RETENTION["insert_expired"], {"day": day}, gone=summaries.ids_table(ids))
        self._database.rows(RETENTION["delete_expired"], {"before": day - EXPIRED_IDS_DAYS})

    def _delete_unassigned(self, before: int) -> bool:
        """Deletes records in no saga that were received before a time, of some commits; False: these are the latest."""
        first, last = self._unassigned_seq + 1, self._unassigned_seq + UNASSIGNED_RANGE
        ((earliest, latest),) = self._database.rows(RETENTION["select_receipts"], {"first": first, "last": last})
        if earliest is not None and earliest < before:
            self._records.delete_unassigned(before, first, last)
        if last > self._records.seq or (latest is not None and latest >= before):
            return False
        self._traces.delete(last)
        self._unassigned_seq = last
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
        return _read(self._database.rows(RETENTION["select_unchanged"], {"before": before}, wanted=wanted))

    def has_expired(self, saga_id: str) -> bool:
        """Returns whether a saga of this id was deleted because of its age or the size limit.

        Four bytes of each id are stored: with forty million of them, one in a hundred unknown ids is a false positive.
        """
        return bool(self._database.rows(RETENTION["select_expired"], {"id": saga_id}))


def _read(rows: Sequence[tuple[Any, ...]]) -> dict[SagaId, Bounds]:
    return {SagaId(environment, id_): load_bounds(text) for environment, id_, text in rows}


@dataclass(eq=False)
class LongRunning:
    """Moves the records of long-running sagas. Only one thread may move."""

    _database: Database
    _records: Records
    _sagas: Sagas
    _origins: Origins
    _statistics: Statistics
    _next_check_at: float = 0.0
    _left_in_place: dict[SagaId, Bounds] = field(default_factory=dict)
    """Sagas that cannot be moved, because too many of their records belong to other sagas as well."""

    def __post_init__(self) -> None:
        """Reads the number of the last move."""
        ((self._moves,),) = self._database.rows(LONG_RUNNING["select_moves"])

    def move(self) -> bool:
        """Moves the records of one saga; False: no saga is scattered, or they cannot be moved.

        Raises:
            StorageUnavailable: nothing changed.
        """
        if time.monotonic() < self._next_check_at:
            return False
        for saga, where in self._sagas.scattered(SCATTERED_INTERVALS):
            if where.records > MAX_MOVED_RECORDS or where.intervals[-1][1] > self._statistics.counted_seq:
                continue  # step statistics count spans by their commit, which moved spans no longer have
            if self._left_in_place.get(saga) != where and self._move(saga, where):
                return True
        self._next_check_at = time.monotonic() + LONG_RUNNING_INTERVAL_SECONDS
        return False

    def _move(self, saga: SagaId, where: Bounds) -> bool:
        environments = self._origins.environments()
        origins = [number for number, each in enumerate(environments) if each == saga.environment]
        with self._sagas.writing:
            if self._sagas.bounds_of_open(saga) != where:
                return False
            unmoved = self._linked_intervals(saga, where, origins)
            if len(unmoved) >= SCATTERED_INTERVALS:
                self._left_in_place[saga] = where
                return False
            move = self._moves + 1
            with self._sagas.moving(saga, Bounds(unmoved, move, where.records)):
                self._copy(saga, where, move, origins)
            self._moves = move
            self._left_in_place.pop(saga, None)
            return True

    def _linked_intervals(self, saga: SagaId, where: Bounds, origins: list[int]) -> tuple[Interval, ...]:
        """Returns the locations of spans that links make part of it, and of its spans that are part of other sagas.

        A span and its links are in one commit, so both stay where they are.
        """
        of_saga = {"id": saga.id, "environment": saga.environment, "origins": origins}
        statement = LONG_RUNNING["select_linked_seqs"]
        found = [
            (seq, seq)
            for first, last in where.intervals
            if self._records.may_be_linked(first, last)
            for (seq,) in self._database.rows(statement, of_saga | {"first": first, "last": last})
        ]
        return merged(found)

    def _copy(self, saga: SagaId, where: Bounds, move: int, origins: list[int]) -> None:
        of_saga = {"id": saga.id, "origins": origins}
        for kind in ("spans", "logs"):
            for first, last in where.intervals:
                span = of_saga | {"first": first, "last": last}
                if self._database.count(LONG_RUNNING[f"copy_{kind}"], span | {"move": move}):
                    self._database.rows(LONG_RUNNING[f"delete_{kind}"], span)
            if where.move:
                self._database.rows(LONG_RUNNING[f"copy_moved_{kind}"], of_saga | {"move": move, "earlier": where.move})
                self._database.rows(LONG_RUNNING[f"delete_moved_{kind}"], {"move": where.move, "id": saga.id})
        self._database.rows(LONG_RUNNING["update_moves"], {"moves": move})
