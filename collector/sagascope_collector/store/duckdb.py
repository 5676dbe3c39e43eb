"""The store in one DuckDB file, or in memory."""

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pyarrow as pa

from sagascope_collector.records import Facts, Instance, Log, Process, SagaId, Span
from sagascope_collector.store import cursors, presences, rows, summaries
from sagascope_collector.store.contract import Appended, Batch, Counters, LessonRow, Page, SagaFilter, SagaRow
from sagascope_collector.store.database import Database
from sagascope_collector.store.incidents import Incidents
from sagascope_collector.store.opening import IN_MEMORY
from sagascope_collector.store.presence import merge
from sagascope_collector.store.sql import Query

Clock = Callable[[], int]

TRACE_ID_DIGITS, SPAN_ID_DIGITS = 32, 16


class DuckDBStore:
    """`contract.Store` on DuckDB. It keeps a record of its own runs, from which `deaf_intervals` are read."""

    def __init__(self, path: str = IN_MEMORY, *, clock: Clock = time.time_ns) -> None:
        """Open or make the database; raises what `opening.connect` and `migrate.migrate` raise."""
        self._path = path
        self._clock = clock
        self._database = Database(path)
        self._incidents = Incidents(self._database)
        self._appending = threading.Lock()
        ((self._seq,),) = self._database.rows(Query.SELECT_SEQ)
        self._claims: dict[SagaId, int] = {}
        self._runners = {tuple(step): service for *step, service in self._database.rows(Query.SELECT_RUNNERS)}
        self._started_at = clock()
        self._database.rows(Query.INSERT_RUN, {"now": self._started_at})

    @property
    def incidents(self) -> Incidents:
        """See `Store.incidents`."""
        return self._incidents

    # --- facts ---------------------------------------------------------------------------------

    def append(self, batch: Batch, *, rejected: int = 0) -> Appended:
        """See `Store.append`."""
        with self._appending:
            return self._append(batch, rejected)

    def _append(self, batch: Batch, rejected: int) -> Appended:
        database, seq = self._database, {"seq": self._seq + 1}
        received = batch.spans.num_rows + batch.logs.num_rows
        spans, logs = (_with_origins(each, batch.origins) for each in (batch.spans, batch.logs))
        tables = {"batch_spans": spans, "batch_logs": logs, "batch_links": batch.links}
        with database.transaction():
            stored = database.count(Query.INSERT_SPANS, seq, batch_spans=spans) if spans.num_rows else 0
            stored += database.count(Query.INSERT_LOGS, seq, batch_logs=logs) if logs.num_rows else 0
            if batch.links.num_rows:
                database.count(Query.INSERT_LINKS, batch_links=batch.links)
            if received:
                database.count(Query.INSERT_PENDING, seq, **tables)
            self._put_presences(batch)
            counted = Counters(received + rejected, stored, rejected, received - stored)
            database.count(Query.UPDATE_COUNTERS, seq | counted._asdict())
        self._seq += 1
        return Appended(stored, received - stored)

    def _put_presences(self, batch: Batch) -> None:
        if not batch.processes:
            return
        seen = _processes_table(each.process for each in batch.processes)
        known = map(presences.read, self._database.rows(Query.SELECT_INSTANCES_OF_BATCH, batch_processes=seen))
        merged = presences.table(merge(known, batch.processes))
        self._database.count(Query.PUT_INSTANCES, batch_presences=merged)

    def facts(self, ids: Sequence[SagaId]) -> dict[SagaId, Facts]:
        """See `Store.facts`."""
        wanted = _ids_table(ids)
        with self._database.transaction():
            spans = self._spans_of(wanted)
            logs: defaultdict[SagaId, list[Log]] = defaultdict(list)
            for saga, log in rows.logs(self._database.arrow(Query.SELECT_LOGS_OF_SAGAS, wanted_sagas=wanted)):
                logs[saga].append(log)
            instances = self._instances_of(spans, logs)
        return {saga: _facts(saga, spans[saga], logs[saga], instances) for saga in ids if spans[saga] or logs[saga]}

    def _spans_of(self, wanted: pa.Table) -> defaultdict[SagaId, list[Span]]:
        found: defaultdict[SagaId, list[Span]] = defaultdict(list)
        for saga, span in rows.spans(self._database.arrow(Query.SELECT_SPANS_OF_SAGAS, wanted_sagas=wanted)):
            found[saga].append(span)
        links = self._database.arrow(Query.SELECT_LINKS_OF_SAGAS, wanted_sagas=wanted)
        if links.num_rows:
            self._add_linked(found, links)
        return found

    def _add_linked(self, found: defaultdict[SagaId, list[Span]], links: pa.Table) -> None:
        wanted = links.select(["trace_id", "span_id"])
        linked = self._database.arrow(Query.SELECT_SPANS_OF_LINKS, wanted_spans=wanted)
        spans = {(span.trace_id, span.span_id): span for _, span in rows.spans(linked)}
        for link in links.to_pylist():
            span = spans.get((link["trace_id"].hex(), link["span_id"].hex()))
            if span and span.mark.id != link["saga_id"]:
                found[SagaId(link["environment"], link["saga_id"])].append(replace(span, mark=rows.mark(link)))

    def _instances_of(
        self, spans: Mapping[SagaId, Sequence[Span]], logs: Mapping[SagaId, Sequence[Log]]
    ) -> dict[tuple[str, str], list[Instance]]:
        senders = [each.process for of_saga in spans.values() for each in of_saga]
        senders += [each.process for of_saga in logs.values() for each in of_saga]
        services = _processes_table(senders)
        found: defaultdict[tuple[str, str], list[Instance]] = defaultdict(list)
        for row in self._database.rows(Query.SELECT_INSTANCES_OF_SERVICES, wanted_services=services):
            instance = presences.read(row).instance()
            found[instance.process.environment, instance.process.service].append(instance)
        return found

    # --- summaries -----------------------------------------------------------------------------

    def changed_ids(self, limit: int) -> Sequence[SagaId]:
        """See `Store.changed_ids`."""
        changed = self._database.rows(Query.SELECT_CHANGED, {"limit": limit})
        self._claims = {SagaId(environment, id_): seq for environment, id_, seq in changed}
        return list(self._claims)

    def due_ids(self, now: int, limit: int) -> Sequence[SagaId]:
        """See `Store.due_ids`."""
        return [SagaId(*row) for row in self._database.rows(Query.SELECT_DUE, {"now": now, "limit": limit})]

    def put_summaries(self, ids: Sequence[SagaId], rows: Sequence[SagaRow]) -> None:
        """See `Store.put_summaries`."""
        settled = _ids_table(ids, self._claims)
        runners = {(*row.key[:2], step): service for row in rows for step, service in row.runners.items()}
        news = dict(runners.items() - self._runners.items())
        with self._database.transaction():
            if news:
                self._database.count(Query.PUT_RUNNERS, batch_runners=summaries.runners_table(news))
            self._database.count(Query.DELETE_SAGAS, settled=settled)
            if rows:
                self._database.count(Query.INSERT_SAGAS, summaries=summaries.table(rows))
            self._incidents.put(settled, rows, self._clock())
            self._database.count(Query.DELETE_PENDING, settled=settled)
        self._runners = self._runners | news
        for each in ids:
            self._claims.pop(each, None)

    def put_lessons(self, rows: Sequence[LessonRow], keep: int) -> None:
        """See `Store.put_lessons`."""
        if not rows:
            return
        told = summaries.lessons_table(rows)
        with self._database.transaction():
            self._database.count(Query.DELETE_LESSONS, batch_lessons=told)
            self._database.count(Query.INSERT_LESSONS, batch_lessons=told)
            self._database.count(Query.PRUNE_LESSONS, {"keep": keep})

    def lessons(self) -> Sequence[str]:
        """See `Store.lessons`."""
        return [document for (document,) in self._database.rows(Query.SELECT_LESSONS)]

    # --- reading -------------------------------------------------------------------------------

    def environments_of(self, saga_id: str) -> Sequence[str]:
        """See `Store.environments_of`."""
        return [environment for (environment,) in self._database.rows(Query.SELECT_ENVIRONMENTS, {"id": saga_id})]

    def saga_rows(self, narrowed: SagaFilter, *, limit: int, cursor: str | None = None) -> Page:
        """See `Store.saga_rows`."""
        after = cursors.read(cursor) if cursor else None
        wanted = {name: getattr(narrowed, name) for name in narrowed.__slots__}
        wanted |= {name: summaries.element(wanted[name]) for name in ("step", "service")}
        wanted["member"] = summaries.member(narrowed.q)
        place = {
            "before": after and after.started_at,
            "after_environment": after and after.environment,
            "after_name": after and after.name,
            "after_id": after and after.id,
            "after_run": after and after.run,
        }
        fetched = self._database.rows(Query.SELECT_SAGAS, {**wanted, **place, "limit": limit + 1})
        found = [summaries.read(row) for row in fetched[:limit]]
        return Page(found, cursors.write(found[-1]) if len(fetched) > limit else None)

    def search(self, text: str, *, limit: int) -> list[tuple[str, SagaRow]]:
        """See `Store.search`."""
        values = {"text": text, "member": summaries.member(text), "limit": limit}
        found = self._database.rows(Query.SEARCH_SAGAS, values)
        if not found and (id_ := _hex(text)):
            query = Query.SEARCH_TRACES if len(text) == TRACE_ID_DIGITS else Query.SEARCH_SPANS
            found = self._database.rows(query, {"id": id_, "limit": limit})
        return [(kind, summaries.read(row)) for kind, *row in found]

    def has_trace(self, text: str) -> bool:
        """See `Store.has_trace`."""
        id_ = _hex(text)
        return bool(id_ and self._database.rows(Query.HAS_TRACE, {"id": id_})[0][0])

    def flow_counts(self) -> list[tuple[str, str, str, int, int]]:
        """See `Store.flow_counts`."""
        counted = self._database.rows(Query.COUNT_FLOWS)
        return [(name, environment, status, sagas, needing) for name, environment, status, sagas, needing in counted]

    def runners(self) -> Mapping[tuple[str, str, str], str]:
        """See `Store.runners`."""
        return self._runners

    def instances(self) -> Sequence[Instance]:
        """See `Store.instances`."""
        return [presences.read(row).instance() for row in self._database.rows(Query.SELECT_INSTANCES)]

    def counters(self) -> Counters:
        """See `Store.counters`."""
        return Counters(*self._database.rows(Query.SELECT_COUNTERS)[0])

    # --- the collector itself ------------------------------------------------------------------

    def stay_alive(self) -> None:
        """See `Store.stay_alive`."""
        self._database.rows(Query.UPDATE_RUN_ALIVE, {"now": self._clock(), "started_at": self._started_at})

    def note_deaf(self, start: int, end: int) -> None:
        """See `Store.note_deaf`."""
        self._database.rows(Query.PUT_DEAFNESS, {"start": start, "end": end})

    def deaf_intervals(self, since: int) -> list[tuple[int, int]]:
        """See `Store.deaf_intervals`."""
        return [(start, end) for start, end in self._database.rows(Query.SELECT_DEAF, {"since": since})]

    def size_bytes(self) -> int:
        """See `Store.size_bytes`."""
        if self._path == IN_MEMORY:
            return 0
        return sum(file.stat().st_size for file in (Path(self._path), Path(f"{self._path}.wal")) if file.exists())

    def close(self) -> None:
        """See `Store.close`."""
        values = {"now": self._clock(), "started_at": self._started_at}
        with self._appending:
            if self._database.is_open:
                self._database.rows(Query.UPDATE_RUN_STOPPED, values)
                self._database.close()


def _facts(
    saga: SagaId, spans: Sequence[Span], logs: Sequence[Log], instances: Mapping[tuple[str, str], Sequence[Instance]]
) -> Facts:
    records: tuple[Span | Log, ...] = (*spans, *logs)
    services = dict.fromkeys((each.process.environment, each.process.service) for each in records)
    known = tuple(instance for service in services for instance in instances.get(service, ()))
    return Facts(saga, tuple(spans), tuple(logs), known)


def _ids_table(ids: Sequence[SagaId], seqs: Mapping[SagaId, int] | None = None) -> pa.Table:
    environments = pa.array([each.environment for each in ids], pa.string())
    texts = pa.array([each.id for each in ids], pa.string())
    if seqs is None:
        return pa.table({"environment": environments, "saga_id": texts})
    return pa.table(
        {"environment": environments, "id": texts, "seq": pa.array([seqs.get(each, 0) for each in ids], pa.uint64())}
    )


def _with_origins(table: pa.Table, origins: pa.Table) -> pa.Table:
    """Records with what they came under in columns of their own."""
    shared = origins.take(table.column("origin"))
    table = table.drop_columns(["origin"])
    for name, column in zip(shared.column_names, shared.columns, strict=True):
        table = table.append_column(name, column)
    return table


def _processes_table(processes: Iterable[Process]) -> pa.Table:
    known = dict.fromkeys((each.environment, each.service, each.identity) for each in processes)
    columns = zip(*known, strict=True) if known else ((), (), ())
    names = ("environment", "service", "identity")
    return pa.table({name: pa.array(column, pa.string()) for name, column in zip(names, columns, strict=True)})


def _hex(text: str) -> bytes | None:
    """The bytes of a trace or span id, in hex of either case; None if it cannot be one."""
    if len(text) not in (TRACE_ID_DIGITS, SPAN_ID_DIGITS):
        return None
    try:
        return bytes.fromhex(text)
    except ValueError:
        return None
