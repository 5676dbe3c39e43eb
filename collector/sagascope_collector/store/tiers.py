"""The facts: a hot tier of journals, a sealed tier of sorted files, and every read over both.

What is received goes to the youngest *generation* of the hot tier. A generation that is full is closed; `sealing` turns
it into a *chunk* of the sealed tier. A read takes one look at what there is, so that it sees each record once.
"""

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from sagascope_collector.errors import StoreUnavailable
from sagascope_collector.records import SagaId
from sagascope_collector.store import fingerprints, home
from sagascope_collector.store.chunk import Chunk
from sagascope_collector.store.database import Database
from sagascope_collector.store.duplicates import Duplicates
from sagascope_collector.store.fingerprints import Fingerprints, among
from sagascope_collector.store.frames import Frame
from sagascope_collector.store.generation import KINDS, Bounds, Decoded, Generation, joined
from sagascope_collector.store.journal import Journal
from sagascope_collector.store.known import Known
from sagascope_collector.store.spanfilters import SpanFilters
from sagascope_collector.store.sql import Query

PIECE: Final = 65_536
"""Rows that are read at once where all are."""

FRAMES: int = 2_000
"""Commits after which a generation ends: whoever reads all of it reads each of them."""

RECORDS: int = 250_000
"""Spans and log records after which a generation is closed: what a chunk holds, and a restart reads again."""

BYTES: int = 64 * 1024 * 1024
"""Size of a journal after which its generation is closed: tiny commits take more than their records."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class View:
    """What there is at one moment: each record is in one of them."""

    generations: tuple[Generation, ...]
    """The last is appended to."""
    chunks: tuple[Chunk, ...]

    @property
    def active(self) -> Generation:
        """The generation that is appended to."""
        return self.generations[-1]

    @property
    def closed(self) -> tuple[Generation, ...]:
        """Those that wait to be sealed, the oldest first."""
        return self.generations[:-1]


class Wanted:
    """Sagas whose rows are wanted, of whatever tables: their ids are digested once."""

    def __init__(self, ids: Sequence[SagaId]) -> None:
        self.names = list({each.id for each in ids})
        self.sagas: Fingerprints = np.unique(np.fromiter(map(fingerprints.of_text, self.names), np.uint64))
        self._found: tuple[tuple[Chunk, ...], list[Chunk]] = (), []

    def named(self) -> pa.Table:
        """The ids as a table."""
        return pa.table({"saga_id": pa.array(self.names, pa.string())})

    def chunks(self, view: View) -> list[Chunk]:
        """Those that hold records of some of them; looked for once, whatever tables are read."""
        if self._found[0] is not view.chunks:
            self._found = view.chunks, [each for each in view.chunks if fingerprints.meet(self.sagas, each.sagas)]
        return self._found[1]


class Tiers:
    """Both tiers. One thread appends; any may read."""

    def __init__(
        self, database: Database, folder: Path, owner: str, chunks: Iterable[Chunk], *, after: int, durable: bool
    ) -> None:
        """Open the journals in `folder`; `restored` is to be read before anything else is done.

        ``after`` is the number of the last generation that was sealed.
        """
        self.folder = folder
        self._database = database
        self._owner = owner
        self._durable = durable
        self._decoded = Decoded()
        self._changing = threading.Lock()
        numbers = sorted(home.journals(folder)) or [after + 1]
        self._view = View(tuple(map(self._opened, numbers)), tuple(chunks))
        self._duplicates = Duplicates(database, self._view.chunks)
        self._filters = SpanFilters(database, folder)

    @property
    def view(self) -> View:
        """What there is now."""
        return self._view

    def restored(self) -> Iterator[Frame]:
        """Every commit that is not sealed, the oldest first."""
        for each in self._view.generations:
            yield from each.restored()

    def fresh(self, spans: pa.Table, logs: pa.Table) -> tuple[pa.Table, pa.Table, Fingerprints]:
        """The records that are not stored yet, each once, and their fingerprints, sorted."""
        return self._duplicates.without(self._view.generations, spans, logs)

    def append(self, frame: Frame, keys: Fingerprints) -> None:
        """Store what `fresh` gave; when this returns, it is on disk.

        Raises:
            StoreUnavailable: it was not stored.
        """
        active = self._view.active
        if active.records >= RECORDS or active.journal.size >= BYTES or len(active.slices) >= FRAMES:
            self.close_generation()
        self._view.active.append(frame, keys)

    def close_generation(self) -> None:
        """Begin a new generation, so that the one before can be sealed. Not while somebody appends.

        Raises:
            StoreUnavailable: the folder takes no new file; the generation goes on.
        """
        with self._changing:
            view = self._view
            if view.active.records or view.active.slices:
                self._view = View((*view.generations, self._opened(view.active.number + 1)), view.chunks)

    def exchange(self, generations: Sequence[Generation], old: Sequence[Chunk], new: Sequence[Chunk]) -> None:
        """Let these generations and chunks be replaced by others that hold the same."""
        with self._changing:
            view = self._view
            kept = [each for each in view.chunks if each not in old]
            chunks = tuple(sorted([*kept, *new], key=lambda each: each.entry.number))
            self._duplicates.sealed(generations, old, new)
            self._view = View(tuple(each for each in view.generations if each not in generations), chunks)

    def index(self) -> bool:
        """Make something that quickens a search; False: nothing is missing. One thread at a time.

        Raises:
            StoreUnavailable: it is still to be made.
        """
        return self._filters.step(self._view.chunks)

    def every(self, kind: str, between: Bounds) -> Iterator[pa.Table]:
        """All rows of a table that may lie between, piece by piece, as it was when this began."""
        view = self._view
        for each in view.chunks:
            if kind in each.files and each.bounds.meets(between):
                with pq.ParquetFile(each.files[kind]) as file:
                    for batch in file.iter_batches(PIECE):
                        yield pa.Table.from_batches([batch])
        for generation in view.generations:
            yield from generation.all(kind)

    def of_sagas(self, kind: str, wanted: Wanted, only: Sequence[str] = ()) -> pa.Table:
        """All rows of a table that are of these sagas, and perhaps some of their namesakes elsewhere.

        Only these columns of them, if any are named.
        """

        def read(view: View) -> pa.Table:
            files = _files(kind, wanted.chunks(view))
            sealed = [self._sealed(files, wanted)] if files else []
            hot = [table for each in view.generations for table in each.of_sagas(kind, wanted.sagas, only)]
            return joined(kind, [*sealed, *hot], only)

        return self._read(read)

    def spans_at(self, places: pa.Table) -> pa.Table:
        """All forms of the spans with these trace and span ids."""
        wanted = np.unique(fingerprints.of_traces(places.column("trace_id")))

        def read(view: View) -> pa.Table:
            files = _files("spans", (each for each in view.chunks if among(wanted, each.groups).any()))
            query = Query.SELECT_SEALED_SPANS_BY_ID
            sealed = [self._database.arrow(query, {"files": files}, wanted_spans=places)] if files else []
            hot = [table for each in view.generations for table in each.of_traces("spans", wanted)]
            return joined("spans", [*sealed, *(_among(table, places) for table in hot)])

        return self._read(read)

    def sagas_of_trace(self, trace_id: bytes) -> set[SagaId]:
        """Every saga with a record in this trace; ``SagaId("", "")`` or the like where one is in none."""
        wanted = np.array([fingerprints.of_trace(trace_id)], np.uint64)

        def read(view: View) -> set[SagaId]:
            chunks = [each for each in view.chunks if among(wanted, each.groups).any()]
            hot = (
                table.filter(pc.equal(table["trace_id"], pa.scalar(trace_id)))
                for each in view.generations
                for kind in KINDS
                for table in each.of_traces(kind, wanted)
            )
            return _sagas(hot) | self._sealed_sagas(chunks, Query.SELECT_SEALED_SAGAS_BY_TRACE, trace_id)

        return self._read(read)

    def sagas_of_span(self, span_id: bytes) -> set[SagaId]:
        """Every saga with a record of this span; as `sagas_of_trace`."""
        number = int.from_bytes(span_id, "little")

        def read(view: View) -> set[SagaId]:
            hot = (table for each in view.generations for kind in KINDS for table in each.of_span_id(kind, number))
            chunks = self._filters.among(view.chunks, number)
            return _sagas(hot) | self._sealed_sagas(chunks, Query.SELECT_SEALED_SAGAS_BY_SPAN, span_id)

        return self._read(read)

    def saga_ids(self) -> Iterator[set[SagaId]]:
        """Every saga with a record: those of each chunk and of each generation that were not in one before."""
        view = self._view
        seen = Known()
        for each in view.chunks:
            found: set[SagaId] = set()
            for path in each.files.values():
                rows = self._database.rows(Query.SELECT_SEALED_SAGAS, {"files": [str(path)]})
                found.update(SagaId(*row) for row in rows)
            yield _unseen(found, seen)
            seen.add(each.sagas[~seen.holds(each.sagas)])
        for generation in view.generations:
            yield _unseen(_sagas(table for kind in KINDS for table in generation.all(kind)), seen)

    def size_bytes(self) -> int:
        """What the files take."""
        return sum(path.stat().st_size for path in self.folder.glob("*") if path.is_file())

    def close(self) -> None:
        """Close the journals."""
        for each in self._view.generations:
            each.journal.close()

    def _sealed(self, files: Sequence[str], wanted: Wanted) -> pa.Table:
        if len(wanted.names) == 1:
            return self._database.arrow(Query.SELECT_SEALED_OF_ONE, {"files": files, "id": wanted.names[0]})
        return self._database.arrow(Query.SELECT_SEALED, {"files": files}, wanted_sagas=wanted.named())

    def _sealed_sagas(self, chunks: Iterable[Chunk], query: Query, id_: bytes) -> set[SagaId]:
        chunks = list(chunks)
        found: set[SagaId] = set()
        for kind in KINDS:
            if files := _files(kind, chunks):
                found.update(SagaId(*row) for row in self._database.rows(query, {"files": files, "id": id_}))
        return found

    def _read(self, read: Callable[[View], T]) -> T:
        """Read from what there is; once more where files were exchanged for others meanwhile."""
        while True:
            view = self._view
            try:
                return read(view)
            except StoreUnavailable:
                if view.chunks == self._view.chunks:
                    raise

    def _opened(self, number: int) -> Generation:
        path = home.journal(self.folder, number)
        try:
            return Generation(number, Journal(path, self._owner, durable=self._durable), self._decoded)
        except OSError as error:
            raise StoreUnavailable(f"{path} cannot be written: {error.strerror}.") from error


def _unseen(found: set[SagaId], seen: Known) -> set[SagaId]:
    ids = list(found)
    known = seen.holds(np.fromiter((fingerprints.of_text(each.id) for each in ids), np.uint64, len(ids)))
    return {each for each, is_known in zip(ids, known, strict=True) if not is_known}


def _files(kind: str, chunks: Iterable[Chunk]) -> list[str]:
    return [str(each.files[kind]) for each in chunks if kind in each.files]


def _among(table: pa.Table, places: pa.Table) -> pa.Table:
    """The rows that have exactly one of these pairs of ids."""
    wanted = set(zip(places["trace_id"].to_pylist(), places["span_id"].to_pylist(), strict=True))
    found: list[Any] = [*zip(table["trace_id"].to_pylist(), table["span_id"].to_pylist(), strict=True)]
    return table.filter(pa.array([each in wanted for each in found], pa.bool_()))


def _sagas(tables: Iterable[pa.Table]) -> set[SagaId]:
    return {
        SagaId(*each)
        for table in tables
        for each in zip(table["environment"].to_pylist(), table["saga_id"].to_pylist(), strict=True)
    }
