"""The store in one DuckDB file and a folder beside it, or in memory."""

import shutil
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pyarrow as pa

from sagascope_collector.errors import StoreUnavailable
from sagascope_collector.records import Facts, Instance, Log, SagaId, Span
from sagascope_collector.store import (
    before,
    chunk,
    home,
    plain,
    presences,
    reading,
    rows,
    snapshot,
    summaries,
    watchdog,
)
from sagascope_collector.store.alerts import Alerts
from sagascope_collector.store.catalogue import Catalogue
from sagascope_collector.store.census import Census
from sagascope_collector.store.compaction import Compaction
from sagascope_collector.store.contract import (
    NEWEST,
    Appended,
    Batch,
    Changed,
    Counters,
    CourseCount,
    Keep,
    LessonRow,
    Order,
    Page,
    Part,
    PlainEnd,
    SagaFilter,
    SagaRow,
    StepStatistics,
)
from sagascope_collector.store.courses import Courses
from sagascope_collector.store.database import Database
from sagascope_collector.store.expired import Expired
from sagascope_collector.store.forgetting import Forgetting
from sagascope_collector.store.frames import Frame
from sagascope_collector.store.generation import Bounds
from sagascope_collector.store.incidents import Incidents
from sagascope_collector.store.leaving import Leaving
from sagascope_collector.store.listing import Listing
from sagascope_collector.store.opening import IN_MEMORY, MEMORY
from sagascope_collector.store.pending import Pending
from sagascope_collector.store.rested import Rested
from sagascope_collector.store.resting import Resting
from sagascope_collector.store.retention import Retention
from sagascope_collector.store.sealing import Sealing
from sagascope_collector.store.shrinking import Shrinking
from sagascope_collector.store.sql import Query
from sagascope_collector.store.statistics import Statistics
from sagascope_collector.store.tiers import Tiers

Clock = Callable[[], int]

TRACE_ID_DIGITS, SPAN_ID_DIGITS = 32, 16

TOGETHER: int = 4_096
"""Saga ids that are given together."""

AGE: float = 600.0
"""Seconds after which a generation is sealed however little it holds, so that a restart stays short."""

FOR_EVER = Keep()

PENDING = pa.schema([("environment", pa.string()), ("id", pa.string()), ("seq", pa.uint64())])


class DuckDBStore:
    """`contract.Store` on DuckDB. It keeps a record of its own runs, from which `deaf_intervals` are read."""

    def __init__(
        self, path: str = IN_MEMORY, *, clock: Clock = time.time_ns, memory_bytes: int = MEMORY, keep: Keep = FOR_EVER
    ) -> None:
        """Open or make the database; raises what `opening.connect`, `migrate.migrate` and `home.enter` raise."""
        self._path = path
        self._keep = keep
        self._clock = clock
        self._database = Database(path, memory_bytes)
        self._incidents = Incidents(self._database)
        self._alerts = Alerts(self._database)
        self._appending = threading.Lock()
        self._summarising = threading.Lock()
        self._pending = Pending()
        self._expired = Expired(self._database)
        self._courses = Courses()
        try:
            self._open(home.folder_of(path))
        except BaseException:
            self._database.close()
            raise
        self._runners = {tuple(step): service for *step, service in self._database.rows(Query.SELECT_RUNNERS)}
        self._started_at = clock()
        self._database.rows(Query.INSERT_RUN, {"now": self._started_at})

    @property
    def incidents(self) -> Incidents:
        """See `Store.incidents`."""
        return self._incidents

    @property
    def alerts(self) -> Alerts:
        """See `Store.alerts`."""
        return self._alerts

    def _open(self, folder: Path) -> None:
        ((owner, begun, sealed_through, self._seq, *counted, projected),) = self._database.rows(Query.SELECT_STATE)
        home.enter(folder, begun=begun)
        home.tidy(folder, sealed_through)
        snapshot.discard_unfinished(folder)
        before.prune(self._path)
        entries = [chunk.Entry(*row) for row in self._database.rows(Query.SELECT_CHUNKS)]
        chunks = [chunk.load(folder, each) for each in entries]
        chunk.discard_unfinished(folder, [each.number for each in entries])
        self._counters = Counters(*counted)
        self._census = Census(map(presences.read, self._database.rows(Query.SELECT_INSTANCES)))
        self._tiers = Tiers(
            self._database, folder, owner, chunks, after=sealed_through, durable=self._path != IN_MEMORY
        )
        rested = Rested(self._database, folder)
        self._listing = Listing(self._database, rested)
        self._resting = Resting(self._database, rested, self._summarising)
        self._statistics = Statistics(self._database)
        catalogue = Catalogue(self._tiers, self._database)
        self._sealing = Sealing(catalogue, self._database, self._statistics, self._keep_beside)
        self._compaction = Compaction(catalogue, self._database, lambda: self._counters.stored)
        self._leaving = Leaving(catalogue, self._database)
        self._shrinking = Shrinking(
            self._keep.shrink_seconds, self._database, self._tiers, rested, self._leaving, self.seal
        )
        self._quiet = catalogue.working, self._resting.working, self._summarising
        self._retention = Retention(self._keep, self._database, self._tiers, self._resting, self._expire)
        self._forgetting = Forgetting(
            self._database,
            self._tiers,
            self._leaving,
            self._resting,
            self._pending,
            self._incidents,
            self._alerts,
            seal=self.seal,
            give_up=self._compaction.give_up,
            summarising=self._summarising,
        )
        self._began = time.monotonic()
        if not begun:
            self._database.rows(Query.UPDATE_STATE_BEGUN)
        for environment, id_, seq in self._database.rows(Query.SELECT_PENDING):
            self._pending.add([SagaId(environment, id_)], seq)
        for frame in self._tiers.restored():
            self._enter(frame, is_news=frame.seq > projected)
        self._forgetting.resume()

    # --- facts ---------------------------------------------------------------------------------

    def append(self, batch: Batch, *, rejected: int = 0) -> Appended:
        """See `Store.append`."""
        with self._appending:
            if not self._database.is_open:
                raise StoreUnavailable("The database is closed.")
            return self._append(batch, rejected)

    def _append(self, batch: Batch, rejected: int) -> Appended:
        received = batch.spans.num_rows + batch.logs.num_rows
        if not received and not rejected:
            return Appended(0, 0)
        spans, logs, keys = self._tiers.fresh(batch.spans, batch.logs)
        stored = spans.num_rows + logs.num_rows
        counted = Counters(received + rejected, stored, rejected, received - stored)
        counters = Counters(*map(sum, zip(self._counters, counted, strict=True)))
        links = batch.links if spans.num_rows == batch.spans.num_rows else _links_of(spans, batch.links)
        frame = Frame(self._seq + 1, counters, batch.processes, spans, logs, links, batch.origins)
        self._tiers.append(frame, keys)
        self._enter(frame, is_news=True)
        return Appended(stored, received - stored)

    def _enter(self, frame: Frame, *, is_news: bool) -> None:
        """Take note of a commit that is on disk."""
        self._census.see(frame.sightings)
        if is_news:
            ids = list(_sagas_of(frame))
            self._pending.add(ids, frame.seq)
            self._forgetting.heard(ids)
        # last: whoever reads the number finds everything up to it among what is pending
        self._seq, self._counters = frame.seq, frame.counters

    def tend(self) -> bool:
        """See `Store.tend`."""
        if time.monotonic() - self._began > AGE:
            self._close_generation()
        now = self._clock()
        steps = (
            self._sealing.step,
            lambda: self._resting.step(now),
            self._tiers.index,
            self._compaction.step,
            lambda: self._retention.step(now),
            lambda: self._shrinking.step(now),
        )
        return any(step() for step in steps)

    def seal(self) -> None:
        """Move everything to the sealed tier now, instead of when there is enough of it."""
        self._close_generation()
        while self._sealing.step():
            pass

    def _close_generation(self) -> None:
        with self._appending:
            self._tiers.close_generation()
            self._began = time.monotonic()

    def _keep_beside(self, generation: int) -> None:
        """Within the transaction that seals a generation: everything that its journal held besides."""
        state = {"sealed_through": generation, "seq": self._seq, **self._counters._asdict()}
        entries = [
            {"environment": saga.environment, "id": saga.id, "seq": since.first}
            for saga, since in self._pending.all().items()
        ]
        self._database.rows(Query.CLEAR_PENDING)
        if entries:
            self._database.rows(Query.INSERT_PENDING, entries=pa.Table.from_pylist(entries, schema=PENDING))
        self._database.rows(Query.UPDATE_STATE, state)
        changed = self._census.unwritten()
        if changed.num_rows:
            self._database.rows(Query.PUT_INSTANCES, batch_presences=changed)

    def _expire(self, ids: Sequence[SagaId], before: int) -> int:
        """Remove sagas of which nothing was heard since, and what is as old and in no saga; how many sagas."""
        old = {id_ for id_ in ids if not self._pending.holds(id_)}
        if any(each.records and each.bounds().earliest < before for each in self._tiers.view.generations):
            self.seal()
        self._leaving.without(old, before)
        self._leaving.bare(before)
        with self._summarising:
            with self._database.transaction():
                woken = self._resting.wake(list(old))
                self._database.count(Query.DELETE_SAGAS, settled=summaries.ids_table(list(old)))
                self._expired.add(old)
            self._resting.woken(woken)
        return len(old)

    def forget(self, ids: Sequence[SagaId], texts: Iterable[str]) -> int:
        """See `Store.forget`."""
        self._check_open()
        return self._forgetting.forget(ids, texts)

    def note_backup(self, place: str) -> None:
        """See `Store.note_backup`."""
        self._database.rows(Query.INSERT_BACKUP, {"made_at": self._clock(), "place": place})

    def backups(self, since: int) -> Sequence[str]:
        """See `Store.backups`."""
        noted = [place for place, _ in self._database.rows(Query.SELECT_BACKUPS, {"since": since})]
        return [*noted, *(str(each) for each in before.kept(self._path))]

    def facts(self, ids: Sequence[SagaId]) -> dict[SagaId, Facts]:
        """See `Store.facts`."""
        return reading.facts(self._tiers, ids, self._census.of)

    def facts_called(self, saga_id: str) -> dict[SagaId, Facts]:
        """See `Store.facts_called`."""
        return reading.facts_called(self._tiers, saga_id, self._census.of)

    def saga_ids(self) -> Iterator[Sequence[SagaId]]:
        """See `Store.saga_ids`."""
        for found in self._tiers.saga_ids():
            ids = sorted(each for each in found if each.id)
            yield from (ids[first : first + TOGETHER] for first in range(0, len(ids), TOGETHER))

    def plain_ends(self, ids: Sequence[SagaId]) -> Sequence[PlainEnd]:
        """See `Store.plain_ends`."""
        return plain.ends(self._tiers, self._courses, ids) if ids else []

    # --- summaries -----------------------------------------------------------------------------

    def changed(self) -> Changed:
        """See `Store.changed`."""
        self._check_open()
        return self._pending.waiting()

    def changed_ids(self, limit: int, *, quiet: float = 0.0, within: float = 0.0) -> Sequence[SagaId]:
        """See `Store.changed_ids`."""
        self._check_open()
        return self._pending.claim(limit, quiet, within)

    def postpone(self, ids: Sequence[SagaId]) -> None:
        """See `Store.postpone`."""
        self._pending.postpone(ids)

    def due_ids(self, now: int, limit: int) -> Sequence[SagaId]:
        """See `Store.due_ids`."""
        return [SagaId(*row) for row in self._database.rows(Query.SELECT_DUE, {"now": now, "limit": limit})]

    def spans(self, since: int, until: int) -> Iterator[Span]:
        """See `Store.spans`."""
        self._check_open()
        for table in self._tiers.every("spans", Bounds(since, until)):
            yield from (span for _, span in rows.spans(table) if since <= span.start < until)

    def logs(self, since: int, until: int) -> Iterator[Log]:
        """See `Store.logs`."""
        self._check_open()
        for table in self._tiers.every("logs", Bounds(since, until)):
            yield from (log for _, log in rows.logs(table) if since <= log.at < until)

    def put_summaries(self, ids: Sequence[SagaId], rows: Sequence[SagaRow]) -> None:
        """See `Store.put_summaries`."""
        if shrunk := self._shrinking.among(ids):
            rows = [row for row in rows if SagaId(row.key.environment, row.key.id) not in shrunk]
        changed = [each for each in ids if each not in shrunk]
        settled = summaries.ids_table(changed)
        rows = self._forgetting.lasting(rows)
        runners = {(*row.key[:2], step): service for row in rows for step, service in row.runners.items()}
        news = dict(runners.items() - self._runners.items())
        with self._summarising:
            with self._database.transaction():
                if news:
                    self._database.count(Query.PUT_RUNNERS, batch_runners=summaries.runners_table(news))
                woken = self._resting.wake(changed)
                self._database.count(Query.DELETE_SAGAS, settled=settled)
                if rows:
                    self._database.count(Query.INSERT_SAGAS, summaries=summaries.table(rows))
                regrouped = self._incidents.put(settled, rows, self._clock())
                self._database.rows(Query.UPDATE_STATE_PROJECTED, {"projected": self._pending.seen(self._seq)})
            self._resting.woken(woken)
        if regrouped:
            self._incidents.written()
        self._resting.written(len(rows))
        self._pending.settle(ids)
        self._runners = self._runners | news

    def put_lessons(self, rows: Sequence[LessonRow], keep: int) -> None:
        """See `Store.put_lessons`."""
        if not rows:
            return
        told = summaries.lessons_table(rows)
        with self._database.transaction():
            self._database.count(Query.DELETE_LESSONS, batch_lessons=told)
            self._database.count(Query.INSERT_LESSONS, batch_lessons=told)
            for environment, name in {row.key[:2] for row in rows}:
                values = {"environment": environment, "name": name, "keep": keep}
                self._database.count(Query.PRUNE_LESSONS, values)

    def lessons(self) -> Sequence[str]:
        """See `Store.lessons`."""
        return [document for (document,) in self._database.rows(Query.SELECT_LESSONS)]

    # --- reading -------------------------------------------------------------------------------

    def saga_rows(self, narrowed: SagaFilter, *, limit: int, cursor: str | None = None, order: Order = NEWEST) -> Page:
        """See `Store.saga_rows`."""
        return self._listing.page(narrowed, limit, cursor, order)

    def search(self, text: str, *, limit: int) -> list[tuple[str, SagaRow]]:
        """See `Store.search`."""
        return self._listing.search(text, limit) or self._of_telemetry(text, limit)

    def _of_telemetry(self, text: str, limit: int) -> list[tuple[str, SagaRow]]:
        """The sagas of a trace or a span."""
        wanted = [each for each in self._sagas_with(text) if each.id]
        if not wanted:
            return []
        kind = "trace" if len(text) == TRACE_ID_DIGITS else "span"
        return [(kind, row) for row in self._listing.of_ids(wanted, limit)]

    def _sagas_with(self, text: str) -> set[SagaId]:
        """Whose records have this trace or span id; of records in no saga the id is empty."""
        id_ = _hex(text)
        if id_ is None:
            return set()
        return self._tiers.sagas_of_trace(id_) if len(text) == TRACE_ID_DIGITS else self._tiers.sagas_of_span(id_)

    def has_trace(self, text: str) -> bool:
        """See `Store.has_trace`."""
        return bool(self._sagas_with(text))

    def shrunk(self, saga_id: str) -> Sequence[SagaRow]:
        """See `Store.shrunk`."""
        if not self._shrinking.is_any:
            return []
        found = (row for _, row in self._listing.search(saga_id, TOGETHER))
        return [row for row in found if row.key.id == saga_id and self._shrinking.is_shrunk(row)]

    def has_expired(self, saga_id: str) -> bool:
        """See `Store.has_expired`."""
        return self._expired.may_hold(saga_id)

    def flow_counts(self) -> list[tuple[str, str, str, int, int]]:
        """See `Store.flow_counts`."""
        counted = self._database.rows(Query.COUNT_FLOWS)
        return [(name, environment, status, sagas, needing) for name, environment, status, sagas, needing in counted]

    def steps(self, name: str, environment: str | None, since: int, period: int) -> Sequence[StepStatistics]:
        """See `Store.steps`."""
        return self._statistics.steps(name, environment, since, period, self._tiers.view.generations)

    def courses(self, name: str, environment: str | None, since: int, limit: int) -> Sequence[CourseCount]:
        """See `Store.courses`."""
        return self._listing.courses(name, environment, since, limit)

    def runners(self) -> Mapping[tuple[str, str, str], str]:
        """See `Store.runners`."""
        return self._runners

    def instances(self) -> Sequence[Instance]:
        """See `Store.instances`."""
        self._check_open()
        return self._census.instances()

    def counters(self) -> Counters:
        """See `Store.counters`."""
        self._check_open()
        return self._counters

    # --- the collector itself ------------------------------------------------------------------

    def within(self, seconds: float) -> AbstractContextManager[None]:
        """See `Store.within`."""
        return watchdog.within(seconds)

    def try_writing(self) -> None:
        """See `Store.try_writing`."""
        home.try_writing(self._tiers.folder)

    def stay_alive(self) -> None:
        """See `Store.stay_alive`."""
        self._database.rows(Query.UPDATE_RUN_ALIVE, {"now": self._clock(), "started_at": self._started_at})

    def note_deaf(self, start: int, end: int) -> None:
        """See `Store.note_deaf`."""
        self._database.rows(Query.PUT_DEAFNESS, {"start": start, "end": end})

    def deaf_intervals(self, since: int) -> list[tuple[int, int]]:
        """See `Store.deaf_intervals`."""
        return [(start, end) for start, end in self._database.rows(Query.SELECT_DEAF, {"since": since})]

    @contextmanager
    def copied(self) -> Iterator[Sequence[Part]]:
        """See `Store.copied`."""
        self._check_open()
        if self._path == IN_MEMORY:
            raise StoreUnavailable("A database in memory has no backup: it keeps nothing.")
        with snapshot.taken(self._database, self._tiers.folder, self._quiet, self._appending) as parts:
            yield parts

    def size_bytes(self) -> int:
        """See `Store.size_bytes`."""
        if self._path == IN_MEMORY:
            return 0
        files = (Path(self._path), Path(f"{self._path}.wal"))
        return sum(file.stat().st_size for file in files if file.exists()) + self._tiers.size_bytes()

    def close(self) -> None:
        """See `Store.close`."""
        values = {"now": self._clock(), "started_at": self._started_at}
        with self._appending:
            if self._database.is_open:
                self._database.rows(Query.UPDATE_RUN_STOPPED, values)
                self._database.close()
                self._tiers.close()
                if self._path == IN_MEMORY:
                    shutil.rmtree(self._tiers.folder)

    def _check_open(self) -> None:
        if not self._database.is_open:
            raise StoreUnavailable("The database is closed.")


def _sagas_of(frame: Frame) -> Iterable[SagaId]:
    """Every saga with a record in a commit."""
    environments = frame.origins["environment"].to_pylist()
    found: dict[SagaId, None] = {}
    for table in (frame.spans, frame.logs):
        pairs = zip(table["origin"].to_pylist(), table["saga_id"].to_pylist(), strict=True)
        found.update((SagaId(environments[origin], id_), None) for origin, id_ in dict.fromkeys(pairs) if id_)
    named = zip(frame.links["environment"].to_pylist(), frame.links["saga_id"].to_pylist(), strict=True)
    found.update((SagaId(*each), None) for each in named)
    return found


def _links_of(spans: pa.Table, links: pa.Table) -> pa.Table:
    """The links of these spans only."""
    kept = set(spans["key"].to_pylist())
    length = len(next(iter(kept), b""))
    return links.filter(pa.array([each[:length] in kept for each in links["key"].to_pylist()], pa.bool_()))


def _hex(text: str) -> bytes | None:
    """The bytes of a trace or span id, in hex of either case; None if it cannot be one."""
    if len(text) not in (TRACE_ID_DIGITS, SPAN_ID_DIGITS):
        return None
    try:
        return bytes.fromhex(text)
    except ValueError:
        return None
