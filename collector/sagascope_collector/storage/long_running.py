"""Moves the records of long-running sagas into separate tables, where they are adjacent.

A saga that is retried every hour for weeks has records in many intervals of commits, and reading each interval costs
milliseconds. When there are too many, all of its records are moved, including those moved before.
"""

import time
from typing import Final

from sagascope_collector.records import SagaId
from sagascope_collector.storage.changes import MAX_INTERVALS, Bounds, Interval, merged
from sagascope_collector.storage.connection import statements
from sagascope_collector.storage.database import Database
from sagascope_collector.storage.records import Records
from sagascope_collector.storage.rows import Origins
from sagascope_collector.storage.sagas import Sagas
from sagascope_collector.storage.statistics import Statistics

SQL: Final = statements("long_running")

SCATTERED_INTERVALS: Final = MAX_INTERVALS - 4
"""Number of intervals from which the records of a saga are moved together."""

MAX_RECORDS: Final = 50_000
"""Maximum number of records of a saga that is moved; of a larger one, only the first and last records are read."""

CHECK_INTERVAL_SECONDS: float = 2.0


class LongRunning:
    """Moves records. Only one thread may move."""

    def __init__(
        self, database: Database, records: Records, sagas: Sagas, origins: Origins, statistics: Statistics
    ) -> None:
        self._database = database
        self._records = records
        self._sagas = sagas
        self._origins = origins
        self._statistics = statistics
        self._next_check_at = 0.0
        self._left_in_place: dict[SagaId, Bounds] = {}
        ((self._moves,),) = database.rows(SQL["select_moves"])

    def move(self) -> bool:
        """Moves the records of one saga; False: no saga is scattered, or they cannot be moved.

        Raises:
            StorageUnavailable: nothing changed.
        """
        if time.monotonic() < self._next_check_at:
            return False
        for saga, where in self._sagas.scattered(SCATTERED_INTERVALS):
            if where.records > MAX_RECORDS or where.intervals[-1][1] > self._statistics.counted_seq:
                continue  # step statistics count spans by their commit
            if self._left_in_place.get(saga) != where and self._move(saga, where):
                return True
        self._next_check_at = time.monotonic() + CHECK_INTERVAL_SECONDS
        return False

    def _move(self, saga: SagaId, where: Bounds) -> bool:
        origins = self._origins.within(saga.environment)
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
        found = [
            (seq, seq)
            for first, last in where.intervals
            if self._records.may_be_linked(first, last)
            for (seq,) in self._database.rows(SQL["select_linked_seqs"], of_saga | {"first": first, "last": last})
        ]
        return merged(found)

    def _copy(self, saga: SagaId, where: Bounds, move: int, origins: list[int]) -> None:
        of_saga = {"id": saga.id, "origins": origins}
        for kind in ("spans", "logs"):
            for first, last in where.intervals:
                span = of_saga | {"first": first, "last": last}
                if self._database.count(SQL[f"copy_{kind}"], span | {"move": move}):
                    self._database.rows(SQL[f"delete_{kind}"], span)
            if where.move:
                self._database.rows(SQL[f"copy_moved_{kind}"], of_saga | {"move": move, "earlier": where.move})
                self._database.rows(SQL[f"delete_moved_{kind}"], {"move": where.move, "id": saga.id})
        self._database.rows(SQL["update_moves"], {"moves": move})
