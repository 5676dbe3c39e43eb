"""Reads the records of sagas, within the bounds of their commits, and finds the commits of a trace.

An index holds the commits of each trace. Commits are added to it in parts, a while after they were made; later commits,
and those before the index, are read.
"""

import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

import orjson
import pyarrow as pa
import pyarrow.compute as pc

from sagascope_collector.records import Facts, Log, Mark, SagaId, Span
from sagascope_collector.storage import changes, schema, summaries
from sagascope_collector.storage.changes import Bounds, Interval, merged
from sagascope_collector.storage.connection import statements
from sagascope_collector.storage.database import Database
from sagascope_collector.storage.records import Instances, Records
from sagascope_collector.storage.sagas import Sagas
from sagascope_collector.storage.schema import Origins

TRACES: Final = statements("traces")

INDEX_RECORDS: int = 500_000
"""Number of records that are indexed together."""


class TraceIndex:
    """Finds the commits of a trace. One thread indexes; any thread may read."""

    def __init__(self, database: Database, records: Records) -> None:
        self._database = database
        self._records = records
        ((self._first, self._last),) = database.rows(TRACES["select_indexed"])

    def index(self) -> bool:
        """Indexes the next commits once there are many records; False: there are few.

        Raises:
            StorageUnavailable: nothing was indexed.
        """
        first, last = self._last + 1, self._last + INDEX_RECORDS
        if last > self._records.seq:
            return False
        self._database.rows(TRACES["insert_trace_commits"], {"first": first, "last": last})
        self._first, self._last = self._first or first, last
        return True

    def commits(self, trace_id: bytes) -> Sequence[Interval]:
        """Returns intervals of commits that contain all records of a trace; others may be in them."""
        while True:
            first, last = self._first, self._last
            found = self._database.rows(TRACES["select_commits_of_trace"], {"trace": trace_id.hex().upper()})
            if (first, last) == (self._first, self._last):  # otherwise the index changed meanwhile
                return merged([(0, max(first, 1) - 1), *found, (last + 1, self._records.seq)])

    def delete(self, last: int) -> None:
        """Removes commits up to `last` from the index: few of their records are left.

        Raises:
            StorageUnavailable: nothing was removed.
        """
        self._first = max(self._first, last + 1)
        with self._database.transaction():
            self._database.rows(TRACES["delete_trace_commits"], {"last": last})
            self._database.rows(TRACES["update_trace_commits"], {"last": last})

    def clear(self) -> None:
        """Within a transaction: removes all traces. They are indexed again."""
        self._first = self._last = 0
        self._database.rows(TRACES["clear_trace_commits"])


SQL: Final = statements("records")
COMPLETIONS: Final = statements("completions")

MAX_RECORDS: int = 10_000
"""Maximum number of spans, and of log records, that are read of one saga: half of it first, half last."""

MAX_COMPLETIONS_WIDTH: int = 1_000_000
"""Maximum range of records in which clean completions of several sagas are searched together."""

MAX_COMPLETION_RECORDS: Final = 2_000
"""Maximum number of records of a clean completion; larger sagas are left to the general path."""

BATCH_IDS: Final = 4_096

BATCH_RECORDS: Final = 100_000
"""Rows of a whole table that are read at a time."""

EXCEPTION_TEXT: Final = r'"exception\.(?:message|type)","(?:[^"\\]|\\.)*'

RETRY_INTERVAL_SECONDS: Final = 0.005

TRACE_ID_DIGITS, SPAN_ID_DIGITS = 32, 16


@dataclass(eq=False)
class Lookup:
    """Reads records. Thread-safe."""

    _database: Database
    _sagas: Sagas
    _records: Records
    _origins: Origins
    _instances: Instances
    _traces: TraceIndex

    def facts(self, ids: Sequence[SagaId]) -> dict[SagaId, Facts]:
        """Returns all records of each id; an unknown id is absent.

        Spans that link to a saga are included. Of a saga with more than `MAX_RECORDS` records, the first and the last
        are returned, and the total number.
        """
        found = self._settled(lambda: self._sagas.bounds(ids))
        return {saga: found[saga] for saga in ids if saga in found}

    def facts_called(self, saga_id: str) -> dict[SagaId, Facts]:
        """Returns `facts` of this id in every environment that has it, ordered by environment."""
        return self._settled(lambda: self._sagas.bounds_called(saga_id))

    def _settled(self, bounds_of: Callable[[], Mapping[SagaId, Bounds]]) -> dict[SagaId, Facts]:
        """Returns the records at these bounds; reads again if some of them were moved meanwhile."""
        while True:
            moves, where = self._sagas.moves, bounds_of()
            found = self._facts(where)
            if (moves == self._sagas.moves and not moves % 2) or not self._sagas.have_moved(where):
                return found
            time.sleep(RETRY_INTERVAL_SECONDS)

    def _facts(self, where: Mapping[SagaId, Bounds]) -> dict[SagaId, Facts]:
        large = {saga for saga, each in where.items() if each.records > MAX_RECORDS}
        environments = {saga.environment for saga in where}
        spans: defaultdict[SagaId, list[Span]] = defaultdict(list)
        logs: defaultdict[SagaId, list[Log]] = defaultdict(list)
        for table in self._tables("spans", where, large):
            for saga, span in schema.spans(self._origins.rows_within(table, environments), self._origins):
                spans[saga].append(span)
        for table in self._tables("logs", where, large):
            for saga, log in schema.logs(self._origins.rows_within(table, environments), self._origins):
                logs[saga].append(log)
        for saga, linked in self._linked(where).items():
            spans[saga] += linked
        totals = {saga: self._totals(saga, where[saga]) for saga in large}
        found = (saga for saga in where if spans.get(saga) or logs.get(saga))
        return {saga: self._joined(saga, spans[saga], logs[saga], totals.get(saga)) for saga in found}

    def _tables(self, kind: str, where: Mapping[SagaId, Bounds], large: set[SagaId]) -> Iterator[pa.Table]:
        """Yields the rows of one kind, possibly with those of the same id in another environment."""
        small = {saga: each for saga, each in where.items() if saga not in large}
        for first, last in changes.covering(small.values()):
            ids = {
                saga.id
                for saga, each in small.items()
                if any(begin <= last and first <= end for begin, end in each.intervals)
            }
            yield self._rows(kind, ids, first, last)
        for saga in large:
            yield from self._ends_of(kind, saga.id, where[saga].intervals)
        for saga, each in where.items():
            if each.move:
                values = {"move": each.move, "id": saga.id}
                yield self._database.arrow(SQL[f"select_moved_{kind}"], values)

    def _rows(self, kind: str, ids: set[str], first: int, last: int) -> pa.Table:
        values = {"first": first, "last": last}
        if len(ids) == 1:
            return self._database.arrow(SQL[f"select_{kind}_of_one"], values | {"id": next(iter(ids))})
        wanted = schema.table("id", zip(sorted(ids), strict=True))
        return self._database.arrow(SQL[f"select_{kind}_of_many"], values, wanted=wanted)

    def _ends_of(self, kind: str, saga_id: str, intervals: Sequence[Interval]) -> Iterator[pa.Table]:
        if not intervals:
            return
        values = {"id": saga_id, "first": intervals[0][0], "last": intervals[-1][1], "limit": MAX_RECORDS // 2}
        yield self._database.arrow(SQL[f"select_ends_of_{kind}"], values)

    def _totals(self, saga: SagaId, where: Bounds) -> tuple[int, int]:
        if not where.intervals:
            return 0, 0
        values = {"id": saga.id, "first": where.intervals[0][0], "last": where.intervals[-1][1]}
        spans, logs = (self._database.rows(SQL[f"count_{kind}_of_one"], values)[0][0] for kind in ("spans", "logs"))
        return int(spans), int(logs)

    def _linked(self, where: Mapping[SagaId, Bounds]) -> dict[SagaId, list[Span]]:
        """Returns the spans that links make part of sagas, each with the mark of its link."""
        found: defaultdict[SagaId, dict[tuple[str, str, Mark, int], Span]] = defaultdict(dict)
        for first, last in changes.covering(where.values()):
            if not self._records.may_be_linked(first, last):
                continue
            links = self._rows("links", {saga.id for saga in where}, first, last)
            links = links.filter(pc.is_in(links["environment"], pa.array({saga.environment for saga in where})))
            if not links.num_rows:
                continue
            wanted = links.select(["trace_id", "span_id"])
            stored = self._database.arrow(SQL["select_linked"], {"first": first, "last": last}, wanted=wanted)
            of: defaultdict[tuple[str, str], list[Span]] = defaultdict(list)
            for _, span in schema.spans(stored, self._origins):
                of[span.trace_id, span.span_id].append(span)
            for link, mark in zip(links.to_pylist(), schema.marks(links), strict=True):
                saga = SagaId(link["environment"], link["saga_id"])
                for span in of[link["trace_id"].hex(), link["span_id"].hex()] if saga in where else ():
                    if span.mark.id != saga.id:
                        found[saga].setdefault((span.trace_id, span.span_id, mark, span.end), replace(span, mark=mark))
        return {saga: list(distinct.values()) for saga, distinct in found.items()}

    def _joined(
        self, saga: SagaId, spans: Sequence[Span], logs: Sequence[Log], totals: tuple[int, int] | None
    ) -> Facts:
        records: tuple[Span | Log, ...] = (*spans, *logs)
        services = dict.fromkeys((each.process.environment, each.process.service) for each in records)
        spans_total, logs_total = totals or (len(spans), len(logs))
        known = self._instances.of_services(services)
        return Facts(saga, tuple(spans), tuple(logs), known, max(spans_total, len(spans)), max(logs_total, len(logs)))

    def completions(self, ids: Sequence[SagaId]) -> Iterator[tuple[SagaId, Sequence[Any], Sequence[Any] | None]]:
        """Yields the sagas among these that may have completed cleanly; much cheaper than `facts`.

        With each come its rows of `select_clean_completions` and, if it has log records, `select_logs_of_completions`.
        """
        chosen = {saga: each for saga, each in self._sagas.bounds(ids).items() if _is_near(each)}
        if not chosen:
            return
        last = max(each.intervals[-1][1] for each in chosen.values())
        chosen = {saga: each for saga, each in chosen.items() if each.intervals[0][0] > last - MAX_COMPLETIONS_WIDTH}
        first = min(each.intervals[0][0] for each in chosen.values())
        wanted = summaries.ids_table(chosen).append_column("number", pa.array(range(len(chosen)), pa.int64()))

        def rows_of(name: str) -> dict[int, Sequence[Any]]:
            found = self._database.rows(COMPLETIONS[name], {"first": first, "last": last}, wanted=wanted)
            return {number: columns for number, *columns in found}

        spans, logs = rows_of("select_clean_completions"), rows_of("select_logs_of_completions")
        linked = rows_of("select_linked_completions") if self._records.may_be_linked(first, last) else {}
        sagas = list(chosen)
        for number, columns in spans.items():
            if number not in linked:
                yield sagas[number], columns, logs.get(number)

    def sagas_with(self, text: str) -> set[SagaId]:
        """Returns the sagas that have a span with this trace or span id; records in no saga count as one with no id."""
        id_ = _hex(text)
        if id_ is None:
            return set()
        if len(text) == SPAN_ID_DIGITS:
            return {SagaId(*row) for row in self._database.rows(SQL["select_sagas_of_span"], {"id": id_})}
        intervals = self._traces.commits(id_)
        with self._database.transaction():  # otherwise a saga whose records are moved meanwhile is in neither table
            found = self._database.rows(SQL["select_long_running_of_trace"], {"id": id_})
            for first, last in intervals:
                values = {"id": id_, "first": first, "last": last}
                found += self._database.rows(SQL["select_sagas_of_trace"], values)
        return {SagaId(*row) for row in found}

    def sagas_with_text(self, text: str, first: int, last: int, limit: int, *, moved: bool) -> list[SagaId]:
        """Returns sagas with a text in an error message or log line, in a range of commits, and of `moved` records."""
        escaped = orjson.dumps(text).decode()[1:-1].lower()
        forms = {"plain": text.lower(), "escaped": escaped, "exception": rf"{EXCEPTION_TEXT}\Q{escaped}\E"}
        values = {**forms, "first": first, "last": last, "limit": limit, "moved": moved}
        return [SagaId(*row) for row in self._database.rows(SQL["select_sagas_with_text"], values)]

    def unassigned(self, value: str, first: int, last: int) -> tuple[int, str, int | None]:
        """Returns how many spans without a saga have an attribute of this value, its key, and the first receipt."""
        values = {"element": summaries.element(value), "first": first, "last": last}
        ((number, keys, held, received_at),) = self._database.rows(SQL["select_unassigned"], values)
        names = (each for each in orjson.loads(keys or "[]") if isinstance(each, str))
        found = (name for name, one in zip(names, orjson.loads(held or "[]"), strict=True) if one == value)
        return number, next(found, ""), received_at

    def between(self, kind: Literal["spans", "logs"], since: int, until: int) -> Iterator[pa.Table]:
        """Yields the spans or log records that started between two times, in readable columns and no particular order.

        The times are in nanoseconds since 1970.
        """
        values = {"since": since, "until": until}
        return self._database.batches(SQL[f"select_{kind}_between"], values, rows=BATCH_RECORDS)

    def unlocated(self) -> Iterator[dict[SagaId, Bounds]]:
        """Yields the bounds of sagas whose records no summary locates, some thousands of sagas at a time."""
        for table in self._database.batches(SQL["select_bounds_of_all"], {}, rows=BATCH_IDS):
            rows_ = zip(*(column.to_pylist() for column in table.columns), strict=True)
            found = {SagaId(*row[:2]): Bounds(((row[2], row[3]),), 0, row[4]) for row in rows_}
            known = self._sagas.bounds(found)
            yield {saga: where for saga, where in found.items() if saga not in known}

    def ids(self) -> Iterator[Sequence[SagaId]]:
        """Yields every saga id with records, some thousands at a time."""
        for table in self._database.batches(SQL["select_all_saga_ids"], {}, rows=BATCH_IDS):
            columns = (table[name].to_pylist() for name in ("environment", "saga_id"))
            yield [SagaId(*each) for each in zip(*columns, strict=True)]


def _hex(text: str) -> bytes | None:
    """Returns the bytes of a trace or span id, in hex of either case; None: the text cannot be an id."""
    if len(text) not in (TRACE_ID_DIGITS, SPAN_ID_DIGITS):
        return None
    try:
        return bytes.fromhex(text)
    except ValueError:
        return None


def _is_near(each: Bounds) -> bool:
    if not each.intervals or each.move or each.records > MAX_COMPLETION_RECORDS:
        return False
    return each.intervals[-1][1] - each.intervals[0][0] < MAX_COMPLETIONS_WIDTH
