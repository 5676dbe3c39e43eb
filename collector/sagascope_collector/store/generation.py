"""A part of the hot tier: one journal, with an index in memory by which its records are found and told apart."""

import threading
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from sagascope_collector.store import fingerprints, frames, schema
from sagascope_collector.store.fingerprints import NONE, Fingerprints
from sagascope_collector.store.frames import Frame
from sagascope_collector.store.journal import Journal, Place
from sagascope_collector.store.known import Known

KINDS: Final = ("spans", "logs", "links")
"""The tables that hold records of sagas."""


STORED: Final = {
    "spans": pa.schema([*(each for each in frames.kept("spans") if each.name != "origin"), *schema.ORIGIN]),
    "logs": pa.schema([*(each for each in frames.kept("logs") if each.name != "origin"), *schema.ORIGIN]),
    "links": frames.kept("links"),
}
"""The columns of what is read, with what each record came under."""


OBJECTS: Final = 96 * 1024
"""Bytes that the objects of a frame's columns take beside what is in them; measured, of small frames 58 to 100 KB."""


class Bounds(NamedTuple):
    """The earliest and the latest start of a span, or time of a log record."""

    earliest: int
    latest: int

    def with_(self, other: "Bounds") -> "Bounds":
        """What both lie in."""
        return Bounds(min(self.earliest, other.earliest), max(self.latest, other.latest))

    def meets(self, other: "Bounds") -> bool:
        """Whether something can lie in both."""
        return self.earliest <= other.latest and other.earliest <= self.latest


NEVER: Final = Bounds(2**64 - 1, 0)


@dataclass(frozen=True, slots=True)
class Columns:
    """One table of a frame, as fingerprints."""

    sagas: Fingerprints
    groups: Fingerprints
    """Of a record's trace, else of its saga, else its own: two forms of one record have the same."""
    distinct_sagas: Fingerprints
    """Sorted."""
    span_ids: Fingerprints
    """As they are."""


@dataclass(frozen=True, slots=True)
class Slice:
    """One frame: where it is, and what is in it."""

    place: Place
    seq: int
    bounds: Bounds
    of: dict[str, Columns]
    records: int
    """Spans and log records."""


class Decoded:
    """The frames that were used last, as tables: what was just received is read again soon."""

    def __init__(self, limit: int = 96 * 1024 * 1024) -> None:
        """Hold at most `limit` bytes."""
        self._limit = limit
        self._lock = threading.Lock()
        self._held = 0
        self._frames: OrderedDict[tuple[int, int], tuple[Frame, int]] = OrderedDict()

    def get(self, key: tuple[int, int]) -> Frame | None:
        """A frame by the number of its generation and its offset there; None if it is not held."""
        with self._lock:
            found = self._frames.get(key)
            if found is None:
                return None
            self._frames.move_to_end(key)
            return found[0]

    def put(self, key: tuple[int, int], frame: Frame) -> None:
        """Hold a frame; others are let go for it."""
        size = frame.spans.nbytes + frame.logs.nbytes + OBJECTS
        with self._lock:
            if key not in self._frames:
                self._frames[key] = frame, size
                self._held += size
            while self._held > self._limit and len(self._frames) > 1:
                _, (_, freed) = self._frames.popitem(last=False)
                self._held -= freed


class Generation:
    """Frames of one journal. One thread appends; any may read."""

    def __init__(self, number: int, journal: Journal, decoded: Decoded) -> None:
        """Read the index of what the journal holds."""
        self.number = number
        self.journal = journal
        self.known = Known()
        self.slices: list[Slice] = []
        self.records = 0
        self._decoded = decoded

    def append(self, frame: Frame, keys: Fingerprints) -> None:
        """Write a frame; `keys` are the fingerprints of its records, none of which is known.

        Raises:
            StoreUnavailable: it was not written.
        """
        place = self.journal.append(frames.write(frame))
        self._decoded.put((self.number, place.offset), frame)
        self._enter(place, frame, keys)

    def restored(self) -> Iterator[Frame]:
        """Every frame of the journal, entered into the index on the way."""
        for place in self.journal.places():
            frame = frames.read(self.journal.read(place))
            self._enter(place, frame, fingerprints.distinct(keys_of(frame.spans, frame.logs)))
            yield frame

    def frame(self, slice_: Slice) -> Frame:
        """A frame, from memory or from the journal."""
        key = (self.number, slice_.place.offset)
        held = self._decoded.get(key)
        if held is None:
            held = frames.read(self.journal.read(slice_.place))
            self._decoded.put(key, held)
        return held

    def frames(self) -> Iterator[Frame]:
        """Every frame, in order; those that are not in memory are not kept there."""
        for slice_ in self.slices:
            held = self._decoded.get((self.number, slice_.place.offset))
            yield held or frames.read(self.journal.read(slice_.place))

    def of_sagas(self, kind: str, wanted: Fingerprints, only: Sequence[str] = ()) -> Iterator[pa.Table]:
        """The rows of a table that may be of these sagas; `wanted` is sorted. Only some columns, if they are named."""
        for slice_ in list(self.slices):
            columns = slice_.of.get(kind)
            if columns is not None and fingerprints.among(wanted, columns.distinct_sagas).any():
                yield self._rows(kind, slice_, fingerprints.among(columns.sagas, wanted), only)

    def of_traces(self, kind: str, wanted: Fingerprints) -> Iterator[pa.Table]:
        """The rows of a table that may be of these traces; `wanted` is sorted."""
        for slice_ in list(self.slices):
            columns = slice_.of.get(kind)
            if columns is not None:
                chosen = fingerprints.among(columns.groups, wanted)
                if chosen.any():
                    yield self._rows(kind, slice_, chosen)

    def of_span_id(self, kind: str, span_id: int) -> Iterator[pa.Table]:
        """The rows of a table with this span id, given as `fingerprints.words` has it."""
        for slice_ in list(self.slices):
            columns = slice_.of.get(kind)
            if columns is not None and (columns.span_ids == span_id).any():
                yield self._rows(kind, slice_, columns.span_ids == span_id)

    def all(self, kind: str, only: Sequence[str] = ()) -> Iterator[pa.Table]:
        """Every row of a table; only some columns, if they are named."""
        for slice_ in list(self.slices):
            if kind in slice_.of:
                frame = self.frame(slice_)
                yield with_origins(kind, frame, _only(getattr(frame, kind), only), only)

    def bounds(self) -> Bounds:
        """Those of all its records."""
        bounds = NEVER
        for slice_ in self.slices:
            bounds = bounds.with_(slice_.bounds)
        return bounds

    def sagas(self) -> Fingerprints:
        """Those of every saga that has a record here, sorted."""
        found = [columns.distinct_sagas for each in self.slices for columns in each.of.values()]
        return fingerprints.distinct(np.concatenate([NONE, *found]))

    def groups(self) -> Fingerprints:
        """Those of every record here, sorted; each once."""
        found = [columns.groups for each in self.slices for columns in each.of.values()]
        return fingerprints.distinct(np.concatenate([NONE, *found]))

    def _rows(self, kind: str, slice_: Slice, chosen: npt.NDArray[np.bool_], only: Sequence[str] = ()) -> pa.Table:
        frame = self.frame(slice_)
        table = _only(getattr(frame, kind), only)
        rows = table if chosen.all() else table.take(pa.array(np.flatnonzero(chosen)))
        return with_origins(kind, frame, rows, only)

    def _enter(self, place: Place, frame: Frame, keys: Fingerprints) -> None:
        tables = {name: getattr(frame, name) for name in KINDS}
        of = {name: columns_of(name, table) for name, table in tables.items() if table.num_rows}
        records = frame.spans.num_rows + frame.logs.num_rows
        self.known.add(keys)
        self.records += records
        self.slices.append(Slice(place, frame.seq, bounds_of(frame.spans, frame.logs), of, records))


def _only(table: pa.Table, only: Sequence[str]) -> pa.Table:
    """Some columns of a frame's table, if they are named, and where what it came under is found."""
    return table.select([name for name in table.column_names if name in only or name == "origin"]) if only else table


def keys_of(spans: pa.Table, logs: pa.Table) -> Fingerprints:
    """The fingerprints of all spans and log records, in their order."""
    of_spans = fingerprints.of_spans(fingerprints.of_traces(spans["trace_id"]), spans["span_id"], spans["end"])
    return np.concatenate([of_spans, fingerprints.of_logs(logs["key"])])


def columns_of(kind: str, table: pa.Table) -> Columns:
    """The fingerprints of a table's rows."""
    sagas, groups = fingerprints.of_texts(table["saga_id"]), fingerprints.of_traces(table["trace_id"])
    if kind == "logs" and (groups == 0).any():
        groups = np.where(groups != 0, groups, np.where(sagas != 0, sagas, fingerprints.of_logs(table["key"])))
    distinct = fingerprints.distinct(sagas)
    return Columns(sagas, groups, distinct[distinct != 0], fingerprints.words(table["span_id"]))


def bounds_of(spans: pa.Table, logs: pa.Table) -> Bounds:
    """Those of these records."""
    times = [each.to_numpy() for each in (spans["start"], logs["at"]) if len(each)]
    return Bounds(int(min(map(np.min, times))), int(max(map(np.max, times)))) if times else NEVER


def with_origins(kind: str, frame: Frame, rows: pa.Table, only: Sequence[str] = ()) -> pa.Table:
    """Records with what they came under in columns of their own."""
    if kind == "links":
        return rows
    wanted = [name for name in frame.origins.column_names if not only or name in only]
    shared = frame.origins.select(wanted).take(rows.column("origin"))
    rows = rows.drop_columns(["origin"])
    for name, column in zip(shared.column_names, shared.columns, strict=True):
        rows = rows.append_column(name, column)
    return rows


def joined(kind: str, tables: Iterable[pa.Table], only: Sequence[str] = ()) -> pa.Table:
    """Rows of several places, with the columns of `STORED`, or some of them."""
    wanted = pa.schema([each for each in STORED[kind] if not only or each.name in only])
    return pa.concat_tables([wanted.empty_table(), *(each.select(wanted.names).cast(wanted) for each in tables)])
