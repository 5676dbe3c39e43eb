"""Applies mapping rules to stored records: rules for whole traces, and all rules once they have changed.

A record that is received before the span that identifies its trace gets its saga when that span arrives. The work is
done in units of maintenance, each in one transaction: it is resumed after a stop, and repeating it changes nothing.
"""

import re
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import orjson
import pyarrow as pa

from sagascope import semconv
from sagascope_collector import json_values
from sagascope_collector.client import schemas
from sagascope_collector.engines import AttributeMapping, RecordFields
from sagascope_collector.engines.traces import Assignment, TraceRecord, assign
from sagascope_collector.errors import BadRules, BadValue, Disabled
from sagascope_collector.otlp.columns import mark_columns, table
from sagascope_collector.records import UNMARKED, Mark, SagaId, mark_of
from sagascope_collector.storage import Storage, schema
from sagascope_collector.storage.changes import Bounds, merged
from sagascope_collector.storage.connection import statements

SQL: Final = statements("remapping")

UNIT_RECORDS: int = 5_000
"""Number of records that one transaction maps, beside earlier ones of their traces."""

STEP_SECONDS: float = 0.3
"""Time after which other maintenance runs."""

LOOKBACK_RECORDS: int = 1_000_000
"""Maximum distance, in received records, at which records of one trace are mapped together."""

MAX_TRACE_RECORDS: int = 20_000
"""Maximum number of records of a trace that is given to a saga."""

SETTLE_SECONDS: Final = 10.0
"""Time after a change of the rules in which requests that were decoded by the earlier rules may still be stored."""

SAVE_RECORDS: Final = 200_000
"""Number of records without a change after which the progress is stored."""

SPANS, LOGS = KINDS = ("spans", "logs")

_MARK: Final = tuple(name for name, _ in schema.MARK)
_CHANGED: Final = pa.schema([("row", pa.int64()), *schema.MARK, *schema.ATTRIBUTES])


class Progress(NamedTuple):
    """How far stored records are mapped by the current rules. `seq` counts records."""

    digest: str
    """Identifies the rules."""
    seq: int
    """Everything up to this commit is mapped."""
    remap_until: int
    """Up to this commit, records may have been received under other rules."""

    @property
    def is_remapping(self) -> bool:
        """Whether records that were received under other rules are still to be mapped."""
        return self.seq < self.remap_until


@dataclass(frozen=True, slots=True)
class _Row:
    """A stored record."""

    kind: str
    """One of `KINDS`."""
    columns: Mapping[str, Any]
    attributes: Mapping[str, Any]
    """Without those that rules added."""
    added: Mapping[str, Any]
    """The attributes that rules added."""
    mark: Mark


class Remapping:
    """Maps stored records. `step` is called by the one thread of maintenance; the other methods by any thread."""

    def __init__(
        self, storage: Storage, mapping: AttributeMapping, read_again: Callable[[], AttributeMapping] | None = None
    ) -> None:
        """Continues where the last process stopped; what was received meanwhile is mapped again.

        Args:
            storage: the storage, on which `step` must be called.
            mapping: the rules.
            read_again: returns the rules of the same file as they are now.
        """
        self._storage = storage
        self._read_again = read_again
        self._database = storage.database
        self._lock = threading.Lock()
        found = [] if storage.is_read_only else self._database.rows(SQL["select_progress"])
        stored = Progress(*found[0]) if found else Progress("", 0, 0)
        self._saved_seq = stored.seq
        self._settles_at = 0.0
        self._mapping = mapping
        self._progress = stored
        self.use(mapping)

    def use(self, mapping: AttributeMapping, *, from_start: bool = False) -> None:
        """Applies these rules from now on, and to stored records: to all of them if the rules differ or `from_start`.

        Without rules, stored records stay as they are.
        """
        newest = self._storage.records.seq
        with self._lock:
            self._mapping = mapping
            self._settles_at = time.monotonic() + SETTLE_SECONDS
            if mapping.digest:
                is_known = mapping.digest == self._progress.digest and not from_start
                self._progress = Progress(mapping.digest, self._progress.seq if is_known else 0, newest)

    def restart(self) -> None:
        """Reads the mapping file again, and applies it to all stored records.

        Raises:
            Disabled: the collector runs without a mapping file.
            BadValue: the file is not valid.
        """
        if self._read_again is None:
            raise Disabled("The collector runs without a mapping file: start it with serve --mapping FILE.")
        try:
            mapping = self._read_again()
        except BadRules as error:
            raise BadValue(str(error)) from error
        self.use(mapping, from_start=True)

    def state(self) -> schemas.Remapping:
        """Returns how far stored records are mapped, as the API shows it."""
        progress, has_rules = self._progress, bool(self._mapping.digest)
        newest = self._storage.records.seq
        is_running = has_rules and progress.is_remapping
        mapped = min(progress.seq, newest) if is_running else newest
        return schemas.Remapping(has_rules=has_rules, is_running=is_running, mapped=mapped, records=newest)

    def notices(self) -> list[str]:
        """Returns notices for readers of lists: one while records are mapped by other rules than before."""
        progress = self._progress
        if not (self._mapping.digest and progress.is_remapping):
            return []
        return [
            f"remapping: {progress.seq:,} of {progress.remap_until:,} stored records are mapped by the current rules; "
            "transactions may be incomplete."
        ]

    @property
    def progress(self) -> Progress:
        """The current progress."""
        return self._progress

    @property
    def mapping(self) -> AttributeMapping:
        """The rules that apply."""
        return self._mapping

    def step(self) -> None:
        """Maps the next records; does nothing without rules.

        Raises:
            StorageUnavailable: the rest remains to be mapped.
        """
        until = time.monotonic() + STEP_SECONDS
        while self._unit() and time.monotonic() < until:
            pass

    def _unit(self) -> bool:
        """Maps some records; False: none is left."""
        newest = self._storage.records.seq
        with self._lock:
            if time.monotonic() < self._settles_at:
                self._progress = self._progress._replace(remap_until=newest)
            mapping, progress = self._mapping, self._progress
        if not mapping.digest or progress.seq >= newest or self._storage.is_read_only:
            return False
        if not progress.is_remapping and not mapping.rules.of_traces:
            self._advance(progress, newest, _Reassignments())
            return False
        last = min(progress.seq + UNIT_RECORDS, progress.remap_until if progress.is_remapping else newest)
        self._advance(progress, last, _reassignments(*self._read(progress, last, mapping), mapping))
        return last < newest

    def _read(self, progress: Progress, last: int, mapping: AttributeMapping) -> tuple[list[_Row], set[bytes]]:
        """Returns the records of the next unit with the earlier ones of their traces, and the traces to assign."""
        range_ = {"first": progress.seq + 1, "last": last, "is_again": progress.is_remapping}
        since = max(0, last - LOOKBACK_RECORDS)
        identified = schema.table("trace_id", [], trace_id=pa.binary())
        if mapping.rules.of_traces:
            values = {**range_, "since": since, "keys": _keys_pattern(mapping), "limit": MAX_TRACE_RECORDS}
            identified = self._database.arrow(SQL["select_identified_traces"], values)
        values = {**range_, "since": since if identified.num_rows else progress.seq + 1}
        found: list[_Row] = []
        for kind in KINDS:
            table = self._database.arrow(SQL[f"select_{kind}"], values, identified=identified)
            found += [_row(kind, columns) for columns in table.to_pylist()]
        return found, set(identified["trace_id"].to_pylist())

    def _advance(self, progress: Progress, seq: int, changes: "_Reassignments") -> None:
        """Stores the changes and the progress together, so that neither is lost or repeated."""
        advanced = progress._replace(seq=seq)
        if changes.rows:
            sagas = changes.sagas()
            with self._storage.sagas.writing, self._storage.records.appending, self._database.transaction():
                for kind, rows in changes.rows.items():
                    range_ = {"first": min(each.seq for each in rows), "last": max(each.seq for each in rows)}
                    self._database.rows(SQL[f"update_{kind}"], range_, changed=_table(rows))
                self._save(advanced)
                self._storage.changes.restore(sagas)
                self._storage.records.write_snapshot()  # otherwise a crash would forget which sagas changed
            self._storage.changes.restore(sagas)  # again: they may have been read before the commit
        elif seq - self._saved_seq > SAVE_RECORDS or (progress.is_remapping and not advanced.is_remapping):
            with self._database.transaction():
                self._save(advanced)
        with self._lock:
            if self._progress == progress:  # otherwise other rules apply meanwhile
                self._progress = advanced

    def _save(self, progress: Progress) -> None:
        self._database.rows(SQL["delete_progress"])
        self._database.rows(SQL["insert_progress"], progress._asdict())
        self._saved_seq = progress.seq


def _keys_pattern(mapping: AttributeMapping) -> str:
    """Returns a pattern that matches the attribute keys of every span that a rule may identify."""
    keys = [rule.id_key for rule in mapping.rules.of_traces]
    return "" if "" in keys else "|".join(re.escape(orjson.dumps(key).decode()) for key in keys)


def _row(kind: str, columns: Mapping[str, Any]) -> _Row:
    mark = Mark(*(columns[name] for name in _MARK))
    all_ = schema.attributes(
        columns["attribute_keys"], columns["attribute_values"], tuple(columns[name] for name in _MARK)
    )
    names = all_.get(semconv.MAPPED) or []
    added = {name: all_[name] for name in names if name in all_}
    own = {key: value for key, value in all_.items() if key not in added and key != semconv.MAPPED}
    return _Row(kind, columns, own, added, mark)


class _Reassigned(NamedTuple):
    """A record to which the rules assign another saga than before."""

    row: _Row
    mark: Mark
    added: Mapping[str, Any]

    @property
    def seq(self) -> int:
        return int(self.row.columns["seq"])


@dataclass(slots=True)
class _Reassignments:
    rows: defaultdict[str, list[_Reassigned]] = field(default_factory=lambda: defaultdict(list))
    """By kind of record."""
    _counts: defaultdict[SagaId, Counter[int]] = field(default_factory=lambda: defaultdict(Counter))
    """The numbers of records by saga and commit."""

    def add(self, changed: _Reassigned) -> None:
        row = changed.row
        self.rows[row.kind].append(changed)
        for id_ in {row.mark.id, changed.mark.id} - {""}:
            self._counts[SagaId(row.columns["environment"], id_)][changed.seq] += 1

    def sagas(self) -> dict[SagaId, Bounds]:
        """Returns the sagas that get or lose records, and where these records are."""
        return {
            saga: Bounds(merged((seq, seq) for seq in counts), 0, counts.total()).narrowed()
            for saga, counts in self._counts.items()
        }


def _reassignments(read: Iterable[_Row], identified: Collection[bytes], mapping: AttributeMapping) -> _Reassignments:
    """Returns the records that the rules map differently than before."""
    by_trace: defaultdict[bytes, list[_Row]] = defaultdict(list)
    for row in read:
        by_trace[row.columns["trace_id"]].append(row)
    changes = _Reassignments()
    for trace_id, members in by_trace.items():
        records = [_record(row, mapping) for row in members]
        rules = mapping.rules.of_traces if trace_id in identified else ()
        of_trace = assign([record for record, _ in records], rules)
        for row, (_, own), given in zip(members, records, of_trace, strict=True):
            mark, attributes = own or given or (UNMARKED, {})
            added = {key: value for key, value in attributes.items() if key not in row.attributes}
            if (mark, added) != (row.mark, row.added):
                changes.add(_Reassigned(row, mark, added))
    return changes


def _record(row: _Row, mapping: AttributeMapping) -> tuple[TraceRecord, Assignment | None]:
    """Returns a record as a part of its trace, and the saga that an engine or a rule for single records gives it."""
    columns = row.columns
    fields = RecordFields(columns["name"], columns["scope"], columns["service"], row.attributes, columns["kind"])
    has_own = not row.attributes.keys().isdisjoint(schema.MARK_KEYS)
    mark = mapping.mark(fields, mark_of(row.attributes) if has_own else UNMARKED)
    own = Assignment(mark, mapping.attributes(fields)) if mark.id else None
    record = TraceRecord(
        fields, own is None, columns["span_id"], columns["parent_id"], columns["start"], row.kind == SPANS
    )
    return record, own


def _table(changed: Sequence[_Reassigned]) -> pa.Table:
    values = [(each.row.columns["row"], *mark_columns(each.mark), *_texts(each)) for each in changed]
    return table([(each.name, each.type) for each in _CHANGED], values)


def _texts(changed: _Reassigned) -> tuple[str, str]:
    """Returns the stored attributes of a record, with those that rules add."""
    columns, added = changed.row.columns, dict(changed.added)
    known = schema.known_keys(columns["attribute_keys"])
    if not (added or changed.row.added or any(column is not None for _, column in known)):
        return columns["attribute_keys"], columns["attribute_values"]  # unchanged, so that a repeat is recognized
    keys, values = [], []
    following = iter(orjson.loads(columns["attribute_values"]))
    for key, column in known:
        value = next(following) if column is None else columns[_MARK[column]]
        if key not in changed.row.added and key != semconv.MAPPED:
            keys.append(key)
            values.append(value)
    if added:
        keys += [*added, semconv.MAPPED]
        values += [json_values.to_json(value) for value in (*added.values(), list(added))]
    return orjson.dumps(keys).decode(), orjson.dumps(values).decode()
