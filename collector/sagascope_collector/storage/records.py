"""Appends records in commits, stores the state that a restart needs, and deletes records.

That state contains the registry of instances: every known process, in memory. The table has their state as of
`state.seq`; later observations are in the rows of the commits.
"""

import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Final, NamedTuple

import numpy as np
import orjson
import pyarrow as pa
from pydantic import TypeAdapter

from sagascope import semconv
from sagascope_collector import json_values
from sagascope_collector.errors import StorageUnavailable
from sagascope_collector.observations import (
    Identity,
    KnownInstance,
    Observation,
    Registry,
    Service,
    dump_observations,
    identity_of,
    load_observations,
)
from sagascope_collector.records import Instance, SagaId
from sagascope_collector.storage import repeats, schema, summaries
from sagascope_collector.storage.changes import DOWNSAMPLED, NO_BOUNDS, Bounds, Changes, covering, load_bounds
from sagascope_collector.storage.connection import statements
from sagascope_collector.storage.database import Database
from sagascope_collector.storage.schema import Origins


@dataclass(frozen=True, slots=True)
class Batch:
    """Decoded telemetry in columns, ready to be stored; the schemas are `schema.SPANS`, `.LOGS`, ...

    Rows may repeat, within the batch and among stored records: a record is stored once.
    """

    spans: pa.Table
    logs: pa.Table
    links: pa.Table
    """One row for each span link that names a saga."""
    origins: pa.Table
    """The origins of `spans` and `logs`, by row number."""
    observations: tuple[Observation, ...]
    """Observations of the processes that sent the records; one process may occur several times."""


class Appended(NamedTuple):
    """The result of storing a batch, in records."""

    stored: int
    duplicate: int


class Counters(NamedTuple):
    """Counts of records since the database was created."""

    received: int = 0
    stored: int = 0
    rejected: int = 0
    duplicate: int = 0


SQL: Final = statements("records")
DELETION: Final = statements("deletion")
INSTANCES: Final = statements("instances")

_INSTANCE: Final = TypeAdapter(KnownInstance)

SNAPSHOT_COMMITS: int = 200
"""Commits after which `state` is written again; later commits are read again at the next start."""

RECENT_RECORDS: int = 200_000
"""Number of the latest records that are read before the first append, to find their repeats without a query."""


class Instances:
    """The registry of instances, in memory and in a table. Thread-safe."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._lock = threading.Lock()
        self._registry = Registry()
        self._unwritten: set[Identity] = set()
        for (document,) in database.rows(INSTANCES["select_instances"]):
            self._registry.put(_INSTANCE.validate_json(document))

    def observe(self, observations: Sequence[Observation]) -> None:
        """Merges the observations of a commit."""
        with self._lock:
            self._unwritten |= self._registry.observe(observations)

    def adopt(self, documents: Iterable[str]) -> None:
        """Replaces instances by the stored form of another collector, if that has seen them later."""
        for later in map(_INSTANCE.validate_json, documents):
            with self._lock:
                known = self._registry.get(identity := identity_of(later.process))
                if known is None or known.last_seen <= later.last_seen:
                    self._registry.put(later)
                    self._unwritten.add(identity)

    def documents(self) -> dict[Identity, str]:
        """Returns the stored form of all instances, for `adopt`."""
        with self._lock:
            every = self._registry.all()
        return {identity_of(each.process): _INSTANCE.dump_json(each).decode() for each in every}

    def all(self) -> Sequence[Instance]:
        """Returns all instances, the last seen first."""
        with self._lock:
            every = self._registry.all()
        ordered = sorted(every, key=lambda each: (-each.last_seen, identity_of(each.process)))
        return [each.instance() for each in ordered]

    def of_services(self, services: Iterable[Service]) -> tuple[Instance, ...]:
        """Returns the instances of some services."""
        with self._lock:
            found = [each for service in services for each in self._registry.of_service(service)]
        return tuple(each.instance() for each in found)

    @contextmanager
    def writing(self) -> Iterator[list[Identity]]:
        """Yields the changed instances, to be written in a transaction in the block; if it fails, they stay changed."""
        with self._lock:
            changed, self._unwritten = self._unwritten, set()
        try:
            yield sorted(changed)
        except BaseException:
            with self._lock:
                self._unwritten |= changed
            raise

    def write(self, identities: Sequence[Identity]) -> None:
        """Within a transaction: writes the state of these instances, and deletes those that were forgotten."""
        with self._lock:
            known = {each: self._registry.get(each) for each in identities}
        if rows := [(*identity, _INSTANCE.dump_json(each).decode()) for identity, each in known.items() if each]:
            batch = schema.table("environment service identity document", rows)
            self._database.rows(INSTANCES["put_instances"], batch_instances=batch)
        if forgotten := [identity for identity, each in known.items() if each is None]:
            gone = schema.table("environment service identity", forgotten)
            self._database.rows(INSTANCES["delete_instances"], forgotten=gone)


class Records:
    """Appends to the tables of records. One thread appends at a time; any thread may read."""

    def __init__(
        self, database: Database, origins: Origins, instances: Instances, changes: Changes, clock: Callable[[], int]
    ) -> None:
        """Reads the changes since `state` was written."""
        self._database = database
        self._origins = origins
        self._instances = instances
        self._changes = changes
        self._clock = clock
        self.appending = threading.RLock()
        """Held during a commit. Taken after `Storage._maintaining` and `Sagas.writing`."""
        ((seq, *counted),) = database.rows(SQL["select_state"])
        self.seq = int(seq)
        """The number of the last commit."""
        self.counters = Counters(*counted)
        """Counts of records since the database was created."""
        self.mark: Callable[[int], None] = lambda _: None
        """Called with the number of each commit that is on disk, before the commit is acknowledged."""
        self._commits = 0
        ((self._first_linked, self._last_linked),) = database.rows(SQL["select_linked_bounds"])
        self._restore()

    def may_be_linked(self, first: int, last: int) -> bool:
        """Returns whether the commits of a range may have links to sagas; most systems send none."""
        return self._last_linked is not None and first <= self._last_linked and self._first_linked <= last

    def append(self, batch: Batch, *, rejected: int = 0) -> Appended:
        """Stores a batch, completely or not at all. It is on disk when this returns.

        Raises:
            StorageUnavailable: nothing was stored; the same batch may be appended again.
        """
        with self.appending:
            if not self._database.is_open:
                raise StorageUnavailable("The database is closed.")
            received = batch.spans.num_rows + batch.logs.num_rows
            if not received and not rejected:
                return Appended(0, 0)
            return self._append(batch, received, rejected)

    def _append(self, batch: Batch, received: int, rejected: int) -> Appended:
        numbers, new_origins = self._origins.numbered(batch.origins)
        spans, of_spans = self._fresh(batch.spans, numbers, schema.STORED_SPANS, self._repeats.fresh_spans)
        logs, of_logs = self._fresh(batch.logs, numbers, schema.STORED_LOGS, self._repeats.fresh_logs)
        stored = spans.num_rows + logs.num_rows
        links = batch.links if spans.num_rows == batch.spans.num_rows else _links_of(spans, batch.links)
        seq = self.seq + max(stored, 1)  # a commit without new records needs a number, too
        counted = Counters(received + rejected, stored, rejected, received - stored)
        with self._database.transaction():
            if new_origins.num_rows:
                self._database.insert("origins", new_origins)
            for table, rows in (("span_records", spans), ("log_records", logs), ("linked_spans", links)):
                if rows.num_rows:
                    self._database.insert(table, rows, [seq])
            observed = {"seq": seq, "observations": dump_observations(batch.observations)}
            self._database.rows(SQL["insert_commit"], observed | counted._asdict())
        if new_origins.num_rows:
            self._origins.added(new_origins)
        now = self._clock()
        self._repeats.remember(np.concatenate([of_spans, of_logs]), now)
        self._instances.observe(batch.observations)
        if links.num_rows:
            self._first_linked, self._last_linked = self._first_linked or seq, seq
        self._changes.add(seq, self._sagas_in(spans, logs, links))
        # last, so that a reader of the number finds everything up to it among the changes
        self.seq, self.counters = seq, _sum(self.counters, counted)
        self._commits += 1
        try:
            self.mark(seq)
        except OSError as error:
            raise StorageUnavailable(f"The number of the commit cannot be written: {error.strerror}.") from error
        return Appended(stored, received - stored)

    def _fresh(
        self,
        batch: pa.Table,
        origins: Sequence[int],
        stored: pa.Schema,
        fresh: Callable[[pa.Table], tuple[repeats.Mask, repeats.Numbers]],
    ) -> tuple[pa.Table, repeats.Numbers]:
        """Returns the rows that are not stored yet, in stored form, and the numbers of all rows."""
        if not batch.num_rows:
            return schema.no_rows(stored), repeats.NONE
        table = schema.stored(batch, origins, stored)
        is_fresh, numbers = fresh(table)
        return (table if is_fresh.all() else table.filter(pa.array(is_fresh))), numbers

    def _sagas_in(self, spans: pa.Table, logs: pa.Table, links: pa.Table) -> Mapping[SagaId, int]:
        """Returns the number of records of each saga in a commit."""
        found: dict[SagaId, int] = {}
        environments = self._origins.environments()
        for table in (spans, logs):
            counts = Counter(zip(table["origin_id"].to_pylist(), table["saga_id"].to_pylist(), strict=True))
            for (origin, saga_id), count in counts.items():
                if saga_id:
                    saga = SagaId(environments[origin], saga_id)
                    found[saga] = found.get(saga, 0) + count
        for environment, saga_id in zip(links["environment"].to_pylist(), links["saga_id"].to_pylist(), strict=True):
            saga = SagaId(environment, saga_id)
            found[saga] = found.get(saga, 0) + 1
        return found

    def snapshot(self) -> bool:
        """Writes the state that commits carry besides records, once there are many commits; False: there are few.

        Raises:
            StorageUnavailable: nothing was written.
        """
        if self._commits < SNAPSHOT_COMMITS:
            return False
        self.write_snapshot()
        return True

    def write_snapshot(self) -> None:
        """Writes the state that commits carry besides records, and deletes their rows."""
        with self.appending, self._instances.writing() as changed_instances, self._database.transaction():
            self._instances.write(changed_instances)
            values = {"seq": self.seq, **self.counters._asdict()}
            self._database.rows(SQL["update_state"], values)
            self._database.rows(SQL["delete_commits"], {"seq": self.seq})
            self._database.rows(SQL["delete_changed"])
            if changed := self._changes.all():
                rows = ((*saga, where.dump()) for saga, where in changed.items())
                self._database.rows(SQL["insert_changed"], changed=schema.table("environment id bounds", rows))
        self._commits = 0

    def _restore(self) -> None:
        found = self._database.rows(SQL["select_changed"])
        waiting = {SagaId(environment, id_): load_bounds(text) for environment, id_, text in found}
        self._changes.restore(waiting)
        since: dict[SagaId, Bounds] = {}
        for environment, id_, seq, count in self._database.rows(SQL["select_sagas_since"], {"seq": self.seq}):
            saga = SagaId(environment, id_)
            since[saga] = since.get(saga, NO_BOUNDS).extended(seq, count)
        self._changes.restore(since)
        for seq, *counted, observations in self._database.rows(SQL["select_commits"]):
            self._instances.observe(load_observations(observations))
            self.seq, self.counters = seq, _sum(self.counters, Counters(*counted))
            self._commits += 1

    @cached_property
    def _repeats(self) -> repeats.Repeats:
        """The detector of repeats. The latest records are read into it before the first append, not at the start."""
        first = max(self.seq - RECENT_RECORDS, 0)
        spans = self._database.arrow(SQL["select_late_spans"], {"seq": first})
        logs = self._database.arrow(SQL["select_late_logs"], {"seq": first})
        found = repeats.Repeats(self._database, self._clock() if first else 0)
        found.remember(np.concatenate([repeats.span_numbers(spans), repeats.log_numbers(logs)]), self._clock())
        return found

    def delete(self, where: Mapping[SagaId, Bounds], *, is_erasure: bool = False) -> int:
        """Deletes the records of these sagas; returns their number.

        A span that links make part of another saga stays until that saga is deleted. An erasure deletes it as well, and
        removes links to these sagas from other spans.
        """
        gone, deleted = summaries.ids_table(where), 0
        for first, last in covering(where.values()):
            span = {"first": first, "last": last}
            if is_erasure:
                self._remove_links(span, gone)
                self._database.rows(DELETION["delete_links_of_spans"], span, gone=gone)
            values_ = {**span, "keeps_linked": not is_erasure}
            deleted += self._database.count(DELETION["delete_spans"], values_, gone=gone)
            deleted += self._database.count(DELETION["delete_logs"], span, gone=gone)
            deleted += self._delete_links(span, gone, is_erasure=is_erasure)
        if moves := sorted({each.move for each in where.values() if each.move}):
            moved = pa.table({"move": pa.array(moves, pa.uint64())})
            deleted += self._database.count(DELETION["delete_moved_spans"], gone=gone, moved=moved)
            deleted += self._database.count(DELETION["delete_moved_logs"], gone=gone, moved=moved)
        return deleted

    def delete_unassigned(self, before: int, first: int, last: int) -> int:
        """Deletes records in no saga that were received before a time, of a range of commits; returns their number."""
        span = {"before": before, "first": first, "last": last}
        return sum(self._database.count(DELETION[f"delete_unassigned_{kind}"], span) for kind in ("spans", "logs"))

    def _delete_links(self, span: Mapping[str, int], gone: pa.Table, *, is_erasure: bool) -> int:
        """Deletes the link rows of these sagas, and the spans that were kept only because of them."""
        freed = self._database.arrow(DELETION["select_linked_to"], span, gone=gone)
        if not freed.num_rows:
            return 0
        self._database.rows(DELETION["delete_links"], span, gone=gone)
        waiting = summaries.ids_table(self._changes.all())
        values_ = {**span, "downsampled": DOWNSAMPLED.dump(), "in_none": not is_erasure}
        return self._database.count(DELETION["delete_freed_spans"], values_, freed=freed, waiting=waiting)

    def _remove_links(self, span: Mapping[str, int], gone: pa.Table) -> None:
        found = self._database.rows(DELETION["select_linking"], span, gone=gone)
        named = set(gone["id"].to_pylist())
        rows = [(trace_id, span_id, links, without_links(links, named)) for trace_id, span_id, links in found]
        if rows:
            ids = {"trace_id": pa.binary(), "span_id": pa.binary()}
            changed = schema.table("trace_id span_id earlier links", rows, **ids)
            self._database.rows(DELETION["update_links"], span, changed=changed)


def _sum(one: Counters, other: Counters) -> Counters:
    return Counters(*map(sum, zip(one, other, strict=True)))


def _links_of(spans: pa.Table, links: pa.Table) -> pa.Table:
    """Returns the links of these spans only."""
    if not links.num_rows:
        return links
    kept = set(zip(spans["trace_id"].to_pylist(), spans["span_id"].to_pylist(), strict=True))
    ids = zip(links["trace_id"].to_pylist(), links["span_id"].to_pylist(), strict=True)
    found = links.filter(pa.array([each in kept for each in ids], pa.bool_()))
    return found.group_by(found.column_names).aggregate([])  # links of a repeated span occur twice


def without_links(links: str, named: Iterable[str]) -> str:
    """Returns the stored form of links without those to one of these sagas."""
    left_out = set(named)
    kept = [
        each for each in orjson.loads(links) if json_values.attributes(each[2]).get(semconv.SAGA_ID) not in left_out
    ]
    return orjson.dumps(kept).decode() if kept else ""
