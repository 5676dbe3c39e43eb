"""The summaries of sagas: open sagas in one small table, ended ones appended to another.

The location of a saga's records (`Bounds`) is stored with its summary.
"""

import math
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final

import pyarrow as pa

from sagascope_collector.records import SagaId
from sagascope_collector.storage import schema, summaries
from sagascope_collector.storage.changes import DOWNSAMPLED, NO_BOUNDS, Bounds, Changes, load_bounds
from sagascope_collector.storage.connection import statements
from sagascope_collector.storage.database import Database
from sagascope_collector.storage.incidents import IncidentRecords
from sagascope_collector.storage.records import Records
from sagascope_collector.storage.summaries import SagaRow, id_of

SQL: Final = statements("sagas")
OUTCOMES: Final = statements("outcomes")

SETTLED_AFTER_NS: Final = 60_000_000_000
"""Time since the last record of an ended saga after which its summary is moved: later records are rare."""

MAX_SETTLED_ROWS: Final = 100_000
"""Maximum number of summaries that are moved in one transaction."""

SETTLE_INTERVAL_SECONDS: float = 5.0

SORT_ROWS: Final = 1_000_000
"""Number of terms that are sorted together: a look-up reads one row group of each sorted run."""

MANY_BATCHES: Final = 20
"""Number of batches of ended sagas beyond which lists are read from the newest saga on."""

MAX_CACHED_IDS: Final = 50_000
"""Maximum number of ids whose bounds are cached."""

_ABSENT: Final[tuple[Bounds, bool | None]] = (NO_BOUNDS, None)
"""The cached value of an id without a summary."""


class Sagas:
    """Reads and writes summaries. One thread writes at a time; any may read."""

    def __init__(
        self,
        database: Database,
        records: Records,
        changes: Changes,
        incidents: IncidentRecords,
        clock: Callable[[], int],
    ) -> None:
        self._database = database
        self._records = records
        self._changes = changes
        self._incidents = incidents
        self._clock = clock
        self.writing = threading.Lock()
        """Held while summaries change. Taken after `Storage._maintaining`, before `Records.appending`."""
        self._cache: OrderedDict[SagaId, tuple[Bounds, bool | None]] = OrderedDict()
        self._cache_lock = threading.Lock()
        self._cache_version = 0
        self.moves = 0
        """A counter that is odd while the records of a saga are moved, and higher afterwards."""
        self._moving: SagaId | None = None
        self._erased: set[SagaId] = set()
        self._reopened: list[SagaId] | None = None
        """Ended sagas that were reopened since a copy started; None: no copy is running."""
        self._next_settle_at = 0.0
        self._next_due: float = 0
        """A lower bound of the time at which the next saga is due."""
        ((self._batch,),) = database.rows(SQL["select_last_batch"])
        found = database.rows(SQL["select_step_services"])
        self._step_services = {(environment, name, step): service for environment, name, step, service in found}

    def bounds(self, ids: Iterable[SagaId]) -> dict[SagaId, Bounds]:
        """Returns the bounds of the records of each id; ids without records are absent."""
        ids = list(ids)
        found = self._changes.bounds(ids)  # first: changes that are settled meanwhile are then found twice, not missed
        return _joined(found, {saga: known for saga, (known, _) in self._stored(ids).items()})

    def bounds_called(self, saga_id: str) -> dict[SagaId, Bounds]:
        """Returns the bounds of one id in every environment that has it, ordered by environment."""
        found = self._changes.bounds(self._changes.called(saga_id))
        stored = {saga: where for saga, (where, _) in self._stored_called(saga_id).items()}
        return dict(sorted(_joined(found, stored).items()))

    def _stored_called(self, saga_id: str) -> dict[SagaId, tuple[Bounds, bool | None]]:
        values = {"id": saga_id, "hash": summaries.id_hash(saga_id)}
        rows = self._database.rows(SQL["select_bounds_called"], values)
        return {SagaId(environment, saga_id): (load_bounds(text), ended) for environment, text, ended in rows}

    def batches(self, terms: Iterable[str]) -> list[int]:
        """Returns the batches of ended sagas in which an id or a business key may be one of these texts."""
        texts = list(terms)
        if not texts:
            return []
        if len(texts) == 1:  # as a value: a join takes twice as long
            values = {"hash": summaries.id_hash(texts[0])}
            return [batch for (batch,) in self._database.rows(SQL["select_batches_of_one"], values)]
        wanted = schema.table("term", zip(texts, strict=True))
        return [batch for (batch,) in self._database.rows(SQL["select_batches"], wanted=wanted)]

    def _stored(self, ids: Sequence[SagaId]) -> dict[SagaId, tuple[Bounds, bool | None]]:
        """Returns the bounds in the summaries, and whether the saga has ended; None: there is no summary."""
        with self._cache_lock:
            found = {saga: self._cache[saga] for saga in ids if saga in self._cache}
            as_of = self._cache_version
        wanted = [saga for saga in ids if saga not in found]
        if not wanted:
            return {saga: known for saga, known in found.items() if known != _ABSENT}
        read = dict.fromkeys(wanted, _ABSENT) | self._read_stored(wanted)
        with self._cache_lock:
            if as_of == self._cache_version:  # otherwise the read values may be outdated
                self._cache.update(read)
            while len(self._cache) > MAX_CACHED_IDS:
                self._cache.popitem(last=False)
        return {saga: known for saga, known in (found | read).items() if known != _ABSENT}

    def _read_stored(self, ids: Sequence[SagaId]) -> dict[SagaId, tuple[Bounds, bool | None]]:
        if len(ids) == 1:  # by value: a join takes longer
            return {saga: known for saga, known in self._stored_called(ids[0].id).items() if saga == ids[0]}
        read: dict[SagaId, tuple[Bounds, bool | None]] = {}
        table = summaries.ids_table(ids)
        with self._database.transaction():  # otherwise a saga that is moved or reopened meanwhile is in neither table
            for environment, id_, text in self._database.rows(SQL["select_bounds_of_open"], wanted=table):
                read[SagaId(environment, id_)] = load_bounds(text), False
            for batch in self.batches({saga.id for saga in ids}):
                found = self._database.rows(SQL["select_bounds_of_ended"], {"batch": batch}, wanted=table)
                for environment, id_, text in found:
                    read[SagaId(environment, id_)] = load_bounds(text), True
        return read

    def put(self, ids: Sequence[SagaId], rows: Sequence[SagaRow]) -> None:
        """Replaces all summaries of these ids with `rows`, and settles the claimed changes.

        `rows` were computed from records read after the claim. Ids with later records stay among the changes.

        Raises:
            StorageUnavailable: nothing was written.
        """
        if not ids:
            return
        new_services = self._new_step_services(rows)
        with self.writing:
            rows = self._without_erased(ids, rows) if self._erased else rows
            stored = self._stored(ids)
            downsampled = {saga for saga, (where, _) in stored.items() if where == DOWNSAMPLED}
            if downsampled:
                self._ignore(downsampled)
                ids = [saga for saga in ids if saga not in downsampled]
                rows = [row for row in rows if id_of(row) not in downsampled]
            settled = summaries.ids_table(ids)
            known = {saga: stored.get(saga, _ABSENT)[0].joined(self._changes.claimed(saga)).narrowed() for saga in ids}
            texts = {saga: where.dump() for saga, where in known.items()}
            with self._database.transaction():
                if new_services:
                    services = ((*step, service) for step, service in new_services.items())
                    batch = schema.table("environment name step service", services)
                    self._database.rows(SQL["put_step_services"], batch=batch)
                gone = self._reopen([saga for saga in ids if saga in stored and stored[saga][1]])
                if gone.num_rows:
                    self._database.rows(OUTCOMES["subtract_outcome_counts"], gone=gone)
                if any(saga in stored and not stored[saga][1] for saga in ids):
                    if len(ids) == 1:
                        self._database.rows(SQL["delete_open_one"], ids[0]._asdict())
                    else:
                        self._database.rows(SQL["delete_open"], settled=settled)
                if rows:
                    self._database.insert("open_sagas", summaries.table(rows, texts))
                regrouped = self._incidents.put(settled, rows, self._clock())
            self._next_due = min([self._next_due, *(row.due_at for row in rows if row.due_at is not None)])
            self._remember({id_of(row): known[id_of(row)] for row in rows}, ids)
            self._changes.settle(ids)
        if regrouped:
            self._incidents.written()
        self._step_services |= new_services

    def _ignore(self, downsampled: Iterable[SagaId]) -> None:
        """Deletes new records of downsampled sagas: a summary computed from these records alone would be wrong."""
        with self._database.transaction():
            self._records.delete({saga: self._changes.claimed(saga) for saga in downsampled})
        self._changes.settle(downsampled)

    def _remember(self, known: Mapping[SagaId, Bounds], ids: Iterable[SagaId]) -> None:
        with self._cache_lock:
            self._cache_version += 1
            for saga in ids:
                self._cache.pop(saga, None)
            for saga, where in known.items():
                self._cache[saga] = where, False

    def _new_step_services(self, rows: Sequence[SagaRow]) -> dict[tuple[str, str, str], str]:
        reported = {(*row.key[:2], step): service for row in rows for step, service in row.step_services.items()}
        return {step: service for step, service in reported.items() if self._step_services.get(step) != service}

    def _reopen(self, ids: Sequence[SagaId]) -> pa.Table:
        """Within a transaction: deletes and returns the ended summaries of these ids, which the caller may replace."""
        if self._reopened is not None:
            self._reopened.extend(ids)
        rows = self._database.rows(SQL["delete_ended"], settled=summaries.ids_table(ids)) if ids else []
        gone = schema.table("environment name status ended_at", rows, ended_at=pa.int64())
        if ids:
            self._database.rows(SQL["subtract_ended_counts"], gone=gone)
        return gone

    def scattered(self, intervals: int) -> list[tuple[SagaId, Bounds]]:
        """Returns open sagas whose records have at least this number of intervals."""
        found = self._database.rows(SQL["select_scattered"], {"intervals": intervals})
        return [(SagaId(environment, id_), load_bounds(text)) for environment, id_, text in found]

    def bounds_of_open(self, saga: SagaId) -> Bounds:
        """Returns the bounds in the summary of an open saga."""
        where, has_ended = self._stored_called(saga.id).get(saga, _ABSENT)
        return NO_BOUNDS if has_ended else where

    @property
    def has_many_ended(self) -> bool:
        """Whether there are so many ended sagas that reading all of them is slow."""
        return bool(self._batch > MANY_BATCHES)

    @contextmanager
    def moving(self, saga: SagaId, where: Bounds) -> Iterator[None]:
        """Marks that the records of an open saga are moved to `where`, in one transaction, within the block.

        A reader that may not have found all of them reads again: see `have_moved`. `writing` is held meanwhile.
        """
        self._moving = saga
        self.moves += 1
        try:
            with self._database.transaction():
                yield
                values = {"environment": saga.environment, "id": saga.id, "bounds": where.dump()}
                self._database.rows(SQL["update_bounds"], values)
        finally:
            self.forget_bounds([saga])
            self._moving = None
            self.moves += 1

    def have_moved(self, where: Mapping[SagaId, Bounds]) -> bool:
        """Returns whether records may have been moved from these bounds, so that some may not be found there."""
        if self._moving in where:
            return True
        return any(known.move != where[saga].move for saga, (known, _) in self._stored(list(where)).items())

    def forget_bounds(self, ids: Iterable[SagaId]) -> None:
        """Removes the bounds of these ids from the cache."""
        self._remember({}, ids)

    def settle(self, now: int) -> bool:
        """Moves summaries of sagas that ended a while ago; False: there are few of them.

        Raises:
            StorageUnavailable: nothing changed.
        """
        if time.monotonic() < self._next_settle_at:
            return False
        with self.writing:
            values = {"before": now - SETTLED_AFTER_NS, "limit": MAX_SETTLED_ROWS}
            ended = self._database.arrow(SQL["select_settled"], values)
            if not ended.num_rows:
                self._next_settle_at = time.monotonic() + SETTLE_INTERVAL_SECONDS
                return False
            batch = {"batch": self._batch + 1}
            with self._database.transaction():
                self._database.rows(SQL["insert_terms"], batch, ended=ended)
                self._database.rows(SQL["insert_ended"], batch, ended=ended)
                self._database.rows(SQL["add_ended_counts"], ended=ended)
                self._database.rows(OUTCOMES["add_outcome_counts"], ended=ended)
                self._database.rows(SQL["delete_open"], settled=ended)
            self._batch += 1
            found = zip(ended["environment"].to_pylist(), ended["id"].to_pylist(), strict=True)
            self.forget_bounds(SagaId(*each) for each in found)
        if ended.num_rows < MAX_SETTLED_ROWS // 2:
            self._next_settle_at = time.monotonic() + SETTLE_INTERVAL_SECONDS
        return bool(ended.num_rows >= MAX_SETTLED_ROWS)

    def sort_terms(self) -> bool:
        """Sorts the terms of recently ended sagas, once there are many; False: there are few."""
        ((count,),) = self._database.rows(SQL["count_recent_terms"])
        if int(count) < SORT_ROWS:
            return False
        with self.writing, self._database.transaction():
            self._database.rows(SQL["sort_recent_terms"])
            self._database.rows(SQL["delete_recent_terms"])
        return True

    def delete(self, ids: Sequence[SagaId]) -> None:
        """Within a transaction, while `writing` is held: deletes every summary of these ids."""
        settled = summaries.ids_table(ids)
        self._reopen(ids)
        self._database.rows(SQL["delete_open"], settled=settled)
        self._incidents.put(settled, [], 0)
        self.forget_bounds(ids)

    @contextmanager
    def tracking_reopened(self) -> Iterator[Sequence[SagaId]]:
        """Yields a list to which ended sagas are added that are reopened within the block.

        The caller must not hold `writing`.
        """
        reopened: list[SagaId] = []
        with self.writing:
            self._reopened = reopened
        try:
            yield reopened
        finally:
            with self.writing:
                self._reopened = None

    def downsample(self, ids: Sequence[SagaId]) -> None:
        """Within a transaction, while `writing` is held: records that only the summaries of these sagas are kept."""
        values = {"bounds": DOWNSAMPLED.dump()}
        self._database.rows(SQL["update_ended_bounds"], values, settled=summaries.ids_table(ids))
        self.forget_bounds(ids)

    def delete_terms(self, texts: Sequence[str]) -> None:
        """Within a transaction, while `writing` is held: deletes all terms with these ids or keys.

        Ended sagas of other environments or names that have the same terms can still be found.
        """
        wanted = schema.table("term", zip(texts, strict=True))
        batches = self.batches(texts)
        for name in ("delete_terms", "delete_recent_terms_of"):
            self._database.rows(SQL[name], wanted=wanted)
        for batch in batches:
            self._database.rows(SQL["insert_terms_again"], {"batch": batch}, wanted=wanted)

    def erased(self, ids: Sequence[SagaId]) -> None:
        """Rejects summaries that were computed from records that are now erased."""
        self._erased.update(ids)
        self.forget_bounds(ids)

    def is_erased(self, saga: SagaId) -> bool:
        """While `writing` is held: returns whether a saga was erased, and has no later record that is claimed."""
        return saga in self._erased and self._changes.claimed(saga) == NO_BOUNDS

    def _without_erased(self, ids: Sequence[SagaId], rows: Sequence[SagaRow]) -> Sequence[SagaRow]:
        """Returns the rows that were computed from existing records: of erased sagas, only those with later records."""
        self._erased.difference_update(saga for saga in ids if self._changes.claimed(saga) != NO_BOUNDS)
        return [row for row in rows if id_of(row) not in self._erased]

    def due(self, now: int, limit: int) -> Sequence[SagaId]:
        """Returns the ids with a summary whose ``due_at`` is at or before ``now``, earliest first."""
        if now < self._next_due and self._database.is_open:
            return []
        due = [SagaId(*row) for row in self._database.rows(SQL["select_due"], {"now": now, "limit": limit})]
        if not due:
            with self.writing:
                ((at,),) = self._database.rows(SQL["select_next_due"])
                self._next_due = math.inf if at is None else at
        return due

    def open_of(self, types: Iterable[tuple[str, str]], after: SagaId, limit: int) -> list[SagaId]:
        """Returns the ids of running and compensating sagas of types (environment, name), in order, after an id."""
        wanted = schema.table("environment name", types)
        found = self._database.rows(SQL["select_open_of"], {**after._asdict(), "limit": limit}, wanted=wanted)
        return [SagaId(*row) for row in found]

    def flow_counts(self) -> list[tuple[Any, ...]]:
        """Returns (name, environment, status, sagas, of them needing attention)."""
        return self._database.rows(SQL["count_flows"])

    def step_services(self) -> Mapping[tuple[str, str, str], str]:
        """Returns the service that last ran a step, by (environment, saga name, step), over all sagas."""
        return self._step_services


def _joined(changed: Mapping[SagaId, Bounds], stored: Mapping[SagaId, Bounds]) -> dict[SagaId, Bounds]:
    """Returns the bounds of both changes and summaries. Downsampled sagas have no records."""
    found = dict(changed)
    for saga, known in stored.items():
        if known == DOWNSAMPLED:
            found.pop(saga, None)
        elif known != NO_BOUNDS:
            found[saga] = known.joined(found[saga]) if saga in found else known
    return found
